//! Owns single calls: over HTTP, within a time and a size, and what a refusal means.

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use peer::{Answer, Kind, Limits, Question, Secrets, host, printable};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{Issuer, base};

/// Octets of one answer: some ten thousand accounts.
const LARGEST_ANSWER: usize = 16 << 20;

pub(super) const KIND: Kind = Kind {
    name: "the issuer",
    unavailable: Code::IssuerUnavailable,
    refused: Code::IssuerRefused,
    garbage: Code::IssuerAnswer,
};

/// The way to one mcias.
pub(super) struct Api {
    settings: Issuer,
    secrets: Secrets,
    client: peer::Client,
}

/// One call.
pub(super) struct Call<'a> {
    method: Method,
    path: Vec<&'a str>,
    body: Option<Value>,
    expected: Option<(HeaderName, String)>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &[&'a str]) -> Self {
        Self { method, path: path.to_vec(), body: None, expected: None }
    }

    pub(super) fn saying(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Where what is there is not this any more, nothing is changed.
    pub(super) fn expecting(mut self, tag: Option<String>) -> Self {
        self.expected = Some(match tag {
            Some(tag) => (IF_MATCH, tag),
            None => (IF_NONE_MATCH, "*".to_owned()),
        });
        self
    }
}

#[derive(Deserialize)]
struct Told {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    code: String,
    message: String,
}

impl Api {
    pub(super) fn new(settings: Issuer, secrets: Secrets) -> Self {
        let patience = settings.timeout.0;
        let limits = Limits { connect: patience, answer: patience, largest: LARGEST_ANSWER };
        let client = peer::Client::new(KIND, limits, settings.ca.clone());
        Self { settings, secrets, client }
    }

    /// Makes a call whose answer is `T`; nothing where what it is about is not there.
    pub(super) async fn read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Option<T>> {
        let url = self.url(&call.path)?;
        let Some(answer) = self.make(call, url.clone()).await? else { return Ok(None) };
        serde_json::from_slice(&answer.body)
            .map(Some)
            // What serde says could repeat a token.
            .map_err(|_| KIND.garbage(&host(&url), "it is not what was asked for"))
    }

    /// Makes a call of which nobody needs the answer; says whether what it was about is there.
    pub(super) async fn tell(&self, call: Call<'_>) -> Result<bool> {
        let url = self.url(&call.path)?;
        Ok(self.make(call, url).await?.is_some())
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url = base(&self.settings.url, "[drivers.issuer] url")?;
        let no_address = |()| Error::new(Code::Internal, "a checked address is none");
        url.path_segments_mut().map_err(no_address)?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }

    async fn make(&self, call: Call<'_>, url: Url) -> Result<Option<Answer>> {
        let mut question = Question::new(call.method, url.clone());
        question.headers.insert(AUTHORIZATION, self.secrets.bearer(&self.settings.token).await?);
        if let Some((name, tag)) = call.expected {
            let tag = HeaderValue::try_from(tag)
                .map_err(|error| Error::new(Code::Internal, "a tag is none").because(error))?;
            question.headers.insert(name, tag);
        }
        if let Some(body) = call.body {
            question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            question.body = Bytes::from(body.to_string());
        }
        let answer = self.client.exchange(&question).await?;
        match answer.status.is_success() {
            true => Ok(Some(answer)),
            false => self.refusal(&url, &answer),
        }
    }

    fn refusal(&self, url: &Url, answer: &Answer) -> Result<Option<Answer>> {
        let (place, status) = (host(url), answer.status);
        let told = serde_json::from_slice::<Told>(&answer.body).ok().map(|told| told.error);
        let Some(Said { code, message }) = told else {
            return Err(match status.as_u16() {
                429 | 500..=599 => KIND.unavailable(&place, format!("it answered with {status}")).retryable(),
                _ => KIND
                    .garbage(&place, format!("{status} without a reason"))
                    .hint("check that `url` under [drivers.issuer] leads to mcias"),
            });
        };
        let words = printable(&message);
        // Its own errors are those of our embedded service: they mean the same.
        let known: Option<Code> = code.parse().ok().filter(|code: &Code| code.as_str().starts_with("MC-W"));
        match (status.as_u16(), known) {
            (404, Some(Code::AccountUnknown)) | (400 | 403 | 409, Some(_)) => {
                let error = Error::new(known.unwrap_or(Code::IssuerRefused), words);
                Err(if status.as_u16() == 409 { error.retryable() } else { error })
            }
            (404, _) => Ok(None),
            (429 | 500..=599, _) => Err(KIND.unavailable(&place, words).retryable()),
            (401 | 403, _) => Err(KIND.refused(&place, "the call", words).hint(format!(
                "the token in the secret `{}` has expired, or its account may not do this there",
                self.settings.token
            ))),
            _ => Err(KIND.refused(&place, "the call", words)),
        }
    }
}
