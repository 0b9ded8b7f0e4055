//! Owns one message to the collector: its headers, and what the answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use peer::{Answer, Client, Kind, Limits, Question, Secrets, printable};
use prost::Message;
use url::Url;

use super::{Header, Settings};

/// Octets of an answer: it says little.
const LARGEST_ANSWER: usize = 64 << 10;
const CONNECT: Duration = Duration::from_secs(5);
/// What a secret's `to` says so that it may be sent along.
const DESTINATION: &str = "telemetry";

const KIND: Kind = Kind {
    name: "the collector",
    unavailable: Code::CollectorRefused,
    refused: Code::CollectorRefused,
    garbage: Code::CollectorRefused,
};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was taken.
    All,
    /// So many parts were not, and never will be.
    Without(u64),
    /// The collector is not for such messages.
    Nowhere,
}

/// The way to the collector.
pub(super) struct Sender {
    client: Client,
    url: Url,
    headers: Vec<(HeaderName, Header)>,
    secrets: Secrets,
}

impl Sender {
    pub(super) fn new(settings: &Settings, secrets: Arc<dyn effect::Secrets>) -> Result<Self> {
        settings.check()?;
        let headers = settings
            .headers
            .iter()
            .filter_map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.clone())));
        let answer = settings.timeout.0;
        let limits = Limits { connect: CONNECT.min(answer), answer, largest: LARGEST_ANSWER };
        Ok(Self {
            client: Client::new(KIND, limits, settings.ca.clone()),
            url: settings.url()?,
            headers: headers.collect(),
            secrets: Secrets::new(secrets, DESTINATION),
        })
    }

    pub(super) async fn traces(&self, message: &ExportTraceServiceRequest) -> Result<Sent> {
        let answer = self.send("traces", message.encode_to_vec()).await?;
        if is_nowhere(&answer) {
            return Err(self.nowhere("traces"));
        }
        let Some(body) = taken(&answer) else { return Ok(Sent::Without(u64::MAX)) };
        let told = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        Ok(told.map_or(Sent::All, |told| partial(told.rejected_spans, &told.error_message)))
    }

    pub(super) async fn metrics(&self, message: &ExportMetricsServiceRequest) -> Result<Sent> {
        let answer = self.send("metrics", message.encode_to_vec()).await?;
        if is_nowhere(&answer) {
            let error = self.nowhere("metrics");
            tracing::warn!(%error, "figures are not sent any more");
            return Ok(Sent::Nowhere);
        }
        let Some(body) = taken(&answer) else { return Ok(Sent::Without(u64::MAX)) };
        let told = ExportMetricsServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        let told = told.filter(|told| told.rejected_data_points > 0);
        // One message counts as one.
        Ok(told.map_or(Sent::All, |told| partial(1, &told.error_message)))
    }

    async fn send(&self, what: &str, message: Vec<u8>) -> Result<Answer> {
        let mut url = self.url.clone();
        let no_address = |()| Error::new(Code::Internal, "a checked address is none");
        url.path_segments_mut().map_err(no_address)?.pop_if_empty().extend(["v1", what]);
        let mut question = Question::new(Method::POST, url);
        question.headers = self.headers().await?;
        question.body = Bytes::from(message);
        let answer = self.client.exchange(&question).await?;
        // What may pass is tried again; what does not, the collector will never take.
        match answer.status.as_u16() {
            429 | 502..=504 => Err(KIND
                .unavailable(&self.client.place(&self.url), format!("it answered with {}", answer.status))),
            401 | 403 => Err(KIND.refused(&self.client.place(&self.url), what, words(&answer))),
            _ => Ok(answer),
        }
    }

    fn nowhere(&self, what: &str) -> Error {
        KIND.garbage(&self.client.place(&self.url), format!("it knows no /v1/{what}"))
    }

    async fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        for (name, value) in &self.headers {
            let value = match value {
                Header::Text(text) => HeaderValue::from_str(text),
                Header::Secret { secret } => {
                    HeaderValue::from_bytes(&self.secrets.value(secret).await?).map(|mut value| {
                        value.set_sensitive(true);
                        value
                    })
                }
            };
            let value = value.map_err(|_| {
                Error::new(Code::Config, format!("[telemetry] headers: `{name}` holds what a header cannot"))
            })?;
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }
}

fn is_nowhere(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 404 | 405)
}

/// The answer to a message that was taken. Another one is told of and left behind: it would never be taken.
fn taken(answer: &Answer) -> Option<Bytes> {
    if answer.status.is_success() {
        return Some(answer.body.clone());
    }
    let error = KIND.refused("", "a message", words(answer));
    tracing::warn!(%error, "telemetry was left out");
    None
}

fn words(answer: &Answer) -> String {
    let status: StatusCode = answer.status;
    // Its words are of protobuf, or text.
    let text: String =
        String::from_utf8_lossy(&answer.body).chars().filter(|c| !c.is_control()).take(200).collect();
    printable(&format!("{status} {text}"))
}

fn partial(rejected: i64, why: &str) -> Sent {
    match u64::try_from(rejected) {
        Ok(rejected) if rejected > 0 => {
            tracing::debug!(rejected, why = printable(why), "the collector left a part out");
            Sent::Without(rejected)
        }
        _ => Sent::All,
    }
}
