//! Owns everything a person reads: errors, progress, plans, tables. Data goes to stdout, the rest to stderr; colours
//! follow NO_COLOR and the terminal.

mod live;
mod plan;
mod table;
mod time;
mod tree;
mod trouble;

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use effect::Error;
use serde::Serialize;

use crate::exit::Exit;

pub(crate) use live::{Live, Observe, Silent, Watch, log_line};
pub(crate) use plan::{plan, plan_json};
pub(crate) use table::Table;
pub(crate) use time::{ago, rfc3339};
pub(crate) use trouble::trouble;

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// `text` in `style`; the printing side strips it where colours are not wanted.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes one line of data. A closed pipe ends the output, not the program.
pub(crate) fn out(line: impl std::fmt::Display) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Writes one line for people.
pub(crate) fn note(line: impl std::fmt::Display) {
    // The daemon's log has it, in its form.
    if crate::logs::say(&line) {
        return;
    }
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Tells what holds a run up.
pub(crate) fn waits(reason: &str) {
    note(waiting_line(reason));
}

/// A line that tells what holds a run up.
fn waiting_line(reason: &str) -> String {
    format!("{} {}", styled(CYAN, "waiting:"), printable(reason))
}

/// `1 effect`, `2 effects`.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `12 ms`, `3.4 s`, `5 min 12 s`, `3 h 20 min`.
fn duration(millis: i64) -> String {
    match millis {
        ..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{:.1} s", millis as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// Writes a value as JSON.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => out(text),
        Err(error) => note(format_args!("the result cannot be encoded: {error}")),
    }
}

/// Shows an error without a place and tells the exit code.
pub(crate) fn failure(error: &Error) -> Exit {
    let words = trouble(&error.clone().shortened(), None, &[], None);
    // The daemon's log has it as an error with its code, so that whoever looks for errors finds why it ended.
    if !crate::logs::fail(error, &words) {
        note(words);
    }
    Exit::of(error)
}

/// Removes control characters, so that what comes from scripts and services cannot drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Columns and rows of the terminal on standard output, where there is one.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Diagnostics for developers, off unless `-v` or MCRUN_LOG ask for them.
pub(crate) fn init_tracing(verbose: u8) {
    let default = match verbose {
        0 => None,
        1 => Some("debug"),
        _ => Some("trace"),
    };
    let filter = std::env::var("MCRUN_LOG").ok().or(default.map(str::to_owned));
    let Some(filter) = filter else { return };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .try_init();
}
