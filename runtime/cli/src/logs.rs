//! Owns what the daemon says of itself: which lines, in which form, and where to. Three forms: text for people, a line of
//! JSON each for programs, and the native protocol of systemd's journal. Where a secret may go is the business of whoever
//! says something: errors and names never hold one.

mod journald;
mod line;

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use daemon::log::Form;
use effect::{Code, Error, Result};
use journal::{Clock, SystemClock};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use self::journald::Journald;
use self::line::Line;

/// What is said unless `-v` or MCRUN_LOG ask for something else: our own words, and others' warnings.
const USUAL: &str = "info,h2=warn,hyper=warn,hyper_util=warn,notify=warn,rustls=warn,tonic=warn,tower=warn";
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where lines go.
enum Sink {
    Text { times: bool },
    Json,
    Journald(Journald),
}

struct Logs {
    sink: RwLock<Sink>,
    /// The form that the command line asks for, whatever mcrun.toml says.
    asked: Option<Form>,
    clock: SystemClock,
}

static LOGS: OnceLock<Arc<Logs>> = OnceLock::new();

/// Has everything that this process says go through the log: in the form that was asked for, else the usual one, until
/// `choose` says otherwise. What is wrong with mcrun.toml, which has the last word, is said before.
pub(crate) fn init(verbose: u8, asked: Option<Form>) {
    let usual = match verbose {
        0 => USUAL,
        1 => "debug",
        _ => "trace",
    };
    let filter = std::env::var("MCRUN_LOG").unwrap_or_else(|_| usual.to_owned());
    // A journal that does not answer is an error when the form is chosen, and there has to be a way to say so.
    let sink = sink(asked.unwrap_or_default(), Path::new(JOURNAL)).unwrap_or_else(|_| text());
    let logs = Arc::new(Logs { sink: RwLock::new(sink), asked, clock: SystemClock });
    let subscriber = tracing_subscriber::registry().with(EnvFilter::new(filter)).with(Written(logs.clone()));
    if subscriber.try_init().is_ok() {
        // Nobody else has set it: there is one subscriber.
        let _ = LOGS.set(logs);
    }
}

/// Chooses the form from now on, as far as the command line leaves the choice.
///
/// # Errors
/// `MC-I002` where the journal is asked for and does not answer.
pub(crate) fn choose(form: Form) -> Result<()> {
    let Some(logs) = LOGS.get() else { return Ok(()) };
    let sink = sink(logs.asked.unwrap_or(form), Path::new(JOURNAL))?;
    *logs.sink.write().unwrap_or_else(PoisonError::into_inner) = sink;
    Ok(())
}

/// Says `line` by the log, where there is one.
pub(crate) fn say(line: &dyn std::fmt::Display) -> bool {
    if LOGS.get().is_none() {
        return false;
    }
    let plain = anstream::adapter::strip_str(&line.to_string()).to_string();
    tracing::info!(target: "mcrun", "{plain}");
    true
}

/// Says by the log, where there is one, why the process ends: `words` tell it to people.
pub(crate) fn fail(error: &Error, words: &dyn std::fmt::Display) -> bool {
    if LOGS.get().is_none() {
        return false;
    }
    let words = anstream::adapter::strip_str(&words.to_string()).to_string();
    let words = words.strip_prefix(&format!("error[{}]: ", error.code)).unwrap_or(&words);
    tracing::error!(target: "mcrun", error = format!("{}: {words}", error.code), "the daemon ends");
    true
}

fn sink(form: Form, journal: &Path) -> Result<Sink> {
    match form {
        Form::Text => Ok(text()),
        Form::Json => Ok(Sink::Json),
        Form::Journald => Journald::at(journal).map(Sink::Journald).map_err(|error| {
            Error::new(
                Code::LogTarget,
                format!("systemd's journal does not answer at `{}`", journal.display()),
            )
            .because(error)
        }),
        Form::Auto if is_read_by_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) => {
            Ok(Journald::at(journal).map_or_else(|_| text(), Sink::Journald))
        }
        Form::Auto => Ok(text()),
    }
}

fn text() -> Sink {
    Sink::Text { times: !std::io::stderr().is_terminal() }
}

/// Whether the error stream is the one that systemd's journal reads (`JOURNAL_STREAM=DEVICE:INODE`).
fn is_read_by_journal(told: Option<&str>) -> bool {
    let Some((device, inode)) = told.and_then(|told| told.split_once(':')) else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else { return false };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

/// Writes each event as one line.
struct Written(Arc<Logs>);

impl<S: Subscriber> Layer<S> for Written {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event, self.0.clock.now());
        let sink = self.0.sink.read().unwrap_or_else(PoisonError::into_inner);
        match &*sink {
            Sink::Text { times } => to_stderr(&line.text(*times)),
            Sink::Json => to_stderr(&line.json()),
            // What the journal does not take is at least seen.
            Sink::Journald(journal) => {
                if journal.send(&line.fields()).is_err() {
                    to_stderr(&line.text(true));
                }
            }
        }
    }
}

/// One write for a whole line, so that lines of several processes do not mix. Nothing is left to be said where it fails.
fn to_stderr(line: &str) {
    let _ = anstream::AutoStream::auto(std::io::stderr()).write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_does_not_answer_is_an_error_only_where_it_was_asked_for() {
        let nowhere = Path::new("/nobody/is/there");
        let error = sink(Form::Journald, nowhere).map(|_| ()).unwrap_err();
        assert_eq!(error.code, Code::LogTarget);
        assert!(matches!(sink(Form::Auto, nowhere), Ok(Sink::Text { .. })));
        assert!(matches!(sink(Form::Json, nowhere), Ok(Sink::Json)));
    }

    #[test]
    fn the_journal_reads_the_error_stream_only_where_it_is_the_same() {
        let stat = rustix::fs::fstat(std::io::stderr().as_fd()).unwrap();
        assert!(is_read_by_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        for told in [None, Some("1:1"), Some("nonsense"), Some(":")] {
            assert!(!is_read_by_journal(told), "{told:?}");
        }
    }
}
