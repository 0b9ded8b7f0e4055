//! Owns `emit`, which tells of an event, and `events`, which lists what was told and follows what is.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use effect::{Code, Error, Result};
use journal::Event;
use serde_json::{Value, json};

use super::screen;
use crate::app::App;
use crate::arguments::events::Since;
use crate::exit::Exit;
use crate::render;

/// How often it is looked for new ones while they are followed.
const EVERY: Duration = Duration::from_millis(200);
/// Read at once.
const PAGE: usize = 1000;
/// So many of the newest are listed where nothing else is asked for.
const USUAL: usize = 200;
/// On a terminal an event's data are cut behind so many characters: the rest is what `--json` is for.
const LONGEST_SHOWN: usize = 400;

/// No more is told with an event: every run that waits for it keeps a copy.
const LONGEST_DATA: usize = 64 << 10;

pub(super) async fn emit(app: &App, event: &str, data: Option<&str>) -> Result<Exit> {
    system::event::check_name(event).map_err(|reason| {
        Error::new(Code::Usage, format!("`{event}` is no name of an event")).because(format!("it {reason}"))
    })?;
    let data = data.unwrap_or("null");
    if data.len() > LONGEST_DATA {
        return Err(Error::new(
            Code::Usage,
            format!("`--data` has {} bytes, the most is {LONGEST_DATA}", data.len()),
        )
        .hint("put it into a file and tell its path"));
    }
    let data: Value = serde_json::from_str(data).map_err(|error| {
        Error::new(Code::Usage, "`--data` is not JSON")
            .because(error)
            .hint("quote it for the shell: `--data '{ \"from\": \"nightly\" }'`")
    })?;
    app.journal.emit(event, &data.to_string()).await?;
    render::note(format_args!("told `{event}`"));
    Ok(Exit::Done)
}

/// What `events` is asked for.
pub(super) struct Wish<'a> {
    /// Only events with such names.
    pub(super) pattern: Option<&'a str>,
    pub(super) follow: bool,
    pub(super) since: Option<Since>,
    /// At most so many of the newest.
    pub(super) tail: Option<usize>,
    pub(super) json: bool,
}

pub(super) async fn events(app: &App, wish: &Wish<'_>) -> Result<Exit> {
    if let Some(pattern) = wish.pattern {
        check_pattern(pattern)?;
    }
    tokio::select! {
        shown = list(app, wish) => shown,
        () = screen::interrupted(), if wish.follow => Ok(Exit::Done),
    }
}

fn check_pattern(pattern: &str) -> Result<()> {
    system::event::check_name(&pattern.replace('*', "x")).map_err(|reason| {
        Error::new(Code::Usage, format!("`{}` fits the name of no event", render::printable(pattern)))
            .because(format!("it {reason}"))
            .hint("`*` stands for a part between dots: `container.*`")
    })
}

async fn list(app: &App, wish: &Wish<'_>) -> Result<Exit> {
    let earliest = wish.since.map(|since| since.moment(app.clock.now()));
    // Whoever says since when wants all of that.
    let most = wish.tail.unwrap_or(if earliest.is_some() { usize::MAX } else { USUAL });
    let (mut after, mut newest) = (0, VecDeque::new());
    loop {
        let page = app.journal.events(after, PAGE).await?;
        let is_last = page.len() < PAGE;
        for event in page {
            after = event.id;
            if earliest.is_some_and(|earliest| event.at < earliest) || !wish.wants(&event) {
                continue;
            }
            newest.push_back(event);
            // Where all are wanted none is kept for later.
            if most == usize::MAX && !newest.pop_front().is_none_or(|event| show(&event, wish.json)) {
                return Ok(Exit::Done);
            }
            if newest.len() > most {
                newest.pop_front();
            }
        }
        if is_last {
            break;
        }
    }
    if !newest.iter().all(|event| show(event, wish.json)) || !wish.follow {
        return Ok(Exit::Done);
    }
    loop {
        tokio::time::sleep(EVERY).await;
        for event in app.journal.events(after, PAGE).await? {
            after = event.id;
            if wish.wants(&event) && !show(&event, wish.json) {
                return Ok(Exit::Done);
            }
        }
    }
}

impl Wish<'_> {
    fn wants(&self, event: &Event) -> bool {
        self.pattern.is_none_or(|pattern| daemon::triggers::is_named(pattern, &event.name))
    }
}

/// Shows one event in one line; whether anybody still reads.
fn show(event: &Event, as_json: bool) -> bool {
    let mut stdout = anstream::stdout();
    let line = line(event, as_json, std::io::stdout().is_terminal());
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_ok()
}

fn line(event: &Event, as_json: bool, is_terminal: bool) -> String {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| Value::from(event.data.as_str()));
    let at = render::rfc3339(event.at);
    if as_json {
        return json!({ "id": event.id, "event": event.name, "data": data, "at": at }).to_string();
    }
    let mut data = if data.is_null() { String::new() } else { render::printable(&data.to_string()) };
    if is_terminal && data.chars().count() > LONGEST_SHOWN {
        data = data.chars().take(LONGEST_SHOWN).chain(['…']).collect();
    }
    let (at, name) = (render::styled(render::DIM, at), render::styled(render::BOLD, &event.name));
    format!("{at} {name} {data}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use journal::Timestamp;

    use super::*;

    fn event(data: &Value) -> Event {
        Event { id: 7, name: "db.ready".to_owned(), data: data.to_string(), at: Timestamp(0) }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_told_with_it() {
        let told = event(&json!({ "a": "one\ntwo", "b": "\u{1b}[31m", "c": "\u{9b}31m" }));
        for (as_json, is_terminal) in [(true, false), (false, true), (false, false)] {
            let line = line(&told, as_json, is_terminal);
            assert!(!line.contains('\n') && line.contains("db.ready"), "{line}");
        }
        assert!(!line(&told, false, false).contains('\u{9b}'));
        assert!(line(&event(&Value::Null), false, false).ends_with("db.ready\u{1b}[0m"));
    }

    #[test]
    fn what_is_long_is_cut_on_a_terminal_alone() {
        let told = event(&json!("x".repeat(1000)));
        assert!(line(&told, false, true).chars().count() < 500);
        assert!(line(&told, false, false).chars().count() > 1000);
    }
}
