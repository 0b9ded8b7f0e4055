//! Owns what is seen of a run while it is under way: a live tree with timings on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use effect::approval::Approver;
use effect::{Action, Event, Kind, Observer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use journal::Identity;
use script::{Level, Module};
use tokio::sync::watch;

use super::tree::{End, Frame, Tree};
use crate::approve::Terminal;

use super::{
    BOLD, CYAN, DIM, GREEN, RED, YELLOW, duration, note, out, printable, styled, waiting_line, waits,
};

/// Watches a run on behalf of a person.
pub(crate) trait Watch: Send + Sync {
    fn event(&self, event: Event<'_>);
    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>);
    /// The same of a line that is recorded under its `number` in the branch.
    fn line(&self, number: u64, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        let _ = number;
        self.log(level, scope, message, fields);
    }
    fn progress(&self, scope: &str, value: &str);
    fn module(&self, module: &Module);
    /// `cancelled` tells that somebody gave the run up.
    fn interrupted(&self, hard: bool, cancelled: bool);
    /// Somebody else writes to the terminal until `release`: what happens meanwhile is shown then.
    fn hold(&self) {}
    fn release(&self) {}
    /// Who may be asked for capabilities that the run lacks, if anybody can be.
    fn approver(self: Arc<Self>, stopping: watch::Receiver<bool>) -> Option<Arc<dyn Approver>> {
        let _ = stopping;
        None
    }
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
    fn event(&self, event: Event<'_>) {
        if let Event::Held { reason, .. } = event {
            waits(reason);
        }
    }

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
    screen: Option<Screen>,
    totals: Mutex<Totals>,
    pub(crate) sources: Mutex<HashMap<String, String>>,
}

/// The lower part of a terminal, in which the tree of what is under way is drawn again and again.
struct Screen {
    bar: Mutex<ProgressBar>,
    tree: Arc<Mutex<Tree>>,
    /// What is to be printed when whoever holds the terminal releases it.
    held: Mutex<Option<Vec<Line>>>,
}

/// A line above the tree.
enum Line {
    /// For people.
    Note(String),
    /// What the script prints.
    Out(String),
}

impl Line {
    fn print(&self) {
        match self {
            Line::Note(line) => note(line),
            Line::Out(line) => out(line),
        }
    }
}

impl Screen {
    fn open() -> Option<Self> {
        let plain = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if plain || !std::io::stderr().is_terminal() {
            return None;
        }
        let tree = Arc::new(Mutex::new(Tree::default()));
        let bar = bar_of(&tree, Duration::ZERO);
        Some(Self { bar: Mutex::new(bar), tree, held: Mutex::default() })
    }

    /// Changes the tree, and prints what is settled by that above it.
    fn change(&self, change: impl FnOnce(&mut Tree, Duration) -> Vec<String>) {
        let now = lock(&self.bar).elapsed();
        // Drawing takes the tree as well, so it is free again before anything is drawn.
        let settled = change(&mut lock(&self.tree), now);
        self.print(settled.into_iter().map(Line::Note).collect());
    }

    fn print(&self, lines: Vec<Line>) {
        if let Some(held) = &mut *lock(&self.held) {
            held.extend(lines);
        } else if !lines.is_empty() {
            lock(&self.bar).suspend(|| lines.iter().for_each(Line::print));
        }
    }

    fn hold(&self) {
        lock(&self.held).get_or_insert_default();
        lock(&self.bar).finish_and_clear();
    }

    fn release(&self) {
        let held = lock(&self.held).take();
        {
            let mut bar = lock(&self.bar);
            *bar = bar_of(&self.tree, bar.elapsed());
        }
        self.print(held.unwrap_or_default());
    }

    fn finish(&self) {
        self.change(Tree::finish);
        lock(&self.bar).finish_and_clear();
    }
}

/// What draws the tree, with its clock at `elapsed`.
fn bar_of(tree: &Arc<Mutex<Tree>>, elapsed: Duration) -> ProgressBar {
    let drawn = tree.clone();
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let draw = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let text = lock(&drawn).lines(frame(state.elapsed())).join("\n");
        let text = if colours { text } else { anstream::adapter::strip_str(&text).to_string() };
        // What cannot be drawn now is drawn a moment later.
        let _ = out.write_str(&text);
    };
    let style = ProgressStyle::with_template("{tree}").expect("the template is well formed");
    let bar =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)).with_elapsed(elapsed);
    bar.set_style(style.with_key("tree", draw));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn frame(now: Duration) -> Frame {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let or =
        |given: Option<u16>, unknown: usize| given.filter(|given| *given > 0).map_or(unknown, usize::from);
    let width = or(size.map(|size| size.ws_col), 80);
    let height = or(size.map(|size| size.ws_row), 24);
    // The last column and row stay free: some terminals wrap and scroll when they are written to.
    Frame { width: width.saturating_sub(1), height: height.saturating_sub(2).max(1), now }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) effects: u64,
    pub(crate) changed: u64,
}

