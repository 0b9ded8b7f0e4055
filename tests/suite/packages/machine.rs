//! Owns a machine of its own: a small Debian that systemd runs, in a container. Its root is made out of the packages that
//! this machine has installed, so nothing is fetched.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::program;

/// For everything that systemd does in its own time, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// The engine's settings for machines whose kernel lacks what the default runtime asks for.
const CONFIGURATION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/containers/tests/containers.conf");

/// What a program in the machine, or beside it, showed.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) text: String,
    pub(super) errors: String,
}

impl Said {
    pub(super) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Self { code: output.status.code(), text: text(&output.stdout), errors: text(&output.stderr) }
    }
}

/// Runs a program of this machine that has to succeed.
#[track_caller]
pub(super) fn done(words: &[&str]) -> String {
    let mut command = program(words[0]);
    let output =
        command.args(&words[1..]).env("CONTAINERS_CONF", CONFIGURATION).stdin(Stdio::null()).output();
    let said = Said::of(
        &output.unwrap_or_else(|error| panic!("{}: {error}; tests/install.sh installs it", words[0])),
    );
    assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
    said.text
}

/// A machine that systemd runs.
pub(super) struct Machine {
    folder: tempfile::TempDir,
    name: String,
}

impl Machine {
    /// Makes one and waits until it has booted.
    #[track_caller]
    pub(super) fn boot() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/packages/root.py");
        done(&["python3", script, text(&root)]);
        let unique = folder.path().file_name().and_then(|name| name.to_str()).expect("a plain name");
        let name = format!("mcrun-machine-{}", unique.trim_start_matches('.').to_lowercase());
        let machine = Self { folder, name };
        done(&[
            "podman",
            "run",
            "--detach",
            "--name",
            &machine.name,
            "--systemd=always",
            "--network=none",
            "--tmpfs=/tmp",
            "--rootfs",
            text(&root),
            "/lib/systemd/systemd",
        ]);
        machine.until("the machine has booted", |machine| {
            let state = machine.run(&["systemctl", "is-system-running"]).text;
            ["running", "degraded"].contains(&state.as_str()).then_some(())
        });
        machine
    }

    /// A path of the machine as it is called here.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    /// Runs a program in it.
    pub(super) fn run(&self, words: &[&str]) -> Said {
        let mut command = program("podman");
        command.args(["exec", self.name.as_str()]).args(words).env("CONTAINERS_CONF", CONFIGURATION);
        Said::of(&command.stdin(Stdio::null()).output().expect("podman starts"))
    }

    /// Runs a program in it and checks its exit code.
    #[track_caller]
    pub(super) fn ends(&self, code: i32, words: &[&str]) -> Said {
        let said = self.run(words);
        assert_eq!(said.code, Some(code), "{words:?}\n{}\n{}\n{}", said.text, said.errors, self.log());
        said
    }

    /// One property of a unit.
    pub(super) fn property(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", unit, "--value", "--property", property]).text
    }

    /// Waits until a unit is active, and gives its main process.
    #[track_caller]
    pub(super) fn active(&self, unit: &str) -> String {
        self.until(unit, |machine| {
            (machine.property(unit, "ActiveState") == "active").then(|| machine.property(unit, "MainPID"))
        })
    }

    /// Looks until there is something.
    #[track_caller]
    pub(super) fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "this never came: {what}\n{}", self.log());
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// The end of its journal.
    pub(super) fn log(&self) -> String {
        self.run(&["journalctl", "--no-pager", "--lines=60"]).text
    }

    /// Puts a file into it.
    pub(super) fn put(&self, from: &Path, path: &str) {
        let target = self.at(path);
        std::fs::create_dir_all(target.parent().expect("a folder above")).expect("the machine is writable");
        std::fs::copy(from, target).expect("the machine is writable");
    }

    /// Puts a text into it.
    pub(super) fn write(&self, path: &str, text: &str) {
        let target = self.at(path);
        std::fs::create_dir_all(target.parent().expect("a folder above")).expect("the machine is writable");
        std::fs::write(target, text).expect("the machine is writable");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut command = program("podman");
        command.args(["rm", "--force", "--time=0", self.name.as_str()]).env("CONTAINERS_CONF", CONFIGURATION);
        // It may never have come up.
        let _ = command.stdin(Stdio::null()).output();
    }
}

/// A path of a temporary folder.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}
