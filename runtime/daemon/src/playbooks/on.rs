//! Owns how `on` is read: each kind of trigger is a plain value, a table that says more, or a list of these.

mod event;

use std::path::{Component, Path};
use std::time::Duration;

use effect::Timestamp;
use serde_json::{Map, Value};

use super::fields::{self, Mistakes, below};
use super::{At, Cron, Every, Forge, OnFile, OnWebhook, Trigger};
use crate::triggers::times;

const KINDS: [&str; 7] = ["cron", "every", "at", "boot", "event", "file", "webhook"];
const MOST_TRIGGERS: usize = 64;
const LONGEST: usize = 1024;
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

pub(super) fn read(value: &Value, mistakes: &mut Mistakes) -> Vec<Trigger> {
    let Some(kinds) = fields::object(value, "on", mistakes) else { return Vec::new() };
    fields::only(kinds, &KINDS, "on", mistakes);
    let mut triggers = Vec::new();
    for kind in KINDS {
        let Some(value) = kinds.get(kind) else { continue };
        let path = below("on", kind);
        match value {
            Value::Array(items) if items.is_empty() => mistakes.wrong(&path, "is empty"),
            Value::Array(items) => {
                for (index, item) in items.iter().take(MOST_TRIGGERS + 1).enumerate() {
                    add(kind, item, &format!("{path}[{}]", index + 1), &mut triggers, mistakes);
                }
            }
            one => add(kind, one, &path, &mut triggers, mistakes),
        }
    }
    if triggers.len() > MOST_TRIGGERS {
        mistakes.wrong("on", format_args!("has more than {MOST_TRIGGERS} triggers"));
    }
    triggers
}

fn add(kind: &str, value: &Value, path: &str, triggers: &mut Vec<Trigger>, mistakes: &mut Mistakes) {
    let trigger = match kind {
        "cron" => cron(value, path, mistakes),
        "every" => every(value, path, mistakes),
        "at" => at(value, path, mistakes),
        "boot" => boot(value, path, mistakes),
        "event" => event::read(value, path, mistakes),
        "file" => file(value, path, mistakes),
        _ => webhook(value, path, mistakes),
    };
    let Some(trigger) = trigger else { return };
    let times = times::check(&trigger).map_err(|error| (path.to_owned(), error));
    let checked =
        times.and_then(|()| times::check_jitter(&trigger).map_err(|error| (below(path, "jitter"), error)));
    if let Err((path, mut error)) = checked {
        error.message = format!("field `{path}`: {}", error.message);
        mistakes.add(&path, error);
    } else if triggers.contains(&trigger) {
        mistakes.wrong(path, "is there twice");
    } else {
        triggers.push(trigger);
    }
}

/// What a table says more.
type Fields<'a> = Option<&'a Map<String, Value>>;

/// A plain value, or the fields of a table; a plain one stands for the field `main`.
fn parts<'a>(
    value: &'a Value,
    (main, others): (&str, &[&str]),
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<(&'a Value, String, Fields<'a>)> {
    let Value::Object(table) = value else { return Some((value, path.to_owned(), None)) };
    let known: Vec<&str> = std::iter::once(main).chain(others.iter().copied()).collect();
    fields::only(table, &known, path, mistakes);
    match table.get(main) {
        Some(value) => Some((value, below(path, main), Some(table))),
        None => {
            mistakes.wrong(path, format_args!("has no `{main}`"));
            None
        }
    }
}

fn jitter(table: Fields<'_>, path: &str, mistakes: &mut Mistakes) -> Option<Duration> {
    match table.and_then(|table| table.get("jitter")) {
        Some(value) => fields::span(value, &below(path, "jitter"), (Duration::ZERO, DAY), mistakes),
        None => Some(Duration::ZERO),
    }
}

fn cron(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    let (main, main_path, table) = parts(value, ("at", &["zone", "jitter"]), path, mistakes)?;
    let expression = fields::text(main, &main_path, LONGEST, mistakes);
    let zone = match table.and_then(|table| table.get("zone")) {
        Some(value) => Some(fields::text(value, &below(path, "zone"), LONGEST, mistakes)?),
        None => None,
    };
    let jitter = jitter(table, path, mistakes)?;
    Some(Trigger::Cron(Cron { expression: expression?, zone, jitter }))
}

fn every(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    let (main, main_path, table) = parts(value, ("every", &["jitter"]), path, mistakes)?;
    let every = fields::span(main, &main_path, (Duration::from_secs(1), YEAR), mistakes);
    let jitter = jitter(table, path, mistakes)?;
    Some(Trigger::Every(Every { every: every?, jitter }))
}

fn at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    let (main, path, _) = parts(value, ("at", &[]), path, mistakes)?;
    let text = fields::text(main, &path, LONGEST, mistakes)?;
    match moment(&text) {
        Some(at) => Some(Trigger::At(At { at, text })),
        None => {
            let shown = fields::quoted(&text);
            mistakes.hinted(
                &path,
                format_args!("is no moment: {shown}"),
                "date, time and offset, such as \"2026-12-24T18:00:00+01:00\" or \"2026-12-24T17:00:00Z\"",
            );
            None
        }
    }
}

