//! Owns an engine of a test's own: a podman whose images, containers, database and locks nobody else has, and its service.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::network;
use crate::harness::{program, until};
use crate::processes;

/// podman in a folder. Dropping it ends its service and every container, be it known to the engine or not.
pub(crate) struct Engine {
    folder: PathBuf,
    service: Option<Child>,
    /// Containers that it was made to forget.
    forgotten: Vec<String>,
}

impl Engine {
    /// Sets an engine up in a folder, and starts its service.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::with(folder, "")
    }

    /// One with further settings, of which the first are of `[engine]`.
    pub(crate) fn with(folder: &Path, settings: &str) -> Self {
        fs::create_dir_all(folder).expect("the place is writable");
        let mut engine = Self { folder: folder.to_owned(), service: None, forgotten: Vec::new() };
        // Locks in shared memory are those of every engine of the machine, and whoever starts first clears them.
        engine.write(
            "containers.conf",
            &format!(
                "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
                 [engine]\nruntime = \"runc\"\nlock_type = \"file\"\ntmp_dir = \"{}\"\nstatic_dir = \"{}\"\n\
                 volume_path = \"{}\"\n{settings}",
                engine.at("run/libpod"),
                engine.at("root/libpod"),
                engine.at("root/volumes"),
            ),
        );
        engine.write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
                engine.at("root"),
                engine.at("run/storage")
            ),
        );
        engine.start();
        engine
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("the place is writable");
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    /// The socket of its service.
    pub(crate) fn socket(&self) -> String {
        self.at("podman.sock")
    }

    /// The database that knows every container. Without it the engine begins anew, and what runs goes on.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("root/libpod/bolt_state.db")
    }

    /// `podman` on this engine, for an operator's hands.
    pub(crate) fn command(&self) -> Command {
        let mut command = program("podman");
        command
            .env("CONTAINERS_CONF", self.at("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.at("storage.conf"))
            .stdin(Stdio::null());
        command
    }

    /// A shell script, for which `podman` is this engine.
    pub(crate) fn script(&self, file: &Path) -> Command {
        let mut command = program("sh");
        command
            .arg(file)
            .env("CONTAINERS_CONF", self.at("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.at("storage.conf"))
            .stdin(Stdio::null());
        command
    }

    /// What `podman` with `words` does, whatever it ends with.
    pub(crate) fn tried(&self, words: &[&str]) -> Output {
        self.command().args(words).output().expect("podman is missing: tests/install.sh installs it")
    }

    /// What `podman` with `words` prints; it has to succeed.
    #[track_caller]
    pub(crate) fn podman(&self, words: &[&str]) -> String {
        let output = self.tried(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {words:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts its service, and waits until that answers.
    pub(crate) fn start(&mut self) {
        let socket = self.socket();
        // What is left of a service that was killed answers nobody.
        let _ = fs::remove_file(&socket);
        let service = self
            .command()
            .args(["system", "service", "--time=0", &format!("unix://{socket}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman is missing: tests/install.sh installs it");
        self.service = Some(service);
        // Addresses are used again within a test run: what the machine remembers of an earlier owner costs ten seconds.
        let _ = program("ip").args(["neigh", "flush", "dev", "cni-podman0"]).output();
        until("podman answers", || std::os::unix::net::UnixStream::connect(&socket).ok());
    }

    /// Ends its service. Containers go on.
    pub(crate) fn stop(&mut self) {
        if let Some(mut service) = self.service.take() {
            // It may have ended by itself.
            let _ = service.kill();
            let _ = service.wait();
        }
    }

    /// Takes the database away, as the incident did, while everything runs: the engine begins anew and knows no container,
    /// and their processes go on. Images and volumes stay.
    pub(crate) fn lose_database(&mut self) {
        self.stop();
        self.forgotten.extend(self.stored());
        fs::remove_file(self.database()).expect("it has a database");
        self.start();
    }

    /// What a reboot does: nothing runs any more, nothing is mounted, and what lay in `/run` is gone. The database stays,
    /// unless [`Engine::lose_database`] comes after.
    pub(crate) fn reboot(&mut self) {
        self.stop();
        self.end_everything();
        fs::remove_dir_all(self.folder.join("run")).expect("nothing is mounted there any more");
        self.start();
    }

    /// The ids of containers that its store has, known to its database or not.
    fn stored(&self) -> Vec<String> {
        let folders =
            fs::read_dir(self.folder.join("root/overlay-containers")).into_iter().flatten().flatten();
        folders.filter_map(|folder| folder.file_name().into_string().ok()).collect()
    }

    /// Ends the processes of every container, be it known to the engine or not, and takes away what they leave.
    fn end_everything(&self) {
        for (id, monitor) in self.monitored() {
            processes::signal(monitor, Signal::KILL);
            // One that has ended by now is gone already.
            let _ = program("runc").args(["delete", "--force", &id]).output();
        }
        for id in self.stored().iter().chain(&self.forgotten) {
            network::forget(id);
        }
        for mount in mounts_beneath(&self.folder) {
            let _ = unmount(&mount, UnmountFlags::DETACH);
        }
    }

    /// The containers that have a process, known to the engine or not: their ids, by the monitors that look after them.
    pub(crate) fn monitored(&self) -> Vec<(String, u32)> {
        let of_monitor = |process: processes::Process| {
            let is_monitor = process.words.first()?.ends_with("conmon");
            let is_ours = process.words.iter().any(|word| word.starts_with(&self.at("")));
            let id = process.words.iter().skip_while(|word| *word != "-c").nth(1)?;
            (is_monitor && is_ours).then(|| (id.clone(), process.pid))
        };
        processes::all().into_iter().filter_map(of_monitor).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
        // Nothing in here may fail a test again.
        let _ = self.tried(&["rm", "--all", "--force", "--time", "0"]);
        self.end_everything();
    }
}

/// What is mounted beneath a folder, the innermost first.
fn mounts_beneath(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from));
    let mut beneath: Vec<PathBuf> = places.filter(|place| place.starts_with(folder)).collect();
    beneath.reverse();
    beneath
}
