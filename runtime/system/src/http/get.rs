//! Owns `http.get`, and the parts of a request that both effects share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use effect::units::{Size, Span};
use effect::{Code, Context, Declared, Error, Need, Read, Result, Secret, Text};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::{Outgoing, Response, credentials, name, parse, send};
use crate::World;

const AGENT: &str = concat!("mcrun/", env!("CARGO_PKG_VERSION"));
/// Headers that frame the message: they follow from the request itself.
const FRAMING: [&str; 7] =
    ["connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"];

/// Asks a web address and returns its answer.
///
/// It uses the method GET, which changes nothing by agreement; therefore it runs in a plan too. Link-local and metadata
/// addresses are refused, and each redirect needs the capability for where it leads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The address, `https://…` or `http://…`.
    url: String,
    /// Headers by name. A secret needs `http:URL` in its `to` and is never sent to another origin.
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    /// Headers that take secrets only.
    #[serde(default)]
    secret_headers: BTreeMap<String, Secret>,
    /// When it is given up.
    #[serde(default = "default_timeout")]
    timeout: Span,
    /// A larger body is an error.
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
}

pub(super) fn default_timeout() -> Span {
    Span::seconds(30)
}

pub(super) fn default_limit() -> Size {
    Size(4 << 20)
}

pub(super) fn default_redirects() -> u32 {
    5
}

impl Declared for Get {
    const NAME: &'static str = "http.get";
    const CAPABILITY: &'static str = "http:read:URL";
    const EXAMPLE: &'static str = "local answer = http.get { url = \"http://127.0.0.1:8080/v1/health\", timeout = \"5s\" }\nprint(answer.status)";
    type World = World;
    type Output = Response;

    fn subject(&self) -> String {
        subject(&self.url)
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let mut needs = vec![Need::read("http", name(&parse(&self.url)?))];
        needs.extend(certificates_need(world, self.ca.as_deref())?);
        Ok(needs)
    }
}

#[async_trait]
impl Read for Get {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Response> {
        let url = parse(&self.url)?;
        let mut headers = plain_headers(&credentials::in_the_clear(&self.headers))?;
        let secrets = credentials::secrets(&self.headers, &self.secret_headers);
        let secret_headers = credentials::add(&mut headers, secrets, &url, context).await?;
        let request = Outgoing {
            url,
            method: Method::GET,
            headers,
            secret_headers,
            body: Bytes::new(),
            secret_body: false,
            timeout: self.timeout,
            limit: self.limit,
            redirects: self.redirects,
            ca: certificates(world, self.ca.as_deref())?,
        };
        let admit = |url: &Url| context.policy.check(Self::NAME, &[Need::read("http", name(url))]);
        checked(self.check, send(request, &admit).await?)
    }
}

/// An address for people, without its query.
pub(crate) fn subject(url: &str) -> String {
    super::shown(url)
}

/// The capability for a file of certificates.
pub(crate) fn certificates_need(world: &World, ca: Option<&str>) -> Result<Option<Need>> {
    Ok(certificates(world, ca)?.map(|path| Need::read("files", path.to_string_lossy())))
}

/// The path of a file of certificates.
pub(crate) fn certificates(world: &World, ca: Option<&str>) -> Result<Option<PathBuf>> {
    ca.map(|path| crate::files::resolve(world.root(), path)).transpose()
}

/// The headers that a call gives in the clear.
pub(crate) fn plain_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in given {
        let wrong =
            || Error::new(Code::Argument, format!("header `{}` has a value that no header can have", name));
        headers.insert(header_name(name)?, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

pub(super) fn header_name(name: &str) -> Result<HeaderName> {
    let wrong = |why: &str| Error::new(Code::Argument, format!("header `{}` {why}", crate::exec::clip(name)));
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is not a header's name"))?;
    if FRAMING.contains(&header.as_str()) {
        Err(wrong("follows from the request and cannot be set"))
    } else {
        Ok(header)
    }
}

/// The answer, unless it is a failure that the call wants as an error.
pub(super) fn checked(check: bool, response: Response) -> Result<Response> {
    if !check || response.status < 400 {
        return Ok(response);
    }
    let message = format!("`{}` answered {}", subject(&response.url), response.status);
    let mut error = Error::new(Code::HttpFailed, message);
    error.retryable = response.status >= 500 || response.status == 429;
    error.details = response.body.lines().take(5).map(crate::exec::clip).collect();
    Err(error)
}
