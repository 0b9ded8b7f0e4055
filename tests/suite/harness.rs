//! Owns a place to run the program in: a folder of scripts, a state directory, and the cleaning up of what it started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::processes;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mcrun-probed");

/// The longest that anything here waits for an event; a test that gets there fails.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A folder, a state directory and the program.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn within(folder: tempfile::TempDir) -> Self {
        let place = Self { folder };
        place.configure("[drivers]\ncontainers = \"process\"\n");
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.state().join("journal.db")
    }

    /// A path beneath the folder, as text.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path().join(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    /// Writes `mcrun.toml`, which lies apart from the scripts. Every place is a node of its own: ports are chosen from
    /// the node's name, and two places must not choose the same.
    pub(crate) fn configure(&self, text: &str) {
        let node = self
            .path()
            .file_name()
            .and_then(|name| name.to_str())
            .expect("temporary folders have plain names");
        fs::write(self.config(), format!("{text}[node]\nname = \"{node}\"\n"))
            .expect("the place is writable");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("mcrun.toml")
    }

    /// Writes a script and returns its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path().join("scripts").join(name);
        fs::create_dir_all(path.parent().expect("it was joined")).expect("the place is writable");
        fs::write(&path, text).expect("the place is writable");
        path.to_str().expect("temporary folders have plain names").to_owned()
    }

    /// The program with `words`, ready to be started.
    #[expect(clippy::disallowed_methods, reason = "the suite starts the program under test")]
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("MCRUN_CHECKER", env!("CARGO_BIN_EXE_mcrun-check-probed"))
            .env("MCRUN_STATE", self.state())
            .env("MCRUN_CONFIG", self.config())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Seen {
        Seen::of(self.command(words).output().expect("the program starts"))
    }

    /// Runs it and checks its exit code.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, words: &[&str]) -> Seen {
        let seen = self.run(words);
        assert_eq!(seen.code, Some(code), "mcrun {}\n{seen}", words.join(" "));
        seen
    }

    /// Runs it and reads its output as JSON, whatever it ends with.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let seen = self.run(words);
        serde_json::from_str(&seen.stdout)
            .unwrap_or_else(|error| panic!("mcrun {}: {error}\n{seen}", words.join(" ")))
    }

    /// Starts it with its output in files, so that nothing blocks it and nothing is lost when it is killed.
    pub(crate) fn start(&self, words: &[&str]) -> Started {
        self.start_with(words, &[])
    }

    pub(crate) fn start_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Started {
        let mut command = self.command(words);
        command.envs(variables.iter().copied());
        self.spawn(command)
    }

    /// The same as the leader of a group of its own, as a shell starts it in a terminal.
    pub(crate) fn start_in_own_group(&self, words: &[&str]) -> Started {
        use std::os::unix::process::CommandExt as _;
        let mut command = self.command(words);
        command.process_group(0);
        self.spawn(command)
    }

    /// Starts a command of one's own in the same way.
    pub(crate) fn spawn(&self, mut command: Command) -> Started {
        let output = tempfile::tempdir_in(self.path()).expect("the place is writable");
        let file = |name: &str| fs::File::create(output.path().join(name)).expect("the place is writable");
        command.stdout(file("stdout")).stderr(file("stderr"));
        Started { child: command.spawn().expect("the program starts"), output }
    }

    /// Every run, newest first.
    #[track_caller]
    pub(crate) fn runs(&self) -> Vec<Value> {
        self.json(&["runs", "--json"]).as_array().expect("a list of runs").clone()
    }

    /// The newest run.
    #[track_caller]
    pub(crate) fn newest(&self) -> Value {
        self.runs().into_iter().next().expect("there is a run")
    }

    /// The newest run's id.
    #[track_caller]
    pub(crate) fn newest_id(&self) -> String {
        self.newest()["id"].as_str().expect("a run has an id").to_owned()
    }

    /// The newest run in whole, with its entries.
    #[track_caller]
    pub(crate) fn newest_shown(&self) -> Value {
        self.json(&["show", &self.newest_id(), "--json"])
    }

    /// Every container.
    #[track_caller]
    pub(crate) fn containers(&self) -> Vec<Value> {
        self.json(&["ps", "--json"]).as_array().expect("a list of containers").clone()
    }

    /// One container.
    #[track_caller]
    pub(crate) fn container(&self, name: &str) -> Option<Value> {
        self.containers().into_iter().find(|container| container["name"] == name)
    }
}

/// A folder in memory, for what is made and thrown away thousands of times. A kill loses nothing that was written, be it
/// synced or not; what power loss does is the matter of the journal's own tests.
pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

/// Adds a line to the table of `make reliability`, when that asks for it.
pub(crate) fn report(what: &str, count: usize, of: &str, findings: usize) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("MCRUN_RELIABILITY") else { return };
    let table = fs::OpenOptions::new().create(true).append(true).open(path);
    let line = format!("| {what} | {count} {of} | {findings} |\n");
    table.and_then(|mut table| table.write_all(line.as_bytes())).expect("the table is writable");
}

impl Drop for Place {
    /// Ends every native service that the test left running.
    fn drop(&mut self) {
        if self.state().join("process").is_dir() {
            let clean = "for _, made in containers.list {} do containers.remove { name = made.name } end\n";
            let script = self.script("clean.lua", clean);
            self.run(&[&script, "--allow", "containers"]);
            // Where the state directory was made unusable, the shims are found by their arguments.
            processes::end_shims_of(&self.state());
        }
    }
}

/// A program that stands beside the one under test: a peer, a judge.
#[expect(clippy::disallowed_methods, reason = "the suite looks from outside, as an operator does")]
pub(crate) fn program(path: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(path)
}

/// A program that is under way; dropping it kills it.
pub(crate) struct Started {
    child: Child,
    output: tempfile::TempDir,
}

impl Started {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// What it has written to its error stream so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.output.path().join("stderr")).unwrap_or_default()
    }

    /// What it has written to its standard output so far.
    pub(crate) fn shown(&self) -> String {
        fs::read_to_string(self.output.path().join("stdout")).unwrap_or_default()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Seen {
        let status = until("the program ends", || self.child.try_wait().expect("it is our child"));
        Seen { code: status.code(), stdout: self.shown(), stderr: self.stderr() }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a program showed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Seen {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks that every one of these texts is there, on whichever stream.
    #[track_caller]
    pub(crate) fn shows(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.stderr.contains(text) || self.stdout.contains(text), "`{text}` is missing\n{self}");
        }
        self
    }

    /// Checks that the error stream has every one of these texts.
    #[track_caller]
    pub(crate) fn says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is missing\n{self}");
        }
        self
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "exit {:?}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A part of an entry, be it shown as data or as the text that is stored.
pub(crate) fn data(part: &Value) -> Value {
    match part {
        Value::String(text) => serde_json::from_str(text).expect("what is stored is JSON"),
        shown => shown.clone(),
    }
}

/// Looks until there is something, and fails when that never comes.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same for what takes longer, such as a dozen containers on a busy machine.
#[track_caller]
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < patience, "this never came: {what}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// The answer of a service of this machine, or nothing when it does not answer.
pub(crate) fn visit(port: u64) -> Option<String> {
    visit_at(port, "/")
}

/// The same at a path.
pub(crate) fn visit_at(port: u64, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let port = u16::try_from(port).expect("a port");
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}
