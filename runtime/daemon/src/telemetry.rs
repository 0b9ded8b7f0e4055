//! Owns what is sent to a collector of OpenTelemetry (OTLP over HTTP, protobuf): each run that is over as a trace, and the
//! figures as metrics. Runs do not notice: traces are read from the journal after the fact, which is also the queue. A place
//! in it is kept as a record, so that nothing is left out by a restart or a kill; what was sent twice has the same ids.

mod figures;
mod send;
mod spans;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Journal, RunId, Write};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use url::Url;

pub use figures::metrics;
pub use spans::Trace;

use crate::metrics::{Metrics, gather};
use send::{Sender, Sent};

/// So many runs are looked for at once.
const RUNS: usize = 100;
/// So many entries of a run are read at once: what goes into one message.
const ENTRIES: usize = 500;
/// What is older when the collector comes back is left out.
const OLDEST: Duration = Duration::from_secs(86_400);
/// After failures in a row it is tried again ever later, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long the last messages of a process may take.
const AT_THE_END: Duration = Duration::from_secs(2);
const KIND: &str = "telemetry";
const NAME: &str = "traces";

/// `[telemetry]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the collector listens, `http://127.0.0.1:4318`: `/v1/traces` and `/v1/metrics` are beneath it.
    pub endpoint: String,
    /// What is sent with every message; a value is a text, or the name of a secret that may go to `telemetry`.
    #[serde(default)]
    pub headers: BTreeMap<String, Header>,
    /// A file of certificates in PEM that is trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// Whether runs are sent.
    #[serde(default = "yes")]
    pub traces: bool,
    /// Whether figures are sent.
    #[serde(default = "yes")]
    pub metrics: bool,
    /// How often.
    #[serde(default = "usual")]
    pub every: Span,
    /// How long the collector may take to answer.
    #[serde(default = "patience")]
    pub timeout: Span,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Header {
    /// As it is.
    Text(String),
    /// `{ secret = "otel/token" }`: the value of a secret.
    Secret {
        /// Its name.
        secret: String,
    },
}

fn yes() -> bool {
    true
}

fn usual() -> Span {
    Span::seconds(10)
}

fn patience() -> Span {
    Span::seconds(10)
}

impl Settings {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Error::new(Code::Config, format!("[telemetry] {what}"));
        let url = self.url()?;
        for (name, value) in &self.headers {
            let is_name = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
            let is_value = match value {
                Header::Text(text) => http::HeaderValue::from_str(text).is_ok(),
                Header::Secret { .. } => true,
            };
            if !is_name || !is_value {
                return Err(wrong(format!("headers: `{}` is not one", name.escape_default())));
            }
        }
        let has_secrets = self.headers.values().any(|value| matches!(value, Header::Secret { .. }));
        if has_secrets && url.scheme() == "http" && !peer::is_here(&url) {
            return Err(wrong("endpoint: a secret does not go over plain HTTP to another machine".into())
                .hint("use https"));
        }
        if self.every.0 < Duration::from_millis(100) || self.timeout.0.is_zero() {
            return Err(wrong("every: it is at least 100ms, and timeout not 0".into()));
        }
        Ok(())
    }

    fn url(&self) -> Result<Url> {
        let wrong = |why: String| {
            Error::new(Code::Config, "[telemetry] endpoint: this is not an address of HTTP").because(why)
        };
        let url = Url::parse(&self.endpoint).map_err(|error| wrong(error.to_string()))?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if is_plain { Ok(url) } else { Err(wrong("it has more than scheme, host, port and path".into())) }
    }
}

/// What the exporter works with.
#[derive(Clone)]
pub struct Parts {
    /// Where runs are read.
    pub journal: Journal,
    /// This machine.
    pub node: String,
    /// What is counted.
    pub metrics: Metrics,
    /// Where headers get secrets from.
    pub secrets: Arc<dyn effect::Secrets>,
}

/// How far the journal was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    ended: i64,
    run: Option<RunId>,
}

/// Sends until `shutdown` becomes true, and once more then.
///
/// # Errors
/// `MC-U002` where the settings make no sense.
pub async fn export(settings: Settings, parts: Parts, mut shutdown: watch::Receiver<bool>) -> Result<()> {
    let sender = Sender::new(&settings, parts.secrets.clone())?;
    let mut exporter = Exporter { sender, parts, settings, failures: 0 };
    let mut place = exporter.place().await;
    loop {
        let pause = exporter.pause();
        let worked = async {
            tokio::time::sleep(pause).await;
            exporter.round(&mut place).await
        };
        tokio::select! {
            good = worked => exporter.note(good),
            _ = shutdown.wait_for(|is_over| *is_over) => break,
        }
    }
    // A collector that takes its time must not hold up the end; the next process goes on from there.
    if let Ok(good) = tokio::time::timeout(AT_THE_END, exporter.round(&mut place)).await {
        exporter.note(good);
    }
    Ok(())
}

struct Exporter {
    sender: Sender,
    parts: Parts,
    settings: Settings,
    /// In a row.
    failures: u32,
}

