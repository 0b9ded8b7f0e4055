//! Owns what is seen of a run while it is under way: a live tree with timings on a terminal, plain lines elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use effect::{Action, Event, Kind, Observer};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use journal::Identity;
use script::{Level, Module};

use super::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, note, out, printable, styled};

/// Watches a run on behalf of a person.
pub(crate) trait Watch: Send + Sync {
    fn event(&self, event: Event<'_>);
    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>);
    fn progress(&self, scope: &str, value: &str);
    fn module(&self, module: &Module);
    /// `cancelled` tells that somebody gave the run up.
    fn interrupted(&self, hard: bool, cancelled: bool);
}

/// Hands the corridor's events on.
pub(crate) struct Observe(pub(crate) Arc<dyn Watch>);

impl Observer for Observe {
    fn event(&self, event: Event<'_>) {
        self.0.event(event);
    }
}

/// Shows nothing but what the script logs: for plans and JSON output.
pub(crate) struct Silent {
    /// Whether log lines are shown, marked as those of a plan. What a script prints is its result and not shown.
    pub(crate) logs: bool,
    pub(crate) sources: Mutex<HashMap<String, String>>,
}

impl Watch for Silent {
    fn event(&self, _: Event<'_>) {}

    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        if self.logs && !matches!(level, Level::Debug | Level::Print) {
            note(format_args!("{} {}", styled(DIM, "would log:"), log_line(level, scope, message, fields)));
        }
    }

    fn progress(&self, _: &str, _: &str) {}

    fn module(&self, module: &Module) {
        remember(&self.sources, module);
    }

    fn interrupted(&self, _: bool, _: bool) {}
}

/// Shows a run as it goes.
pub(crate) struct Live {
    run: String,
    bars: Option<MultiProgress>,
    under_way: Mutex<BTreeMap<Identity, ProgressBar>>,
    totals: Mutex<Totals>,
    pub(crate) sources: Mutex<HashMap<String, String>>,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) effects: u64,
    pub(crate) changed: u64,
}

impl Live {
    pub(crate) fn new(run: String) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let bars =
            on_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self { run, bars, under_way: Mutex::default(), totals: Mutex::default(), sources: Mutex::default() }
    }

    pub(crate) fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, line: String) {
        match &self.bars {
            Some(bars) => bars.suspend(|| note(line)),
            None => note(line),
        }
    }

    fn started(&self, identity: &Identity, subject: &str) {
        let Some(bars) = &self.bars else { return };
        let bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        let scope = if identity.scope.is_empty() { String::new() } else { format!("{} ", identity.scope) };
        bar.set_message(printable(&format!("{scope}{} {subject}", identity.name)));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(identity.clone(), bar);
    }

    fn ended(&self, identity: &Identity, line: Option<String>) {
        let bar = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(identity);
        if let (Some(bar), Some(bars)) = (bar, &self.bars) {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
        if let Some(line) = line {
            self.print(line);
        }
    }
}

impl Watch for Live {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { identity, subject, .. } => self.started(identity, subject),
            Event::Ended { identity, kind, subject, action, error, millis } => {
                let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
                totals.effects += 1;
                let changes = !matches!(action, Action::None | Action::Read | Action::Wait);
                totals.changed += u64::from(changes && error.is_none());
                drop(totals);
                // Reads are the script's own business and would drown what changes.
                let quiet = kind == Kind::Read && error.is_none();
                let line = (!quiet).then(|| effect_line(identity, subject, action, error, millis));
                self.ended(identity, line);
            }
        }
    }

    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        match level {
            Level::Debug => {}
            // What a script prints is its result.
            Level::Print => match &self.bars {
                Some(bars) => bars.suspend(|| out(printable(message))),
                None => out(printable(message)),
            },
            _ => self.print(log_line(level, scope, message, fields)),
        }
    }

    fn progress(&self, scope: &str, value: &str) {
        self.print(format!("  {}{}", branch(scope), styled(DIM, printable(value))));
    }

    fn module(&self, module: &Module) {
        remember(&self.sources, module);
    }

    fn interrupted(&self, hard: bool, cancelled: bool) {
        let run = &self.run;
        self.print(if cancelled {
            "cancelled: stopping at the next effect".to_owned()
        } else if hard {
            format!("stopping at once; `mcrun resume {run}` goes on")
        } else {
            format!("stopping at the next effect; Ctrl-C again stops at once. `mcrun resume {run}` goes on")
        });
    }
}

fn remember(sources: &Mutex<HashMap<String, String>>, module: &Module) {
    let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
    sources.insert(module.name.clone(), module.source.clone());
}

fn branch(scope: &str) -> String {
    if scope.is_empty() { String::new() } else { styled(DIM, format_args!("{} ", printable(scope))) }
}

fn effect_line(
    identity: &Identity,
    subject: &str,
    action: Action,
    error: Option<&effect::Error>,
    millis: i64,
) -> String {
    let (symbol, style) = match (error, action) {
        (Some(_), _) => ("✗", RED),
        (None, Action::Create) => ("+", GREEN),
        (None, Action::Update) => ("~", YELLOW),
        (None, Action::Replace) => ("-/+", YELLOW),
        (None, Action::Remove) => ("-", YELLOW),
        (None, Action::Act) => ("!", GREEN),
        (None, Action::Wait) => ("✓", GREEN),
        (None, Action::None | Action::Read) => ("=", DIM),
    };
    let failure =
        error.map(|error| styled(RED, format_args!("  [{}] {}", error.code, printable(&error.message))));
    format!(
        "{} {}{} {}  {}{}",
        styled(style, symbol),
        branch(&identity.scope),
        styled(BOLD, &identity.name),
        printable(subject),
        styled(DIM, duration(millis)),
        failure.unwrap_or_default()
    )
}

fn duration(millis: i64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", millis as f64 / 1000.0) }
}

/// One line of the run's log.
pub(crate) fn log_line(level: Level, scope: &str, message: &str, fields: Option<&str>) -> String {
    let word = match level {
        Level::Debug => styled(DIM, "debug"),
        Level::Info | Level::Print => styled(CYAN, "info"),
        Level::Warn => styled(YELLOW, "warn"),
        Level::Error => styled(RED, "error"),
    };
    let fields = fields.map(shown_fields).unwrap_or_default();
    format!("{word} {}{}{}", branch(scope), printable(message), styled(DIM, printable(&fields)))
}

/// Fields as `name=value`; what is no table of names is shown as it is, never dropped.
fn shown_fields(fields: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(fields) {
        Ok(serde_json::Value::Object(fields)) => {
            fields.iter().map(|(name, value)| format!("  {name}={value}")).collect()
        }
        Ok(serde_json::Value::Array(items)) if items.is_empty() => String::new(),
        Ok(serde_json::Value::String(text)) => format!("  {text}"),
        _ => format!("  {fields}"),
    }
}
