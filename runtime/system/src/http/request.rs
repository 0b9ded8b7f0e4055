//! Owns `http.request`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use effect::text::secrets_of;
use effect::units::{Size, Span};
use effect::{Act, Code, Context, Declared, Error, Need, OnDoubt, Result, Secret, Text};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::get::{
    certificates, certificates_need, checked, default_limit, default_redirects, default_timeout,
    plain_headers, subject,
};
use super::{Outgoing, Response, credentials, name, parse, send};
use crate::World;

/// Sends a request that may change something, once, and returns its answer.
///
/// The header `Idempotency-Key` is the same whenever this very request has to be sent again. Link-local and metadata
/// addresses are refused, and each redirect needs the capability for where it leads. To only ask, use `http.get`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The address, `https://…` or `http://…`.
    url: String,
    /// The method.
    #[serde(default = "default_method")]
    method: String,
    /// Headers by name. A secret needs `http:URL` in its `to` and is never sent to another origin.
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    /// Headers that take secrets only.
    #[serde(default)]
    secret_headers: BTreeMap<String, Secret>,
    /// The body as text, or as a secret that has `http:URL` in its `to`.
    body: Option<Text>,
    /// The body as a value that is sent as JSON. Secrets in it become strings; each needs `http:URL` in its `to`.
    json: Option<Value>,
    /// When it is given up.
    #[serde(default = "default_timeout")]
    timeout: Span,
    /// A larger answer is an error.
    #[serde(default = "default_limit")]
    limit: Size,
    /// How many redirects are followed.
    #[serde(default = "default_redirects")]
    #[schemars(range(max = 20))]
    redirects: u32,
    /// A file of certificates in PEM that is trusted instead of the system's.
    ca: Option<String>,
    /// Whether a status of 400 and above is an error.
    #[serde(default)]
    check: bool,
    /// What happens when mcrun was killed meanwhile and nobody knows whether it was sent.
    #[serde(default)]
    on_doubt: OnDoubt,
    /// The result that a plan goes on with, such as `{ status = 200, body = "" }`.
    assume: Option<Value>,
}

fn default_method() -> String {
    "POST".into()
}

impl Declared for Request {
    const NAME: &'static str = "http.request";
    const CAPABILITY: &'static str = "http:write:URL";
    const EXAMPLE: &'static str = "http.request { url = \"http://127.0.0.1:8080/v1/jobs\", json = { kind = \"index\" }, on_doubt = \"redo\" }";
    type World = World;
    type Output = Response;

    fn subject(&self) -> String {
        subject(&self.url)
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let mut needs = vec![Need::write("http", name(&parse(&self.url)?))];
        needs.extend(certificates_need(world, self.ca.as_deref())?);
        Ok(needs)
    }
}

impl Request {
    fn method(&self) -> Result<Method> {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = self.method.to_ascii_uppercase();
        if !known.contains(&method.as_str()) {
            let message = format!("`http.request`: field `method` takes one of {}", known.join(", "));
            return Err(Error::new(Code::Argument, message));
        }
        Method::from_bytes(method.as_bytes())
            .map_err(|error| Error::new(Code::Internal, "a known method is none").because(error))
    }

    async fn body(&self, headers: &mut HeaderMap, url: &Url, context: &Context) -> Result<Bytes> {
        match (&self.body, &self.json) {
            (Some(_), Some(_)) => {
                Err(Error::new(Code::Argument, "`http.request` takes either `body` or `json`, not both"))
            }
            (Some(text), None) => {
                let body = text.reveal(context, &credentials::destination(url)).await?;
                Ok(Bytes::copy_from_slice(&body))
            }
            (None, Some(value)) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                credentials::json(value, url, context).await
            }
            (None, None) => Ok(Bytes::new()),
        }
    }

    /// The secrets that the body holds.
    fn body_secrets(&self) -> Result<Vec<Secret>> {
        let mut secrets: Vec<Secret> = self.body.iter().filter_map(Text::secret).cloned().collect();
        if let Some(value) = &self.json {
            secrets.append(&mut secrets_of(value)?);
        }
        Ok(secrets)
    }
}

#[async_trait]
impl Act for Request {
    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    fn admit(&self, _: &World, context: &Context) -> Result<()> {
        let body = self.body_secrets()?;
        let headers = credentials::secrets(&self.headers, &self.secret_headers).map(|(_, secret)| secret);
        credentials::admit(&parse(&self.url)?, headers.chain(&body), context)
    }

    async fn act(&self, world: &World, context: &Context, key: &str) -> Result<Response> {
        let url = parse(&self.url)?;
        let mut headers = plain_headers(&credentials::in_the_clear(&self.headers))?;
        let body = self.body(&mut headers, &url, context).await?;
        let secrets = credentials::secrets(&self.headers, &self.secret_headers);
        let secret_headers = credentials::add(&mut headers, secrets, &url, context).await?;
        let key = HeaderValue::from_str(key).map_err(|error| {
            Error::new(Code::Internal, "an idempotency key cannot be sent").because(error)
        })?;
        headers.insert(HeaderName::from_static("idempotency-key"), key);
        let request = Outgoing {
            url,
            method: self.method()?,
            headers,
            secret_headers,
            body,
            secret_body: !self.body_secrets()?.is_empty(),
            timeout: self.timeout,
            limit: self.limit,
            redirects: self.redirects,
            ca: certificates(world, self.ca.as_deref())?,
        };
        let admit = |url: &Url| context.policy.check(Self::NAME, &[Need::write("http", name(url))]);
        checked(self.check, send(request, &admit).await?)
    }

    fn summary(&self) -> Option<String> {
        Some(self.method.to_ascii_uppercase())
    }
}
