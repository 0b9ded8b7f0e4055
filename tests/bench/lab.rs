//! An engine of a benchmark's own, which may lose its database, with twelve services recorded on it.

use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::engine::IMAGE;
use crate::whole::{command, place, timed};

const POLL: Duration = Duration::from_millis(2);

/// podman with a store of its own, and a place whose configuration leads to it. Dropping it ends every container.
pub(crate) struct Lab {
    place: tempfile::TempDir,
    /// Apart from the place: no script comes near mcrun's own state.
    volumes: tempfile::TempDir,
    service: Option<Child>,
    lost: Vec<Lost>,
}

/// A container that the engine was made to forget.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) id: String,
    pub(crate) pid: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let place = place();
        let at = |name: &str| place.path().join(name).display().to_string();
        let write = |name: &str, text: String| std::fs::write(place.path().join(name), text).unwrap();
        // Locks in shared memory are those of every engine of the machine.
        write(
            "containers.conf",
            format!(
                "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
                 [engine]\nruntime = \"runc\"\nlock_type = \"file\"\ntmp_dir = \"{}\"\nstatic_dir = \"{}\"\n\
                 volume_path = \"{}\"\n",
                at("run/libpod"),
                at("root/libpod"),
                at("root/volumes")
            ),
        );
        write(
            "storage.conf",
            format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
                at("root"),
                at("run/storage")
            ),
        );
        write(
            "mcrun.toml",
            format!(
                "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{}\"\n[policy]\nscripts = [\"*\"]\n",
                at("podman.sock")
            ),
        );
        let mut lab = Self { place, volumes: tempfile::tempdir().unwrap(), service: None, lost: Vec::new() };
        lab.start();
        lab.build_image();
        lab
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// The folder of a volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        let folder = self.volumes.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("podman.sock")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", self.path().join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.path().join("storage.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub(crate) fn podman(&self, words: &[&str]) -> String {
        let output = self.command().args(words).output().unwrap();
        assert!(output.status.success(), "podman {words:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn build_image(&self) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy("/bin/busybox", folder.path().join("busybox")).unwrap();
        let file = "FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\", \"sh\", \"-c\"]\n";
        std::fs::write(folder.path().join("Containerfile"), file).unwrap();
        self.podman(&["build", "-q", "-t", IMAGE, &folder.path().display().to_string()]);
    }

    fn start(&mut self) {
        let socket = self.socket();
        // What is left of a service that was killed answers nobody.
        let _ = std::fs::remove_file(&socket);
        let address = format!("unix://{}", socket.display());
        let words = ["system", "service", "--time=0", &address];
        self.service = Some(self.command().args(words).stdout(Stdio::null()).spawn().unwrap());
        wait_until(|| UnixStream::connect(&socket).is_ok());
    }

    fn stop(&mut self) {
        if let Some(mut service) = self.service.take() {
            // An error means that it is gone already.
            let _ = service.kill();
            let _ = service.wait();
        }
    }

    /// Takes the database away while everything runs, and says what the engine knows no more.
    pub(crate) fn lose_database(&mut self) -> Vec<Lost> {
        let listed = self.podman(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Pid}}"]);
        let lost = listed.lines().filter_map(|line| line.split_once(' '));
        self.lost = lost.map(|(id, pid)| Lost { id: id.to_owned(), pid: pid.to_owned() }).collect();
        self.stop();
        std::fs::remove_file(self.path().join("root/libpod/bolt_state.db")).unwrap();
        self.start();
        self.lost.clone()
    }

    /// The folder that the engine keeps for a container.
    pub(crate) fn folder(&self, id: &str) -> PathBuf {
        self.path().join("root/overlay-containers").join(id)
    }

    /// Writes a script, apart from the configuration.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let folder = self.path().join("scripts");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    }

    /// Makes containers with mcrun and records each as a service: `specs` are Lua tables.
    pub(crate) fn deploy(&self, program: &Path, specs: &[String]) {
        let list = specs.join(",\n");
        let script = format!(
            "local specs: {{ any }} = {{\n{list}\n}}\nfor _, spec in specs do\n    containers.ensure(spec)\n    \
             registry.put {{ service = spec.name, spec = {{ containers = {{ spec }}, \
             checks = if spec.health then {{ {{ name = spec.name }} }} else {{}} }}, \
             release = {{ version = \"v1\" }} }}\nend\n"
        );
        let file = self.script("deploy.lua", &script);
        timed(command(program, self.path(), &[file.as_os_str(), OsStr::new("--allow"), OsStr::new("*")]));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
        // Nothing in here may hide why a benchmark ended.
        let _ = self.command().args(["rm", "--all", "--force", "--time", "0"]).stdout(Stdio::null()).status();
        for lost in &self.lost {
            let of_lost = std::fs::read_to_string(format!("/proc/{}/cgroup", lost.pid)).unwrap_or_default();
            if of_lost.contains(&lost.id) {
                let _ = Command::new("kill").args(["-KILL", &lost.pid]).status();
            }
        }
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let places = table.lines().filter_map(|line| line.split(' ').nth(4));
        for mount in places.filter(|place| Path::new(place).starts_with(self.path())) {
            let _ = Command::new("umount").args(["--lazy", mount]).stderr(Stdio::null()).status();
        }
    }
}

/// A port of this machine that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

pub(crate) fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::sleep(POLL);
    }
}

/// Does something for every one of `items`, `limit` at a time.
pub(crate) fn at_once<T: Sync>(limit: usize, items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..limit {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}
