//! Owns one line of the log: its words and fields, and how each form writes them.

use std::fmt::{Debug, Write as _};

use anstyle::{AnsiColor, Style};
use journal::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// No text of a line is longer, in bytes.
const LONGEST: usize = 256 << 10;
/// Names that a line of JSON has itself.
const OWN: [&str; 4] = ["time", "level", "message", "target"];

/// What is said.
pub(super) struct Line {
    at: Timestamp,
    level: Level,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    pub(super) fn of(event: &Event<'_>, at: Timestamp) -> Self {
        let meta = event.metadata();
        let mut line = Self {
            at,
            level: *meta.level(),
            target: meta.target().to_owned(),
            message: String::new(),
            fields: Map::new(),
        };
        event.record(&mut line);
        if let Some(code) = line.code() {
            line.fields.insert("code".into(), code.into());
        }
        line
    }

    /// The code of the error that it tells of.
    fn code(&self) -> Option<String> {
        if self.fields.contains_key("code") {
            return None;
        }
        let error = self.fields.get("error").and_then(Value::as_str)?;
        let code = error.get(..7).filter(|code| code.parse::<effect::Code>().is_ok())?;
        Some(code.to_owned())
    }

    fn word(&self) -> &'static str {
        match self.level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        }
    }

    /// For people: with the time where nobody watches.
    pub(super) fn text(&self, with_time: bool) -> String {
        let mut text = String::new();
        if with_time {
            let _ = write!(text, "{} ", self.at);
        }
        if with_time || self.level != Level::INFO {
            let style = match self.level {
                Level::ERROR => AnsiColor::Red.on_default(),
                Level::WARN => AnsiColor::Yellow.on_default(),
                _ => Style::new().dimmed(),
            };
            let _ = write!(text, "{style}{}{style:#} ", self.word());
        }
        text.push_str(&tamed(&self.message));
        for (name, value) in &self.fields {
            // An error begins with its code.
            if name == "code" && self.fields.contains_key("error") {
                continue;
            }
            match value {
                Value::String(value) if name == "error" => {
                    let _ = write!(text, ": {}", tamed(value));
                }
                Value::String(value) => {
                    let _ = write!(text, " {name}={}", tamed(value));
                }
                other => {
                    let _ = write!(text, " {name}={other}");
                }
            }
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let mut line = Map::new();
        line.insert("time".into(), self.at.to_string().into());
        line.insert("level".into(), self.word().into());
        line.insert("message".into(), self.message.clone().into());
        line.insert("target".into(), self.target.clone().into());
        for (name, value) in &self.fields {
            let name = if OWN.contains(&name.as_str()) { format!("field.{name}") } else { name.clone() };
            line.insert(name, value.clone());
        }
        Value::Object(line).to_string()
    }

    /// For systemd's journal: names and values.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let priority = match self.level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let error = self.fields.get("error").and_then(Value::as_str);
        let message = match error {
            Some(error) => format!("{}: {error}", self.message),
            None => self.message.clone(),
        };
        let mut fields = vec![
            ("MESSAGE".to_owned(), message),
            ("PRIORITY".to_owned(), priority.to_owned()),
            ("SYSLOG_IDENTIFIER".to_owned(), "mcrun".to_owned()),
            ("MCRUN_TARGET".to_owned(), self.target.clone()),
        ];
        for (name, value) in &self.fields {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
                .collect();
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // systemd refuses longer names.
            let mut name = format!("MCRUN_{name}");
            name.truncate(64);
            fields.push((name, value));
        }
        fields
    }

    fn put(&mut self, field: &Field, value: Value) {
        let value = match value {
            Value::String(text) => Value::String(cut(text)),
            other => other,
        };
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

/// No control character drives a terminal, and no line looks like the next one.
fn tamed(text: &str) -> String {
    let text = text.trim_end();
    let tame = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(tame).collect::<String>().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt as _};

    use super::*;

    struct Collected(Arc<Mutex<Vec<Line>>>);

    impl<S: tracing::Subscriber> Layer<S> for Collected {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Line::of(event, Timestamp(1_800_000_000_000)));
        }
    }

    fn said(say: impl FnOnce()) -> Line {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Collected(lines.clone()));
        tracing::subscriber::with_default(subscriber, say);
        lines.lock().unwrap().pop().unwrap()
    }

    #[test]
    fn every_form_has_words_fields_and_the_code_of_an_error() {
        let error = effect::Error::new(effect::Code::Config, "it is\nwrong");
        let line = said(
            || tracing::warn!(target: "t", run = "r1", times = 3, time = true, %error, "not\x1b[31m so"),
        );
        assert_eq!(
            line.text(true).replace("\x1b[33m", "").replace("\x1b[0m", ""),
            "2027-01-15T08:00:00Z warn not\u{fffd}[31m so run=r1 times=3 time=true: MC-U002: it is\n    wrong"
        );
        let json: Value = serde_json::from_str(&line.json()).unwrap();
        assert_eq!(json["time"], "2027-01-15T08:00:00Z");
        assert_eq!(json["field.time"], true);
        assert_eq!((json["code"].as_str(), json["run"].as_str()), (Some("MC-U002"), Some("r1")));
        assert_eq!(json["times"], 3);
        let fields = line.fields();
        let field =
            |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(field("PRIORITY"), Some("4"));
        assert_eq!(field("MCRUN_RUN"), Some("r1"));
        assert_eq!(field("MCRUN_CODE"), Some("MC-U002"));
        assert_eq!(field("MESSAGE"), Some("not\x1b[31m so: MC-U002: it is\nwrong"));
    }

    #[test]
    fn what_is_said_has_an_end() {
        let long = "é".repeat(LONGEST);
        let line = said(|| tracing::info!("{long}"));
        assert!(line.message.len() < LONGEST + 8);
        assert_eq!(said(|| tracing::info!("ready")).text(false), "ready");
    }
}