impl Live {
    pub(crate) fn new(run: String) -> Self {
        Self { run, screen: Screen::open(), totals: Mutex::default(), sources: Mutex::default() }
    }

    pub(crate) fn totals(&self) -> Totals {
        *lock(&self.totals)
    }

    /// Leaves the terminal to whoever writes next.
    pub(crate) fn finish(&self) {
        if let Some(screen) = &self.screen {
            screen.finish();
        }
    }

    fn print(&self, line: String) {
        match &self.screen {
            Some(screen) => screen.print(vec![Line::Note(line)]),
            None => note(line),
        }
    }

    /// The script speaks from `scope`: what it has left is shown before its words.
    fn reached(&self, scope: &str) {
        if let Some(screen) = &self.screen {
            screen.change(|tree, now| tree.left_for(scope, now));
        }
    }

    fn ended(&self, identity: &Identity, subject: &str, end: Option<End>) {
        match (&self.screen, end) {
            (Some(screen), end) => screen.change(|tree, now| tree.ended(identity, subject, end, now)),
            (None, Some(end)) => note(effect_line(identity, subject, &end)),
            (None, None) => {}
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Watch for Live {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { identity, subject, .. } => {
                if let Some(screen) = &self.screen {
                    screen.change(|tree, now| tree.started(identity, subject, now));
                }
                // Nobody decides who does not know of it.
                if identity.name == system::approvals::EFFECT {
                    let asked = format!("{subject}: `mcrun approvals show {}`", self.run);
                    self.print(waiting_line(&asked));
                }
            }
            Event::Held { reason, .. } => self.print(waiting_line(reason)),
            Event::Ended { identity, kind, subject, action, error, millis } => {
                let mut totals = lock(&self.totals);
                totals.effects += 1;
                let changes = !matches!(action, Action::None | Action::Read | Action::Wait);
                totals.changed += u64::from(changes && error.is_none());
                drop(totals);
                // Reads are the script's own business and would drown what changes.
                let quiet = kind == Kind::Read && error.is_none();
                self.ended(identity, subject, (!quiet).then(|| end(action, error, millis)));
            }
        }
    }

    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        if level != Level::Debug {
            self.reached(scope);
        }
        match level {
            Level::Debug => {}
            // What a script prints is its result.
            Level::Print => match &self.screen {
                Some(screen) => screen.print(vec![Line::Out(printable(message))]),
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

    fn hold(&self) {
        if let Some(screen) = &self.screen {
            screen.hold();
        }
    }

    fn release(&self) {
        if let Some(screen) = &self.screen {
            screen.release();
        }
    }

    fn approver(self: Arc<Self>, stopping: watch::Receiver<bool>) -> Option<Arc<dyn Approver>> {
        let watch: Arc<dyn Watch> = self;
        Terminal::open(&watch, stopping)
    }
}

fn remember(sources: &Mutex<HashMap<String, String>>, module: &Module) {
    lock(sources).insert(module.name.clone(), module.source.clone());
}

fn branch(scope: &str) -> String {
    if scope.is_empty() { String::new() } else { styled(DIM, format_args!("{} ", printable(scope))) }
}

fn end(action: Action, error: Option<&effect::Error>, millis: i64) -> End {
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
    let failure = error.map(|error| format!("[{}] {}", error.code, printable(&error.message)));
    End { symbol, style, millis, failure }
}

fn effect_line(identity: &Identity, subject: &str, end: &End) -> String {
    let failure = end.failure.as_ref().map(|failure| styled(RED, format_args!("  {failure}")));
    format!(
        "{} {}{} {}  {}{}",
        styled(end.style, end.symbol),
        branch(&identity.scope),
        styled(BOLD, &identity.name),
        printable(subject),
        styled(DIM, duration(end.millis)),
        failure.unwrap_or_default()
    )
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
