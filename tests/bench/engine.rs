//! Containers under podman: five that are already right, and the deploy of one.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::whole::{command, place, timed};
use crate::{Row, median, millis, ratio};

pub(crate) const IMAGE: &str = "localhost/mcrun-bench:v1";
const TIMES: usize = 7;

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    if !podman(&["--version"]) {
        eprintln!("podman is not installed: the rows on containers are left out");
        return Vec::new();
    }
    build_image();
    let service = Service::start();
    let rows =
        vec![five_right(program, service.place()), deploy_one(program, service.place(), &service.socket())];
    for number in 0..=5 {
        podman(&["rm", "-f", "-t", "0", &name(number)]);
    }
    podman(&["rmi", IMAGE]);
    rows
}

/// podman's service, and a place whose configuration leads to it.
pub(crate) struct Service {
    place: tempfile::TempDir,
    process: Child,
}

impl Service {
    pub(crate) fn start() -> Self {
        let place = place();
        let socket = place.path().join("podman.sock");
        let process = Command::new("podman")
            .args(["system", "service", "--time=0", &format!("unix://{}", socket.display())])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let config = format!(
            "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{}\"\n[policy]\nscripts = [\"*\"]\n",
            socket.display()
        );
        std::fs::write(place.path().join("mcrun.toml"), config).unwrap();
        while UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        Self { place, process }
    }

    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("podman.sock")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn podman(words: &[&str]) -> bool {
    let mut command = Command::new("podman");
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn name(number: usize) -> String {
    format!("mcrun-bench-{}-{number}", std::process::id())
}

pub(crate) fn build_image() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy("/bin/busybox", folder.path().join("busybox")).unwrap();
    let file = "FROM scratch\nCOPY busybox /bin/busybox\nCMD [\"/bin/busybox\", \"sleep\", \"100000\"]\n";
    std::fs::write(folder.path().join("Containerfile"), file).unwrap();
    assert!(
        podman(&["build", "-q", "-t", IMAGE, &folder.path().display().to_string()]),
        "the image is built"
    );
}

fn ensure(number: usize) -> String {
    format!(
        "containers.ensure {{ name = \"{}\", image = \"{IMAGE}\", stop_timeout = \"1s\", env = {{ A = \"b\" }} }}\n",
        name(number)
    )
}

fn five_right(program: &Path, state: &Path) -> Row {
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("five.lua");
    std::fs::write(&script, (1..=5).map(ensure).collect::<String>()).unwrap();
    let run = || timed(command(program, state, &[script.as_os_str()]));
    run();
    let measured = median((0..TIMES * 3).map(|_| run()).collect());
    let inspect = || {
        let started = Instant::now();
        for number in 1..=5 {
            assert!(podman(&["inspect", &name(number)]));
        }
        started.elapsed()
    };
    let baseline = median((0..TIMES).map(|_| inspect()).collect());
    Row {
        what: "five containers already right",
        measured: millis(measured),
        baseline: format!("five `podman inspect` {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ 40 ms",
    }
}

fn deploy_one(program: &Path, state: &Path, socket: &Path) -> Row {
    let scripts = tempfile::tempdir().unwrap();
    let script = scripts.path().join("one.lua");
    std::fs::write(&script, ensure(0)).unwrap();
    let (mut own, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        podman(&["rm", "-f", "-t", "0", &name(0)]);
        own.push(timed(command(program, state, &[script.as_os_str()])));
        podman(&["rm", "-f", "-t", "0", &name(0)]);
        raw.push(create_and_start(socket));
    }
    let (measured, baseline) = (median(own), median(raw));
    Row {
        what: "deploy of one container",
        measured: millis(measured),
        baseline: format!("the engine's REST create + start {}", millis(baseline)),
        ratio: format!("{} above", millis(measured.saturating_sub(baseline))),
        promise: "≤ 100 ms above",
    }
}

fn create_and_start(socket: &Path) -> Duration {
    let started = Instant::now();
    let body = format!(
        "{{\"name\":\"{}\",\"image\":\"{IMAGE}\",\"stop_timeout\":1,\"env\":{{\"A\":\"b\"}}}}",
        name(0)
    );
    request(socket, "POST", "/v4.0.0/libpod/containers/create", &body);
    request(socket, "POST", &format!("/v4.0.0/libpod/containers/{}/start", name(0)), "");
    started.elapsed()
}

pub(crate) fn request(socket: &Path, method: &str, path: &str, body: &str) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
}
