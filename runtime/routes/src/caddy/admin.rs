//! Owns the calls of the admin API: reading the whole configuration, and writing it where nobody else did in between.

use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH};
use http::{Method, StatusCode};
use peer::{Answer, Client, Kind, Limits, Question, Secrets, is_here, printable};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::Settings;

/// Octets of a configuration: that of 5,000 routes takes some 10 MiB.
const LARGEST: usize = 64 << 20;
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

const KIND: Kind = Kind {
    name: "Caddy at",
    unavailable: Code::ProxyUnavailable,
    refused: Code::ProxyRefused,
    garbage: Code::ProxyAnswer,
};

/// The way to the admin API.
pub(super) struct Admin {
    client: Client,
    url: Url,
    token: Option<String>,
    secrets: Secrets,
    patience: Duration,
}

/// Which version was read.
pub(super) struct Tag(HeaderValue);

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Admin {
    pub(super) fn new(settings: Settings, secrets: Secrets) -> Result<Self> {
        let limits = Limits { connect: settings.timeout.0, answer: settings.timeout.0, largest: LARGEST };
        let (url, client) = match settings.admin.strip_prefix("unix/") {
            // Caddy wants to be asked by a name of this machine, through a socket too.
            Some(path) => (address("http://127.0.0.1/")?, Client::at_socket(KIND, limits, path.into())),
            None => (network(&settings.admin)?, Client::new(KIND, limits, settings.ca)),
        };
        let url = url.join("config/").map_err(wrong)?;
        Ok(Self { client, url, token: settings.token, secrets, patience: settings.timeout.0 })
    }

    /// As errors name it.
    pub(super) fn place(&self) -> String {
        self.client.place(&self.url)
    }

    /// The whole configuration; null where Caddy has none.
    pub(super) async fn read(&self) -> Result<(Value, Tag)> {
        let answer = self.ask(Question::new(Method::GET, self.url.clone())).await?;
        if !answer.status.is_success() {
            return Err(self.refusal("to be read", &answer));
        }
        let value: Value = serde_json::from_slice(&answer.body).map_err(|error| self.garbage(error))?;
        if !matches!(value, Value::Object(_) | Value::Null) {
            return Err(self.garbage("its configuration is no object"));
        }
        let tag = answer.headers.get(ETAG).cloned();
        let tag = tag.ok_or_else(|| {
            self.garbage("it does not tag its configuration").hint("Caddy does since version 2.5")
        })?;
        Ok((value, Tag(tag)))
    }

    /// Puts a configuration in the place of the one that was read; false where that is not the one there any more.
    pub(super) async fn write(&self, value: &Value, read: &Tag) -> Result<bool> {
        let mut question = Question::new(Method::POST, self.url.clone());
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::new(Code::Internal, "a configuration cannot be encoded").because(error)
        })?;
        question.body = Bytes::from(body);
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        question.headers.insert(IF_MATCH, read.0.clone());
        let answer = self.ask(question).await?;
        match answer.status {
            status if status.is_success() => Ok(true),
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(false),
            _ => Err(self.refusal("the change", &answer)),
        }
    }

    async fn ask(&self, mut question: Question) -> Result<Answer> {
        if let Some(token) = &self.token {
            question.headers.insert(AUTHORIZATION, self.secrets.bearer(token).await?);
        }
        let began = Instant::now();
        let mut number = 1;
        loop {
            let failure = match self.client.exchange(&question).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure.error,
            };
            // Caddy opens this API anew as well with every change, and breaks the connections that come just then. What is
            // written twice finds another tag the second time.
            if !failure.retryable || number == TRIES || began.elapsed() > self.patience / 2 {
                return Err(failure);
            }
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn refusal(&self, what: &str, answer: &Answer) -> Error {
        let (status, place) = (answer.status, self.place());
        let Ok(told) = serde_json::from_slice::<Refusal>(&answer.body) else {
            return match status.as_u16() {
                429 | 502..=504 => KIND.unavailable(&place, format!("it answered with {status}")).retryable(),
                401 | 403 => KIND.refused(&place, what, format!("{status} without a reason")),
                _ => self.garbage(format!("{status} without a reason")),
            };
        };
        let refused = KIND.refused(&place, what, printable(&told.error));
        match status.as_u16() {
            401 | 403 => {
                refused.hint("`origins` of Caddy's admin endpoint, or what guards it, keeps mcrun out")
            }
            _ => refused,
        }
    }

    fn garbage(&self, cause: impl std::fmt::Display) -> Error {
        KIND.garbage(&self.place(), cause)
            .hint("check that `admin` under [drivers.caddy] leads to Caddy's admin API")
    }
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::new(Code::Config, "[drivers.caddy] admin: this is not an address").because(why)
}

fn address(text: &str) -> Result<Url> {
    Url::parse(text).map_err(wrong)
}

/// Who can write there decides what every client gets, so it goes over TLS everywhere but on this very machine.
fn network(text: &str) -> Result<Url> {
    let url = match text.contains("://") {
        true => address(text)?,
        false => address(&format!("http://{text}/"))?,
    };
    if url.cannot_be_a_base() || url.query().is_some() || !url.username().is_empty() {
        return Err(wrong("it has more than scheme, host, port and path"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_here(&url) => {}
        _ => {
            return Err(Error::new(Code::Config, "[drivers.caddy] admin: calls are made over HTTPS only")
                .hint("write `https://…`; plain HTTP goes to 127.0.0.1 and to `unix//path` alone"));
        }
    }
    let mut url = url;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["127.0.0.1:2019", "localhost:2019", "[::1]:2019", "https://caddy.example:2021/x"] {
            assert!(network(good).is_ok(), "{good}");
        }
        for bad in ["caddy.example:2019", "http://10.0.0.1:2019", "ftp://127.0.0.1", "", "https://x/?y"] {
            assert_eq!(network(bad).unwrap_err().code, Code::Config, "{bad}");
        }
    }
}