impl Exporter {
    fn pause(&self) -> Duration {
        let every = self.settings.every.0;
        if self.failures == 0 {
            return every;
        }
        every.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE).max(every)
    }

    /// Where the last process got to; from now on, where there was none.
    async fn place(&self) -> Place {
        let recorded = self.parts.journal.record(KIND, &self.parts.node, NAME).await.ok().flatten();
        let known = recorded.and_then(|record| serde_json::from_str(&record.value).ok());
        let begin = Place { ended: self.parts.journal.clock().now().0, run: None };
        if known.is_none() {
            self.keep(&begin).await;
        }
        known.unwrap_or(begin)
    }

    async fn keep(&self, place: &Place) {
        let write = Write {
            kind: KIND.to_owned(),
            node: self.parts.node.clone(),
            name: NAME.to_owned(),
            value: serde_json::to_string(place).ok(),
            expect: Expect::Any,
        };
        if let Err(error) = self.parts.journal.write(vec![write]).await {
            tracing::debug!(%error, "how far telemetry was sent cannot be recorded");
        }
    }

    /// Everything that there is to be sent; an error is the collector's. One that takes no figures gets traces all the same.
    async fn round(&mut self, place: &mut Place) -> Result<()> {
        let figures = if self.settings.metrics { self.figures().await } else { Ok(()) };
        if self.settings.traces {
            self.traces(place).await?;
        }
        figures
    }

    async fn figures(&mut self) -> Result<()> {
        let figures = gather(&self.parts.metrics, &self.parts.journal).await;
        let now = self.parts.journal.clock().now();
        let sent = self.sender.metrics(&metrics(&self.parts.node, &figures, now)).await;
        self.count("metrics", 1, &sent);
        // Many a collector is for traces alone.
        self.settings.metrics = !matches!(sent, Ok(Sent::Nowhere));
        sent.map(drop)
    }

    async fn traces(&self, place: &mut Place) -> Result<()> {
        loop {
            let after = Timestamp(place.ended);
            let runs = self.parts.journal.ended_after(after, place.run, RUNS).await?;
            for (run, ended) in &runs {
                self.trace(run, *ended).await?;
                *place = Place { ended: ended.0, run: Some(*run) };
            }
            if !runs.is_empty() {
                self.keep(place).await;
            }
            if runs.len() < RUNS {
                return Ok(());
            }
        }
    }

    /// Sends one run. One that is gone, or that the collector will never take, is left behind.
    async fn trace(&self, id: &RunId, ended: Timestamp) -> Result<()> {
        let Ok(run) = self.parts.journal.run(id.as_str()).await else { return Ok(()) };
        if self.parts.journal.clock().now().since(ended) > OLDEST {
            self.parts.metrics.telemetry("spans", "dropped", run.effects + 1);
            return Ok(());
        }
        let mut trace = Trace::of(&run);
        let (mut after, mut spans) = (0, Vec::new());
        loop {
            let page = self.parts.journal.entries(id, after, ENTRIES).await?;
            let last = page.iter().rev().find_map(|entry| entry.order);
            let is_last = last.is_none() || page.iter().any(|entry| entry.order.is_none());
            spans.extend(trace.effects(&page));
            if is_last {
                spans.extend(trace.frame());
            }
            let count = spans.len() as u64;
            if is_last || spans.len() >= ENTRIES {
                let message = spans::message(&self.parts.node, std::mem::take(&mut spans));
                let sent = self.sender.traces(&message).await;
                self.count("spans", count, &sent);
                sent?;
            }
            match last {
                Some(last) if !is_last => after = last,
                _ => return Ok(()),
            }
        }
    }

    fn count(&self, kind: &str, count: u64, sent: &Result<Sent>) {
        let (outcome, number) = match sent {
            Ok(Sent::All) => ("sent", count),
            Ok(Sent::Without(left_out)) => {
                self.parts.metrics.telemetry(kind, "sent", count.saturating_sub(*left_out));
                ("dropped", (*left_out).min(count))
            }
            Ok(Sent::Nowhere) => return,
            // What the journal holds is sent later; figures are sent anew.
            Err(_) if kind == "spans" => return,
            Err(_) => ("dropped", count),
        };
        self.parts.metrics.telemetry(kind, outcome, number);
    }

    /// Says once that it does not go well, and once that it does again.
    fn note(&mut self, good: Result<()>) {
        match good {
            Ok(()) if self.failures > 0 => {
                tracing::info!("telemetry is taken again");
                self.failures = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(%error, "telemetry cannot be sent; it is tried again");
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> Settings {
        toml::from_str(&format!("endpoint = \"{endpoint}\"")).unwrap()
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        settings("http://127.0.0.1:4318").check().unwrap();
        settings("https://otel.example/prefix").check().unwrap();
        for wrong in ["otel", "ftp://x", "http://user@x/", "http://x/?a=b", "unix:/x"] {
            assert_eq!(settings(wrong).check().unwrap_err().code, Code::Config, "{wrong}");
        }
        let secret = |endpoint: &str| {
            let text = format!(
                "endpoint = \"{endpoint}\"\nheaders = {{ authorization = {{ secret = \"otel/token\" }} }}"
            );
            toml::from_str::<Settings>(&text).unwrap().check()
        };
        secret("http://127.0.0.1:4318").unwrap();
        secret("https://otel.example").unwrap();
        assert_eq!(secret("http://otel.example").unwrap_err().code, Code::Config);
        let text = "endpoint = \"http://127.0.0.1\"\nheaders = { \"a b\" = \"c\" }";
        assert_eq!(toml::from_str::<Settings>(text).unwrap().check().unwrap_err().code, Code::Config);
    }
}