/// RFC 3339, or with a time zone in brackets behind it (RFC 9557).
fn moment(text: &str) -> Option<Timestamp> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => text.parse::<jiff::Zoned>().ok()?.timestamp(),
    };
    Some(Timestamp(at.as_millisecond()))
}

fn boot(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    match value {
        Value::Bool(true) => Some(Trigger::Boot),
        Value::Bool(false) => None,
        other => {
            mistakes.wrong(path, format_args!("must be `true`, not {}", fields::kind(other)));
            None
        }
    }
}

/// `3/10m`
fn rate(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<(u32, Duration)> {
    let read = || {
        let (count, span) = value.as_str()?.split_once('/')?;
        let span = span.parse::<effect::units::Span>().ok()?.0;
        let count = count.trim().parse::<u32>().ok()?;
        ((1..=100_000).contains(&count) && (Duration::from_millis(1)..=YEAR).contains(&span))
            .then_some((count, span))
    };
    let rate = read();
    if rate.is_none() {
        let kind = fields::kind(value);
        mistakes
            .wrong(path, format_args!("must be a number of starts in a time, such as \"3/10m\", not {kind}"));
    }
    rate
}

fn file(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    let (main, main_path, table) = parts(value, ("path", &["settle"]), path, mistakes)?;
    let text = fields::text(main, &main_path, 4096, mistakes)?;
    let file = Path::new(&text);
    let folder = file.parent().unwrap_or(file);
    if !file.is_absolute() || text.contains('\n') {
        let shown = fields::quoted(&text);
        mistakes.wrong(&main_path, format_args!("must be an absolute path, not {shown}"));
        return None;
    }
    if file.components().any(|component| component == Component::ParentDir) {
        mistakes.wrong(&main_path, "must not hold `..`");
        return None;
    }
    if folder.to_string_lossy().contains(['*', '?', '[']) {
        mistakes.hinted(
            &main_path,
            "has a pattern before its last part",
            "name the folder itself: `/etc/app/*.toml`",
        );
        return None;
    }
    let settle = match table.and_then(|table| table.get("settle")) {
        Some(value) => {
            let bounds = (Duration::ZERO, Duration::from_secs(3600));
            fields::span(value, &below(path, "settle"), bounds, mistakes)?
        }
        None => Duration::from_secs(1),
    };
    Some(Trigger::File(OnFile { path: file.to_owned(), settle }))
}

fn webhook(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Trigger> {
    let Value::Object(table) = value else {
        mistakes.hinted(
            path,
            format_args!("must be a table, not {}", fields::kind(value)),
            "such as { path = \"deploy\", secret = \"forge/hook\", format = \"github\" }",
        );
        return None;
    };
    fields::only(table, &["path", "secret", "format", "events", "window", "at_most"], path, mistakes);
    let mut required = |field: &str| {
        let below = below(path, field);
        match table.get(field) {
            Some(value) => fields::text(value, &below, 256, mistakes),
            None => {
                mistakes.wrong(path, format_args!("has no `{field}`"));
                None
            }
        }
    };
    let (address, secret) = (required("path"), required("secret"));
    let address = address.filter(|address| {
        let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let fits = address.len() <= 63 && address.chars().all(of_name);
        if !fits {
            let shown = fields::quoted(address);
            let message = format!("must be lower-case letters, digits, dashes and underscores, not {shown}");
            mistakes.hinted(&below(path, "path"), message, "it is the last part of `/hooks/PATH`");
        }
        fits
    });
    let formats = [
        ("generic", Forge::Generic),
        ("github", Forge::Github),
        ("gitea", Forge::Gitea),
        ("forgejo", Forge::Gitea),
        ("gitlab", Forge::Gitlab),
    ];
    let format = match table.get("format") {
        Some(value) => fields::word(value, &below(path, "format"), &formats, mistakes),
        None => Some(Forge::default()),
    };
    let events = match table.get("events") {
        Some(value) => words(value, &below(path, "events"), mistakes),
        None => Some(Vec::new()),
    };
    // Forges sign no time: nobody knows how old a call of theirs is, only whether there was one like it.
    let (usual, longest) = match format {
        Some(Forge::Generic) | None => (Duration::from_secs(300), DAY),
        Some(Forge::Github | Forge::Gitea | Forge::Gitlab) => (DAY * 30, DAY * 30),
    };
    let window = match table.get("window") {
        Some(value) => {
            fields::span(value, &below(path, "window"), (Duration::from_secs(1), longest), mistakes)
        }
        None => Some(usual),
    };
    let at_most = match table.get("at_most") {
        Some(value) => rate(value, &below(path, "at_most"), mistakes).map(Some),
        None => Some(None),
    };
    Some(Trigger::Webhook(OnWebhook {
        path: address?,
        secret: secret?,
        format: format?,
        events: events?,
        window: window?,
        at_most: at_most?,
    }))
}

/// One text, or a list of them.
fn words(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    if value.is_string() {
        return Some(vec![fields::text(value, path, 256, mistakes)?]);
    }
    let items = fields::list(value, path, 64, mistakes)?;
    let texts = items
        .iter()
        .enumerate()
        .map(|(index, item)| fields::text(item, &format!("{path}[{}]", index + 1), 256, mistakes));
    texts.collect::<Vec<_>>().into_iter().collect()
}
