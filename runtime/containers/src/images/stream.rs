//! Owns the messages that an engine writes while it pulls, builds, loads or pushes: one JSON object a line, errors
//! included, since its status was sent long before. Leaves what an error means to [`explain`]'s callers.

use std::collections::VecDeque;

use bytes::BytesMut;
use effect::{Code, Error, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::timeout;

use super::engine::Limits;
use crate::engine::client::refused;

const LONGEST_LINE: usize = 1 << 20;
/// How much of what was said is kept for an error.
const KEPT_LINES: usize = 20;
const LONGEST_KEPT: usize = 400;

/// What was said in the course of one call.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The last lines of output.
    pub(super) lines: VecDeque<String>,
    /// The id of what was built.
    pub(super) id: Option<String>,
    /// Why it failed.
    pub(super) error: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    stream: Option<String>,
    status: Option<String>,
    id: Option<String>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<Detail>,
    aux: Option<Aux>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Aux {
    #[serde(rename = "ID")]
    id: Option<String>,
}

impl Told {
    fn hear(&mut self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            return self.keep(&String::from_utf8_lossy(line));
        };
        if let Some(id) = message.aux.and_then(|aux| aux.id) {
            self.id = Some(id);
        }
        if let Some(text) = &message.stream {
            text.lines().for_each(|line| self.keep(line));
        }
        if let Some(status) = &message.status {
            tracing::debug!(id = message.id.as_deref().unwrap_or_default(), "{status}");
        }
        let detail = message.error_detail.map(|detail| detail.message).filter(|text| !text.is_empty());
        if let Some(error) = detail.or(message.error) {
            self.error.get_or_insert(error);
        }
    }

    fn keep(&mut self, line: &str) {
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        tracing::info!(target: "images", "{line}");
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.chars().take(LONGEST_KEPT).collect());
    }
}

/// Listens until the engine has finished.
pub(super) async fn listen(driver: &str, mut body: Incoming, limits: &Limits) -> Result<Told> {
    let mut told = Told::default();
    let mut pending = BytesMut::new();
    let listening = async {
        loop {
            let frame =
                timeout(limits.silence, body.frame()).await.map_err(|_| silent(driver, limits.silence))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|cause| {
                Error::new(Code::EngineUnavailable, format!("the connection to {driver} broke"))
                    .because(cause)
                    .retryable()
            })?;
            let Ok(data) = frame.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
                told.hear(&pending.split_to(end + 1));
            }
            if pending.len() > LONGEST_LINE {
                return Err(Error::new(
                    Code::TooLarge,
                    format!("{driver} wrote a message of more than 1 MiB"),
                ));
            }
        }
        Ok(())
    };
    timeout(limits.total, listening).await.unwrap_or_else(|_| Err(silent(driver, limits.total)))?;
    if !pending.is_empty() {
        told.hear(&pending);
    }
    Ok(told)
}

fn silent(driver: &str, after: std::time::Duration) -> Error {
    Error::new(Code::TimedOut, format!("{driver} was not done within {} s", after.as_secs()))
        .hint("raise `timeout` if the transfer is that large")
        .retryable()
}

/// The error that the words of an engine or registry amount to.
pub(super) fn explain(doing: &str, words: &str) -> Error {
    let lower = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|text| lower.contains(text));
    let error = |code, message: String| Error::new(code, message).because(words);
    if says(&[
        "unauthorized",
        "authentication required",
        "access to the resource is denied",
        "invalid username",
        "incorrect username",
    ]) {
        return error(Code::RegistryRefused, format!("the registry refuses to {doing}"))
            .hint("give `auth = { username = \"…\", password = secrets.get(\"…\") }`");
    }
    if says(&[
        "manifest unknown",
        "name unknown",
        "repository name not known",
        "not found: manifest",
        "status 404",
        "no such manifest",
    ]) {
        return error(Code::ImageUnknown, format!("the registry does not have what is needed to {doing}"));
    }
    if says(&["x509", "certificate"]) {
        return error(Code::RegistryUnavailable, format!("the registry is not trusted, to {doing}"))
            .hint("name the authority that signed its certificate with `ca = \"/path/ca.pem\"`");
    }
    let passing = [
        "connection refused",
        "connection reset",
        "broken pipe",
        "i/o timeout",
        "timeout",
        "unexpected eof",
        ": eof",
        "no such host",
        "temporary failure",
        "network is unreachable",
        "no route to host",
        "server misbehaving",
        "too many requests",
        "status 429",
        "500 internal",
        "502 bad",
        "503 service",
        "504 gateway",
        "status 50",
        "http: server closed",
    ];
    if says(&passing) {
        return error(Code::RegistryUnavailable, format!("the registry does not answer, to {doing}"))
            .retryable();
    }
    refused(format!("the engine could not {doing}"), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_words_get_their_codes() {
        let code = |words: &str| (explain("pull `x`", words).code, explain("pull `x`", words).retryable);
        assert_eq!(code("unauthorized: authentication required"), (Code::RegistryRefused, false));
        assert_eq!(
            code("reading manifest v9: manifest unknown: manifest unknown"),
            (Code::ImageUnknown, false)
        );
        assert_eq!(code("x509: certificate signed by unknown authority"), (Code::RegistryUnavailable, false));
        assert_eq!(
            code("dial tcp 127.0.0.1:1: connect: connection refused"),
            (Code::RegistryUnavailable, true)
        );
        assert_eq!(code("no space left on device"), (Code::EngineFailed, false));
        let full = explain("pull `x`", "write /var/lib/x: no space left on device").hint;
        assert!(full.is_some_and(|hint| hint.contains("free some space")));
        assert_eq!(code("x@sha256:44f75504104e502a: tag not known"), (Code::EngineFailed, false));
        assert_eq!(
            code("received unexpected HTTP status: 503 Service Unavailable"),
            (Code::RegistryUnavailable, true)
        );
    }

    #[test]
    fn what_an_engine_says_is_kept_in_bounds() {
        let mut told = Told::default();
        for number in 0..1000 {
            told.hear(format!("{{\"stream\":\"line {number} {}\\n\"}}", "x".repeat(1000)).as_bytes());
        }
        assert_eq!(told.lines.len(), KEPT_LINES);
        assert!(told.lines.iter().all(|line| line.len() <= LONGEST_KEPT));
        for hostile in [&b"\xff\xfe"[..], b"[]", b"{\"aux\":7}", b"null", b"{\"error\":{}}"] {
            told.hear(hostile);
        }
        told.hear(br#"{"errorDetail":{"message":"first"},"error":"second"}"#);
        assert_eq!(told.error.as_deref(), Some("first"));
    }
}
