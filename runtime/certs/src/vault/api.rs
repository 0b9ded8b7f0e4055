//! Owns questions to Vault's API: token and namespace, and what its refusals mean.

use bytes::Bytes;
use effect::{Code, Error, Result};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Secrets;
use crate::certificate::chain_from_pem;
use crate::peer::{self, Answer, Peer, Question};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Without it a listener that is set up against forged requests refuses.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The way to one mount.
pub(super) struct Api {
    pub(super) peer: Peer,
    pub(super) address: Url,
    pub(super) mount: String,
    pub(super) namespace: Option<String>,
    /// The name of the secret that holds the token.
    pub(super) token: String,
    pub(super) secrets: Secrets,
}

#[derive(Deserialize)]
struct Told<T> {
    data: T,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<String>,
}

#[derive(Deserialize)]
struct Chain {
    #[serde(default)]
    ca_chain: String,
    #[serde(default)]
    certificate: String,
}

impl Api {
    /// Sends `wanted` to `path` beneath the mount.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        wanted: &impl Serialize,
        what: &str,
    ) -> Result<T> {
        let body = serde_json::to_vec(wanted)
            .map_err(|error| Error::new(Code::Internal, "a request cannot be encoded").because(error))?;
        let answer = self.ask(Method::POST, path, Bytes::from(body)).await?;
        self.data(&answer, what)
    }

    /// What is at `path` beneath the mount; none where nothing is.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<Option<T>> {
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        // An empty list is told by 404 as well; 405 is an older one that does not know the question.
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Ok(None);
        }
        self.data(&answer, what).map(Some)
    }

    /// The certificates of the authority itself, up to the root where it knows it.
    pub(super) async fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        let found: Option<Chain> = self.get("cert/ca_chain", "its chain").await?;
        let missing =
            || peer::garbage(&self.address, format!("`{}` has no certificate of an authority", self.mount));
        let Chain { ca_chain, certificate } = found.ok_or_else(missing)?;
        let pem = if ca_chain.trim().is_empty() { certificate } else { ca_chain };
        if pem.trim().is_empty() { Err(missing()) } else { chain_from_pem(&pem) }
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let url = self
            .address
            .join(&format!("v1/{}/{path}", self.mount))
            .map_err(|error| Error::new(Code::Internal, "a path is none").because(error))?;
        let mut question = Question::new(method, url);
        question.body = body;
        // Somebody has to unseal it: that does not pass within seconds.
        question.is_final = |answer| words(answer).is_some_and(|words| words.contains("sealed"));
        let token = self.secrets.value(&self.token).await?;
        let mut token = HeaderValue::from_bytes(&token).map_err(|_| {
            Error::new(
                Code::Config,
                format!("the secret `{}` is no token: it holds what a header cannot", self.token),
            )
        })?;
        token.set_sensitive(true);
        question.headers.insert(TOKEN, token);
        question.headers.insert(REQUEST, HeaderValue::from_static("true"));
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(namespace) = &self.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|_| {
                Error::new(Code::Config, "[drivers.vault] namespace: a header cannot hold it")
            })?;
            question.headers.insert(NAMESPACE, value);
        }
        self.peer.ask(&question).await
    }

    fn data<T: DeserializeOwned>(&self, answer: &Answer, what: &str) -> Result<T> {
        if !answer.status.is_success() {
            return Err(self.refusal(answer, what));
        }
        serde_json::from_slice::<Told<T>>(&answer.body)
            .map(|told| told.data)
            .map_err(|error| peer::garbage(&self.address, format!("{what}: {error}")))
    }

    fn refusal(&self, answer: &Answer, what: &str) -> Error {
        let url = &self.address;
        let words = words(answer);
        let status = answer.status;
        if status.is_redirection() {
            return peer::unavailable(url, "it is on standby, and leads to the active one")
                .hint("write the address of the active one, or of what stands before them all")
                .retryable();
        }
        let Some(words) = words else {
            return match status.is_server_error() {
                true => peer::unavailable(url, format!("it answered with {status}")).retryable(),
                false => peer::garbage(url, format!("{what}: {status} without a reason")),
            };
        };
        match status.as_u16() {
            503 if words.contains("sealed") => peer::unavailable(url, "it is sealed")
                .hint("unseal it: `bao operator unseal` or `vault operator unseal`")
                .retryable(),
            429 => {
                let refused = peer::refused(url, what, &words).retryable();
                match peer::retry_after(&answer.headers, self.peer.now()) {
                    Some(wait) => {
                        refused.hint(format!("it may be asked again at {}", self.peer.now().after(wait)))
                    }
                    None => refused,
                }
            }
            403 => peer::refused(url, what, &words).hint(format!(
                "the token in the secret `{}` has expired, or its policy lacks this path of `{}`",
                self.token, self.mount
            )),
            404 => peer::refused(url, what, &words)
                .hint(format!("check `mount` and `namespace`: `{}` is asked for", self.mount)),
            500..=599 => peer::unavailable(url, words).retryable(),
            _ => peer::refused(url, what, &words),
        }
    }
}

/// Vault's own words, where it gave any.
fn words(answer: &Answer) -> Option<String> {
    if answer.status.is_success() {
        return None;
    }
    let refusal: Refusal = serde_json::from_slice(&answer.body).ok()?;
    Some(if refusal.errors.is_empty() {
        format!("{} without a reason", answer.status)
    } else {
        refusal.errors.join("; ")
    })
}
