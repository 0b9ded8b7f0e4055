//! Owns a terminal with somebody at it: the program runs in the foreground of a pseudo-terminal, and what it shows is
//! read as it comes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::{PROGRAM, Place, until};

/// A program in the foreground of a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts the program with `words`; `typed` is what was typed before it could ask for anything.
    #[expect(clippy::disallowed_methods, reason = "the suite starts the program under test")]
    pub(crate) fn start(place: &Place, words: &[&str], variables: &[(&str, &str)], typed: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let end = || -> Stdio {
            File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into()
        };
        let mut keys = File::from(master);
        keys.write_all(typed.as_bytes()).unwrap();
        // A session of its own, whose controlling terminal is the one it reads from.
        let plain = place.command(words);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", PROGRAM]).args(words).current_dir(place.path()).env_clear();
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, seen) = (keys.try_clone().unwrap(), shown.clone());
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The terminal is gone with the last program that has it open.
            while let Ok(read @ 1..) = screen.read(&mut piece) {
                seen.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Self { child, keys, shown, reader }
    }

    /// What has been shown, with everything that moves the cursor.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until a text has been shown so many times.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str, times: usize) {
        let what = format!("`{text}` is shown {times} times");
        until(&what, || (self.shown().matches(text).count() >= times).then_some(()));
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; the exit code and all that was shown.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = until("the program ends", || self.child.try_wait().unwrap());
        until("all that it showed is read", || self.reader.is_finished().then_some(()));
        (status.code(), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself; the program dies with its terminal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
