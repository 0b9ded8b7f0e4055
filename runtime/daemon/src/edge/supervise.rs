//! Owns how the daemon looks after the edge: it starts one where none answers, a successor where another version or other
//! settings are wanted, and a new one as soon as the one there is gone. The edge is nobody's child: it lives on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use effect::{Code, Error, Result};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::coming::Coming;
use super::{Answer, Ask, Client, Standing};

/// For an edge to answer after it was started.
const START: Duration = Duration::from_secs(20);
/// Between looks whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// Between attempts, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// One that lived that long was well.
const STEADY: Duration = Duration::from_secs(60);
/// What the edge has to say goes into a file of at most about this many octets.
const LARGEST_LOG: u64 = 4 << 20;

/// How an edge is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The state directory.
    pub state: PathBuf,
    /// What tells its settings from others.
    pub settings: String,
}

/// How the edge of a state directory stands, if one is there.
#[must_use]
pub fn standing(state: &Path) -> Option<Standing> {
    match Client::connect(state)?.ask(&Ask::Standing) {
        Ok(Answer::Standing(standing)) => Some(standing),
        _ => None,
    }
}

impl Start {
    fn is_wanted(&self, standing: &Standing) -> bool {
        standing.version == env!("CARGO_PKG_VERSION") && standing.settings == self.settings
    }

    /// Makes sure that an edge of this version and with these settings answers.
    ///
    /// # Errors
    /// `MC-Q020` and others with what the edge said, where it does not come up.
    pub async fn ensure(&self) -> Result<Standing> {
        if let Some(there) = self.present().await.filter(|there| self.is_wanted(there)) {
            return Ok(there);
        }
        let mut child = self.spawn()?;
        let process = child.id();
        let came = timeout(START, async {
            loop {
                if let Some(there) = self.look().await.filter(|there| there.process == process) {
                    return Ok(there);
                }
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(self.failure(&format!("it ended with {status}")));
                }
                sleep(LOOK).await;
            }
        });
        let came = came.await.unwrap_or_else(|_| Err(self.failure("it does not answer after 20 s")));
        // Waited for in the background once it ends; until then it is nobody's.
        std::thread::spawn(move || child.wait());
        came
    }

    /// The edge that is there. One that is coming up, as its own unit starts it at boot, is waited for.
    async fn present(&self) -> Option<Standing> {
        let came = timeout(START, async {
            loop {
                // Asked first: it says no more that it is coming once it answers.
                let is_coming = Coming::is_announced(&self.state);
                let there = self.look().await;
                if there.is_some() || !is_coming {
                    return there;
                }
                sleep(LOOK).await;
            }
        });
        came.await.unwrap_or_default()
    }

    async fn look(&self) -> Option<Standing> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || standing(&state)).await.ok().flatten()
    }

    fn log(&self) -> PathBuf {
        super::folder(&self.state).join("edge.log")
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts an edge")]
    fn spawn(&self) -> Result<Child> {
        let failed =
            |error: io::Error| Error::new(Code::DnsListen, "the edge cannot be started").because(error);
        let log = self.open_log().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .current_dir("/");
        // SAFETY: `setsid` is one system call and touches no memory; nothing else happens between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
        }
        command.spawn().map_err(failed)
    }

    fn open_log(&self) -> io::Result<File> {
        std::fs::create_dir_all(super::folder(&self.state))?;
        let path = self.log();
        if path.metadata().is_ok_and(|found| found.len() > LARGEST_LOG) {
            std::fs::rename(&path, path.with_extension("log.old"))?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    }

    /// Why it did not come up, in its own words where it has some.
    fn failure(&self, why: &str) -> Error {
        const LINES: usize = 6;
        let said = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(LINES).collect();
        let error = Error::new(Code::DnsListen, "the edge does not come up").because(why);
        let error = lines.into_iter().rev().fold(error, |error, line| error.detail(line.to_owned()));
        error.hint(format!("what it said is in {}", self.log().display()))
    }

    /// Looks after the edge until `over` becomes true; then it goes on by itself.
    pub async fn supervise(&self, mut over: watch::Receiver<bool>) {
        let mut pause = PAUSES.0;
        loop {
            let since = tokio::time::Instant::now();
            match self.ensure().await {
                Ok(there) => {
                    tracing::info!(process = there.process, "the edge answers");
                    tokio::select! {
                        () = self.gone() => tracing::warn!(process = there.process, "the edge is gone"),
                        _ = over.wait_for(|over| *over) => return,
                    }
                }
                Err(error) => tracing::error!(%error, "no edge answers"),
            }
            if since.elapsed() >= STEADY {
                pause = PAUSES.0;
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                _ = over.wait_for(|over| *over) => return,
            }
        }
    }

    /// Waits until the edge that is there is gone.
    async fn gone(&self) {
        let place = super::folder(&self.state).join("edge.sock");
        let Ok(stream) = tokio::net::UnixStream::connect(place).await else { return };
        // The kernel closes the line with the process; until then nothing comes on it.
        let _ = stream.readable().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_edge_that_is_coming_up_is_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let start = Start {
            program: "/bin/false".into(),
            arguments: Vec::new(),
            state: state.path().to_owned(),
            settings: String::new(),
        };
        let coming = Coming::announce(state.path()).unwrap();
        let mut ensuring = Box::pin(start.ensure());
        timeout(Duration::from_millis(300), &mut ensuring).await.expect_err("it waits");
        assert!(!start.log().exists(), "another one was started");
        drop(coming);
        let error = ensuring.await.expect_err("that one ends at once").to_string();
        assert!(error.contains("does not come up"), "{error}");
        assert!(start.log().exists(), "nobody came, and none was started");
    }
}
