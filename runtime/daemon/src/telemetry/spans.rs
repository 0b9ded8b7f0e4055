//! Owns how a run becomes a trace: the run is its root, each scope a span beneath it, each effect a span of its scope. Ids
//! are made of the run's id, so that what is sent again is the same.

use std::collections::BTreeMap;

use journal::{Entry, Kind, Run, RunState, Status, Timestamp};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Span};
use serde_json::Value;

/// No text is longer, in bytes.
const LONGEST: usize = 512;
/// Of more scopes than these, the effects hang on the run itself.
const MOST_SCOPES: usize = 5000;
/// What an effect is about, by the names of arguments, the first first.
const SUBJECTS: [&str; 9] = ["name", "service", "hostname", "path", "id", "zone", "event", "title", "url"];

/// A run on its way to become a trace, page by page.
#[derive(Debug)]
pub struct Trace<'a> {
    run: &'a Run,
    id: Vec<u8>,
    /// From when to when something happened in each scope.
    scopes: BTreeMap<String, (Timestamp, Timestamp)>,
}

impl<'a> Trace<'a> {
    /// The trace of `run`.
    #[must_use]
    pub fn of(run: &'a Run) -> Self {
        let id = hash(&["trace", run.id.as_str()], 16);
        Self { run, id, scopes: BTreeMap::new() }
    }

    fn span_id(&self, parts: &[&str]) -> Vec<u8> {
        hash(&[&["span", self.run.id.as_str()], parts].concat(), 8)
    }

    fn root(&self) -> Vec<u8> {
        self.span_id(&["run"])
    }

    /// The span that stands for a scope.
    fn scope_id(&self, scope: &str) -> Vec<u8> {
        if scope.is_empty() || !self.scopes.contains_key(scope) {
            return self.root();
        }
        self.span_id(&["scope", scope])
    }

    /// Spans of effects.
    pub fn effects(&mut self, entries: &[Entry]) -> Vec<Span> {
        entries.iter().map(|entry| self.effect(entry)).collect()
    }

