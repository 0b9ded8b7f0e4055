//! `exec` and `top`: what an operator does to what runs, with a terminal and without.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::harness::{Place, until};

fn running() -> Place {
    let place = Place::new();
    let script =
        place.script("web.lua", "containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" } }\n");
    place.ends(0, &[&script, "--allow", "*"]);
    place
}

/// Both ends of a terminal, and everything that was written to it.
struct Terminal {
    ours: OwnedFd,
    theirs: OwnedFd,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn new() -> Self {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("a terminal");
        unlockpt(&ours).expect("a terminal");
        let name = ptsname(&ours, Vec::new()).expect("a terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty()).expect("a terminal has two ends");
        let size = Winsize { ws_col: 91, ws_row: 33, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("a terminal has a size");
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut from, all) = (File::from(ours.try_clone().expect("a descriptor")), seen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                all.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Self { ours, theirs, seen }
    }

    fn start(&self, place: &Place, words: &[&str]) -> std::process::Child {
        let end = || Stdio::from(self.theirs.try_clone().expect("a descriptor"));
        place.command(words).stdin(end()).stdout(end()).stderr(end()).spawn().expect("the program starts")
    }

    fn has_echo(&self) -> bool {
        tcgetattr(&self.theirs).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    fn shows(&self, text: &str) {
        until(text, || self.seen.lock().unwrap().contains(text).then_some(()));
    }

    fn types(&self, text: &str) {
        File::from(self.ours.try_clone().expect("a descriptor"))
            .write_all(text.as_bytes())
            .expect("a terminal");
    }
}

#[test]
fn a_program_beside_a_service_passes_on_its_exit_code() {
    let place = running();
    let seen = place
        .ends(7, &["exec", "web", "--env", "A=b", "--", "/bin/sh", "-c", "echo $A; echo no >&2; exit 7"]);
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("b\n", "no\n"));
    place.ends(137, &["exec", "web", "--", "/bin/sh", "-c", "kill -9 $$"]);
    place.ends(1, &["exec", "web", "--", "/nonexistent/program"]).says(&["MC-C009"]);
    place.ends(1, &["exec", "nothing", "--", "/bin/true"]).says(&["MC-R001"]);
    place.ends(2, &["exec", "web", "--env", "A", "--", "/bin/true"]).says(&["NAME=VALUE"]);
    place.ends(2, &["exec", "web"]);
}

#[test]
fn what_is_piped_in_reaches_the_program_and_ends() {
    let place = running();
    let mut child = place
        .command(&["exec", "web", "--", "/bin/cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(b"one\ntwo\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"one\ntwo\n"[..]));
}

#[test]
fn a_program_has_the_terminal_and_gives_it_back() {
    let place = running();
    let terminal = Terminal::new();
    assert!(terminal.has_echo());
    let script = "stty size; echo be''gun; read line; echo got $line; exit 5";
    let mut child = terminal.start(&place, &["exec", "web", "--", "/bin/sh", "-c", script]);
    terminal.shows("33 91");
    terminal.shows("begun");
    assert!(!terminal.has_echo(), "keys go to the program as they are");
    terminal.types("hello\r");
    terminal.shows("got hello");
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
    assert!(terminal.has_echo(), "the terminal is as before");
}

#[test]
fn a_terminal_is_given_back_when_exec_is_ended() {
    let place = running();
    let terminal = Terminal::new();
    let words = ["exec", "web", "--", "/bin/sh", "-c", "echo be''gun; exec sleep 600"];
    let mut child = terminal.start(&place, &words);
    terminal.shows("begun");
    assert!(!terminal.has_echo());
    crate::processes::signal(child.id(), rustix::process::Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert!(terminal.has_echo(), "the terminal is as before");
}

#[test]
fn top_shows_what_a_service_uses() {
    let place = running();
    let shown = place.json(&["top", "--json"]);
    assert_eq!(shown[0]["name"], "web");
    assert!(shown[0]["used"]["memory"].as_u64().is_some_and(|bytes| bytes > 0), "{shown:#}");
    let plain = place.ends(0, &["top"]).stdout;
    assert!(plain.starts_with("NAME") && plain.lines().count() == 2, "{plain}");

    let terminal = Terminal::new();
    let mut child = terminal.start(&place, &["top", "--every", "1"]);
    terminal.shows("\u{1b}[?1049h");
    terminal.shows("web");
    crate::processes::signal(child.id(), rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    terminal.shows("\u{1b}[?1049l");
}

#[test]
fn a_script_measures_a_service() {
    let place = running();
    let script = place.script(
        "stats.lua",
        "local used = containers.stats { name = \"web\", over = \"50ms\" }\n\
         assert(used.memory > 0 and used.processes == 1 and used.cpus >= 0)\n\
         containers.stop { name = \"web\" }\n\
         assert(containers.stats { name = \"web\" } == nil)\n",
    );
    place.ends(0, &[&script, "--allow", "containers"]);
    let wrong = place.script("wrong.lua", "containers.stats { name = \"web\", over = \"2h\" }\n");
    place.ends(1, &[&wrong, "--allow", "containers"]).says(&["MC-A001", "over"]);
    let missing = place.script("missing.lua", "containers.stats { name = \"nothing\" }\n");
    place.ends(1, &[&missing, "--allow", "containers"]).says(&["MC-C004"]);
    place.ends(4, &[&missing]).says(&["containers:read:nothing"]);
}
