//! Owns single calls: over HTTP with the token, within a time and a size, and what a refusal means.

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use peer::{Answer, Client, Kind, Question, Secrets, host, printable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::api::Refusal;
use crate::name::Name;

/// Octets of one answer: a zone of some hundred thousand records.
pub(super) const LARGEST_ANSWER: usize = 64 << 20;

pub(super) const KIND: Kind = Kind {
    name: "the name server",
    unavailable: Code::DnsUnavailable,
    refused: Code::DnsRefused,
    garbage: Code::DnsAnswer,
};

/// The way to one server.
pub(super) struct Api {
    pub(super) url: Url,
    /// The name of the secret that holds the token.
    pub(super) token: String,
    pub(super) secrets: Secrets,
    pub(super) client: Client,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Beneath `/v1/zones`.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Bytes,
    /// What it is about, for errors.
    pub(super) what: &'a str,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a [&'a str], what: &'a str) -> Self {
        Self { method, path, query: &[], body: Bytes::new(), what }
    }

    pub(super) fn asking(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    pub(super) fn saying(mut self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::new(Code::Internal, "a call cannot be encoded").because(error))?;
        self.body = Bytes::from(body);
        Ok(self)
    }
}

impl Api {
    /// Makes a call whose answer is `T`.
    pub(super) async fn read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let what = call.what.to_owned();
        let answer = self.make(call).await?;
        serde_json::from_slice(&answer.body).map_err(|error| garbage(&self.url, format!("{what}: {error}")))
    }

    /// Makes a call of which nobody needs the answer; says whether what it was about is there.
    pub(super) async fn tell(&self, call: Call<'_>) -> Result<bool> {
        match self.make(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == Code::DnsZone => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn make(&self, call: Call<'_>) -> Result<Answer> {
        let question = self.question(&call).await?;
        let answer = self.client.exchange(&question).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refusal(call.what, &answer)) }
    }

    async fn question(&self, call: &Call<'_>) -> Result<Question> {
        let mut url = self.url.clone();
        let no_address = || Error::new(Code::Internal, "a checked address is none");
        url.path_segments_mut()
            .map_err(|()| no_address())?
            .pop_if_empty()
            .extend(["v1", "zones"].iter().chain(call.path));
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut question = Question::new(call.method.clone(), url);
        question.body = call.body.clone();
        question.headers.insert(AUTHORIZATION, self.secrets.bearer(&self.token).await?);
        if !call.body.is_empty() {
            question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(question)
    }

    fn refusal(&self, what: &str, answer: &Answer) -> Error {
        let (url, status) = (&self.url, answer.status);
        let told = serde_json::from_slice::<Refusal>(&answer.body).ok();
        let Some(words) = told.map(|refusal| printable(&refusal.error)) else {
            return match status.as_u16() {
                429 | 500..=599 => unavailable(url, format!("it answered with {status}")).retryable(),
                401 | 403 => self.refused(what, &format!("{status} without a reason")),
                _ => garbage(url, format!("{what}: {status} without a reason"))
                    .hint("check that `url` under [drivers.rest] leads to mcns"),
            };
        };
        match status.as_u16() {
            400 => Error::new(Code::DnsValue, format!("{} cannot take {what}", host(url))).because(words),
            401 | 403 => self.refused(what, &words),
            404 => Error::new(Code::DnsZone, format!("{} does not have {what}", host(url))).because(words),
            409 => {
                Error::new(Code::DnsExclusive, format!("{what} stands against other records")).because(words)
            }
            429 => refused(url, what, words).retryable(),
            501 => Error::new(Code::Unsupported, format!("{} does not do {what}", host(url))).because(words),
            500..=599 => unavailable(url, words).retryable(),
            _ => refused(url, what, words),
        }
    }

    fn refused(&self, what: &str, words: &str) -> Error {
        refused(&self.url, what, words).hint(format!(
            "the token in the secret `{}` has expired, or it may not do this there",
            self.token
        ))
    }
}

/// TLS everywhere but on this very machine.
///
/// # Errors
/// `MC-U002` for another address.
pub(super) fn admit(url: &Url) -> Result<()> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if peer::is_here(url) => Ok(()),
        _ => Err(Error::new(Code::Config, "[drivers.rest] url: calls are made over HTTPS only")
            .hint("write `https://…`; `http://` goes to 127.0.0.1 alone")),
    }
}

/// A zone as a part of a path. The root's name would be taken for the path itself.
pub(super) fn segment(zone: &Name) -> Result<String> {
    if *zone == Name::root() {
        return Err(Error::new(Code::DnsZone, "the root cannot be reached by the calls of mcns"));
    }
    Ok(zone.to_string())
}

/// `MC-Q011`: no answer. The cause says why.
fn unavailable(url: &Url, cause: impl std::fmt::Display) -> Error {
    KIND.unavailable(&host(url), cause)
}

/// `MC-Q010`: the answer was no.
fn refused(url: &Url, what: &str, cause: impl std::fmt::Display) -> Error {
    KIND.refused(&host(url), what, cause)
}

/// `MC-Q012`: something came that is no answer.
pub(super) fn garbage(url: &Url, cause: impl std::fmt::Display) -> Error {
    KIND.garbage(&host(url), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://mcns.example/x", "http://127.0.0.1:8443/", "http://[::1]/", "http://localhost/"]
        {
            assert!(admit(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["http://mcns.example/", "http://10.0.0.1/", "ftp://127.0.0.1/", "http://localhost.evil/"]
        {
            assert_eq!(admit(&bad.parse().unwrap()).unwrap_err().code, Code::Config, "{bad}");
        }
    }
}