    fn effect(&mut self, entry: &Entry) -> Span {
        let end = entry.ended_at.or(entry.begun_at).unwrap_or(self.run.updated);
        let begin = entry.begun_at.unwrap_or(end);
        let scope = &*entry.identity.scope;
        self.touch(scope, begin, end);
        let counter = entry.identity.counter.to_string();
        let mut attributes = vec![
            text("mcrun.effect", &entry.identity.name),
            text("mcrun.scope", scope),
            text("mcrun.kind", kind(entry.kind)),
            flag("mcrun.changed", entry.changed),
        ];
        attributes.extend(subject(&entry.arguments).map(|subject| text("mcrun.subject", &subject)));
        if let Some(place) = &entry.place {
            attributes.push(text("code.file.path", &place.file));
            attributes.push(number("code.line.number", place.line.into()));
        }
        let status = match entry.status {
            Status::Done => status(StatusCode::Ok, ""),
            Status::Begun => status(StatusCode::Unset, "it did not end"),
            Status::Cancelled => status(StatusCode::Error, "cancelled"),
            Status::Failed => {
                let error = entry.result.as_deref().and_then(|result| serde_json::from_str(result).ok());
                let (code, message) = told(error.as_ref());
                attributes.push(text("mcrun.error.code", &code));
                status(StatusCode::Error, &message)
            }
        };
        Span {
            trace_id: self.id.clone(),
            span_id: self.span_id(&["effect", scope, &counter]),
            parent_span_id: self.scope_id(scope),
            name: entry.identity.name.to_string(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(begin),
            end_time_unix_nano: nanos(end),
            attributes,
            status,
            ..Span::default()
        }
    }

    /// Stretches a scope, and those around it, over what happened in it.
    fn touch(&mut self, scope: &str, begin: Timestamp, end: Timestamp) {
        let mut scope = scope;
        while !scope.is_empty() {
            let is_new = !self.scopes.contains_key(scope);
            if !is_new || self.scopes.len() < MOST_SCOPES {
                let time = self.scopes.entry(scope.to_owned()).or_insert((begin, end));
                *time = (time.0.min(begin), time.1.max(end));
            }
            scope = above(scope);
        }
    }

    /// What stands around the effects: the run and its scopes. To be asked for when every effect was.
    #[must_use]
    pub fn frame(&self) -> Vec<Span> {
        let mut spans = vec![self.whole()];
        for (scope, (begin, end)) in &self.scopes {
            let name = scope.rsplit('/').next().unwrap_or(scope);
            spans.push(Span {
                trace_id: self.id.clone(),
                span_id: self.scope_id(scope),
                parent_span_id: self.scope_id(above(scope)),
                name: cut(name),
                kind: SpanKind::Internal.into(),
                start_time_unix_nano: nanos(*begin),
                end_time_unix_nano: nanos(*end),
                attributes: vec![text("mcrun.scope", scope)],
                ..Span::default()
            });
        }
        spans
    }

    fn whole(&self) -> Span {
        let run = self.run;
        let mut attributes = vec![
            text("mcrun.run", run.id.as_str()),
            text("mcrun.script", &run.name),
            text("mcrun.state", run.state.as_str()),
        ];
        attributes.extend(run.playbook.as_deref().map(|playbook| text("mcrun.playbook", playbook)));
        attributes.extend(run.exit_code.map(|code| number("mcrun.exit_code", code.into())));
        let cause = run.cause.as_ref().and_then(|cause| cause.get("by")).and_then(Value::as_str);
        attributes.extend(cause.map(|by| text("mcrun.cause", by)));
        let status = match run.state {
            RunState::Done => status(StatusCode::Ok, ""),
            state => {
                let error = run.outcome.as_ref().and_then(|outcome| outcome.get("error"));
                let (code, message) = told(error);
                if !code.is_empty() {
                    attributes.push(text("mcrun.error.code", &code));
                }
                status(StatusCode::Error, if message.is_empty() { state.as_str() } else { &message })
            }
        };
        Span {
            trace_id: self.id.clone(),
            span_id: self.root(),
            name: cut(run.playbook.as_deref().unwrap_or(&run.name)),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(run.started.unwrap_or(run.created)),
            end_time_unix_nano: nanos(run.ended.unwrap_or(run.updated)),
            attributes,
            status,
            ..Span::default()
        }
    }
}

/// One message with `spans`.
pub(super) fn message(node: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: Some(instrumentation()), spans, ..ScopeSpans::default() }];
    let resource = Some(resource(node));
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

/// Who tells it.
pub(super) fn resource(node: &str) -> Resource {
    let attributes = vec![
        text("service.name", "mcrun"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", node),
        text("host.name", node),
    ];
    Resource { attributes, ..Resource::default() }
}

pub(super) fn instrumentation() -> InstrumentationScope {
    let (name, version) = ("mcrun".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

pub(super) fn nanos(moment: Timestamp) -> u64 {
    u64::try_from(moment.0).unwrap_or(0).saturating_mul(1_000_000)
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(cut(value)))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Any::IntValue(value))
}

fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Any::BoolValue(value))
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn status(code: StatusCode, message: &str) -> Option<otlp::Status> {
    Some(otlp::Status { code: code.into(), message: cut(message) })
}

fn cut(value: &str) -> String {
    value[..value.floor_char_boundary(LONGEST)].to_owned()
}

fn above(scope: &str) -> &str {
    scope.rsplit_once('/').map_or("", |(above, _)| above)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::Ensure => "ensure",
        Kind::Act => "act",
        Kind::Wait => "wait",
    }
}

/// What an effect is about, from its arguments. Of an address only what leads to its host: the rest may say more.
fn subject(arguments: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(arguments).ok()?;
    let (name, found) =
        SUBJECTS.iter().find_map(|name| Some((*name, arguments.get(*name)?.as_str()?.to_owned())))?;
    if name != "url" {
        return Some(found);
    }
    let url: url::Url = found.parse().ok()?;
    Some(format!("{}://{}", url.scheme(), peer::host(&url)))
}

/// Code and message of an error as it is recorded.
fn told(error: Option<&Value>) -> (String, String) {
    let part =
        |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or_default();
    (part("code").to_owned(), part("message").to_owned())
}

fn hash(parts: &[&str], length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hasher.finalize().as_bytes()[..length].to_vec()
}
