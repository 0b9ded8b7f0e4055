//! Peers doing the same work on the same machine: Ansible and pyinfra from PyPI, and a shell.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::engine::{self, IMAGE, podman};
use crate::whole::{self, command, place, timed};
use crate::{Row, median, millis, ratio};

/// Ansible takes seconds for what it is measured at.
const TIMES: usize = 5;
const COMMANDS: u32 = 100;

/// Where the peers are installed: a Python environment that later benchmarks find again.
struct Peers {
    programs: PathBuf,
}

impl Peers {
    fn install() -> Option<Self> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let home = std::path::absolute(target).unwrap().join("peers");
        let programs = home.join("bin");
        let run = |program: &Path, words: &[&str]| {
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let is_there = || programs.join("ansible-playbook").exists() && programs.join("pyinfra").exists();
        if !is_there() {
            let environment = ["-m", "venv", &home.display().to_string()];
            let installed =
                ["python3", "/usr/bin/python3"].iter().any(|python| run(python.as_ref(), &environment))
                    && run(&programs.join("pip"), &["install", "--quiet", "ansible", "pyinfra"]);
            if !installed {
                eprintln!("Ansible and pyinfra cannot be installed from PyPI: their rows are left out");
                return None;
            }
        }
        Some(Self { programs })
    }

    /// A playbook with `tasks`, run on this machine.
    fn ansible(&self, folder: &Path, tasks: &str) -> Command {
        let book = folder.join("book.yml");
        fs::write(&book, format!("- hosts: localhost\n  gather_facts: false\n  tasks:{tasks}")).unwrap();
        let mut command = self.command("ansible-playbook");
        command.args(["--inventory", "localhost,", "--connection", "local"]).arg(book);
        command.env("ANSIBLE_PYTHON_INTERPRETER", self.programs.join("python3"));
        command.env("ANSIBLE_HOME", folder.join("ansible"));
        command
    }

    /// A deploy of operations, run on this machine; what it calls `docker` is podman.
    fn pyinfra(&self, folder: &Path, operations: &str) -> Command {
        fs::write(folder.join("deploy.py"), format!("from pyinfra.operations import docker\n{operations}"))
            .unwrap();
        let shims = folder.join("shims");
        fs::create_dir_all(&shims).unwrap();
        let _ = std::os::unix::fs::symlink("/usr/bin/podman", shims.join("docker"));
        let mut command = self.command("pyinfra");
        let path = format!("{}:{}", shims.display(), std::env::var("PATH").unwrap_or_default());
        command.args(["@local", "deploy.py", "-y"]).current_dir(folder).env("PATH", path);
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn median_of(times: usize, mut measure: impl FnMut() -> Duration) -> Duration {
    measure();
    median((0..times).map(|_| measure()).collect())
}

/// How many times as long the peer takes.
fn faster(measured: Duration, peer: Duration) -> String {
    format!("{:.0} × faster", peer.as_secs_f64() / measured.as_secs_f64())
}

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    let mut rows = vec![commands(program)];
    let Some(peers) = Peers::install() else { return rows };
    rows.push(nothing(program, &peers));
    if podman(&["--version"]) {
        engine::build_image();
        rows.extend(five_right(program, &peers));
        podman(&["rmi", IMAGE]);
    }
    rows
}

fn commands(program: &Path) -> Row {
    let place = place();
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("true.lua");
    fs::write(&script, format!("for _ = 1, {COMMANDS} do exec.run {{ argv = {{ \"/bin/true\" }} }} end\n"))
        .unwrap();
    let words = [script.as_os_str(), OsStr::new("--allow"), OsStr::new("exec")];
    let measured = median_of(TIMES, || timed(command(program, place.path(), &words)));
    let shell = || {
        let mut shell = Command::new("/bin/bash");
        shell.args(["-c", &format!("for _ in $(seq {COMMANDS}); do /bin/true; done")]);
        timed(shell)
    };
    let baseline = median_of(TIMES, shell);
    Row {
        what: "100 × `exec.run{\"true\"}`",
        measured: millis(measured),
        baseline: format!("a loop in bash {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ 2 ×",
    }
}

fn nothing(program: &Path, peers: &Peers) -> Row {
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("noop.lua");
    fs::write(&script, "-- nothing\n").unwrap();
    let measured = median_of(21, || timed(command(program, place.path(), &[script.as_os_str()])));
    let baseline = median_of(TIMES, || timed(peers.ansible(folder.path(), " []\n")));
    Row {
        what: "a script that does nothing",
        measured: millis(measured),
        baseline: format!("an empty play of Ansible {}", millis(baseline)),
        ratio: faster(measured, baseline),
        promise: "≥ 50 × faster",
    }
}

fn five_right(program: &Path, peers: &Peers) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> =
        (1..=5).map(|number| format!("mcrun-peer-{}-{number}", std::process::id())).collect();
    let service = engine::Service::start();
    let script = folder.path().join("five.lua");
    let ensure = |name: &String| {
        format!("containers.ensure {{ name = \"{name}\", image = \"{IMAGE}\", stop_timeout = \"1s\" }}\n")
    };
    fs::write(&script, names.iter().map(ensure).collect::<String>()).unwrap();
    let measured = median_of(21, || timed(command(program, service.place(), &[script.as_os_str()])));
    remove(&names);
    drop(service);

    let task = |name: &String| {
        format!(
            "\n  - containers.podman.podman_container:\n      name: {name}\n      image: {IMAGE}\n      state: started"
        )
    };
    let tasks: String = names.iter().map(task).collect();
    let ansible = median_of(TIMES, || timed(peers.ansible(folder.path(), &format!("{tasks}\n"))));
    remove(&names);

    let operation = |name: &String| {
        format!("docker.container(container=\"{name}\", image=\"{IMAGE}\", present=True, start=True)\n")
    };
    let operations: String = names.iter().map(operation).collect();
    let pyinfra = median_of(TIMES, || timed(peers.pyinfra(folder.path(), &operations)));
    remove(&names);

    let row = |peer: &str, took: Duration, promise| Row {
        what: "five containers already right",
        measured: millis(measured),
        baseline: format!("{peer} {}", millis(took)),
        ratio: faster(measured, took),
        promise,
    };
    vec![row("Ansible", ansible, "≥ 50 × faster"), row("pyinfra", pyinfra, "≥ 15 × faster")]
}

fn remove(names: &[String]) {
    for name in names {
        podman(&["rm", "-f", "-t", "0", name]);
    }
}

/// The private memory of a worker whose script has asked for its first effect.
pub(crate) fn worker_memory(program: &Path) -> Row {
    let place = place();
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("waits.lua");
    fs::write(&script, "wait_for { event = \"never\" }\n").unwrap();
    let words = [script.as_os_str(), OsStr::new("--limit"), OsStr::new("idle=none")];
    let private = |words: &[&OsStr]| {
        let mut host = command(program, place.path(), words).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(800));
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", host.id())).unwrap();
        // The newest is a copy where there is a template.
        let worker = children.split_whitespace().last().unwrap().to_owned();
        let private = whole::private_memory(&worker);
        host.kill().unwrap();
        host.wait().unwrap();
        private
    };
    let started = private(&words);
    private(&words);
    let copied = private(&["resume", "--all"].map(OsStr::new));
    Row {
        what: "private memory of a worker before its script allocates",
        measured: format!("{:.1} MB", copied as f64 / 1024.0),
        baseline: format!("one that was started instead of copied {:.1} MB", started as f64 / 1024.0),
        ratio: ratio(Duration::from_secs(copied), Duration::from_secs(started)),
        promise: "≤ 2 MB",
    }
}
