//! Owns the question on the terminal: what a run lacks is shown exactly and granted by a person, once, or not. Asks
//! `/dev/tty` and nothing else; without one, or in the background, nobody is asked and the denial stands.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use effect::approval::{Approver, Question, Verdict};
use rustix::fs::OFlags;
use rustix::termios::{QueueSelector, tcflush, tcgetpgrp};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::render::{BOLD, DIM, Watch, YELLOW, styled};

/// What cannot be shown whole is not asked for: nobody could know what they grant.
const LONGEST_QUESTION: usize = 4096;
const LONGEST_ANSWER: usize = 256;
/// A slip of the finger is asked about again; this often.
const MOST_ATTEMPTS: usize = 3;

/// The terminal of whoever started the run.
pub(crate) struct Terminal {
    watch: Arc<dyn Watch>,
    stopping: watch::Receiver<bool>,
}

impl Terminal {
    /// The terminal, if there is one that somebody looks at.
    pub(crate) fn open(watch: &Arc<dyn Watch>, stopping: watch::Receiver<bool>) -> Option<Arc<dyn Approver>> {
        if !io::stderr().is_terminal() || device().is_err() {
            return None;
        }
        Some(Arc::new(Self { watch: watch.clone(), stopping }))
    }

    async fn answer(&self, question: &str) -> io::Result<Verdict> {
        // SAFETY: the file owns a valid descriptor, and nothing replaces or closes it while it is registered.
        let device = unsafe { AsyncFd::register(device()?) }?;
        say(device.get_ref(), question)?;
        for _ in 0..MOST_ATTEMPTS {
            // What was typed before the question was there is no answer to it.
            tcflush(&device, QueueSelector::IFlush)?;
            say(device.get_ref(), &format!("grant this to the run? {} ", styled(BOLD, "[once/No]")))?;
            let mut stopping = self.stopping.clone();
            let line = tokio::select! {
                line = read_line(&device) => line?,
                Ok(_) = stopping.wait_for(|stopping| *stopping) => return Ok(Verdict::Stopped),
            };
            match line.trim().to_ascii_lowercase().as_str() {
                "o" | "once" => return Ok(Verdict::Granted),
                "" | "n" | "no" => return Ok(Verdict::Refused),
                _ => say(device.get_ref(), "`once` grants it to this run and no other, `no` refuses it\n")?,
            }
        }
        Ok(Verdict::Refused)
    }
}

#[async_trait]
impl Approver for Terminal {
    async fn ask(&self, question: Question<'_>) -> Verdict {
        let Some(text) = text(question) else { return Verdict::Refused };
        self.watch.hold();
        let answer = self.answer(&text).await;
        self.watch.release();
        answer.unwrap_or_else(|error| {
            tracing::debug!(%error, "the terminal cannot be asked");
            Verdict::Refused
        })
    }
}

/// The controlling terminal, if this process is in its foreground: reading it from the background would stop us.
fn device() -> io::Result<File> {
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let flags = i32::try_from(flags).expect("flags of open are small");
    let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/tty")?;
    if tcgetpgrp(&device)? != rustix::process::getpgrp() {
        return Err(io::Error::other("this process is in the background"));
    }
    Ok(device)
}

fn say(mut device: &File, text: &str) -> io::Result<()> {
    let text = match anstream::AutoStream::choice(&io::stderr()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_owned(),
    };
    device.write_all(text.as_bytes())
}

/// One line; the end of the input is an empty one.
async fn read_line(device: &AsyncFd<File>) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        let mut ready = device.readable().await?;
        let mut piece = [0; LONGEST_ANSWER];
        match ready.try_io(|device| device.get_ref().read(&mut piece)) {
            Ok(read) => {
                let read = read?;
                line.extend_from_slice(&piece[..read]);
                if read == 0 || line.contains(&b'\n') || line.len() > LONGEST_ANSWER {
                    return Ok(String::from_utf8_lossy(&line).into_owned());
                }
            }
            Err(_would_block) => {}
        }
    }
}

/// The question as it is shown; nothing when it is too long to be read.
fn text(question: Question<'_>) -> Option<String> {
    let place = question.place.map(|place| format!("  {}:{}", escaped(&place.file), place.line));
    let mut text = format!(
        "{} {} {}{}\n",
        styled(YELLOW, "the script asks for what it is not granted:"),
        styled(BOLD, escaped(question.effect)),
        shortened(&escaped(question.subject)),
        styled(DIM, place.unwrap_or_default()),
    );
    for missing in question.missing {
        text.push_str(&format!("  --allow {}\n", styled(BOLD, quoted(missing))));
    }
    (text.len() <= LONGEST_QUESTION).then_some(text)
}

/// The subject is there to help; what is granted stands below it in full.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn quoted(capability: &str) -> String {
    format!("'{}'", escaped(capability).replace('\'', r"'\''"))
}

/// Text in which nothing moves the cursor, changes colours, hides or turns round what stands there.
fn escaped(text: &str) -> String {
    let is_deceptive = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars()
        .map(|c| if is_deceptive(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(subject: &str, missing: &[&str]) -> Option<String> {
        let missing: Vec<String> = missing.iter().map(|&need| need.to_owned()).collect();
        let question = Question { effect: "files.write", subject, place: None, missing: &missing };
        text(question).map(|text| anstream::adapter::strip_str(&text).to_string())
    }

    #[test]
    fn the_question_names_effect_object_and_capabilities() {
        assert_eq!(
            shown("/etc/app", &["files:write:/etc/app"]).unwrap(),
            "the script asks for what it is not granted: files.write /etc/app\n  --allow 'files:write:/etc/app'\n"
        );
    }

    #[test]
    fn nothing_in_a_question_drives_or_deceives_the_terminal() {
        let text = shown("a\u{1b}[2K\r", &["files:write:/tmp/\u{202e}txt.\u{1b}[A\n\u{200b}"]).unwrap();
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}', '\u{200b}']), "{text:?}");
        assert!(text.contains(r"\u{1b}[A\u{a}"), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn what_cannot_be_shown_whole_is_not_asked() {
        let long = format!("files:write:/{}", "x".repeat(LONGEST_QUESTION));
        assert_eq!(shown("a", &[&long]), None);
        assert!(shown(&"x".repeat(100_000), &["files:write:/a"]).unwrap().len() < 1000);
    }
}
