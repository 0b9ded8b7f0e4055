//! Owns servers under measurement: programs pinned to the first core, their processor time and memory.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The unit of processor times in /proc (`sysconf(_SC_CLK_TCK)` on Linux).
const TICKS: f64 = 100.0;

/// A program that serves, ended with this value.
pub(crate) struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program on the core `core`, and waits until `is_ready`.
    pub(crate) fn start(core: &str, program: &str, arguments: &[&str], is_ready: impl Fn() -> bool) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", core, program]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.spawn().expect("taskset is not there") };
        let begin = Instant::now();
        while !is_ready() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{program} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Processor time so far, in seconds.
    pub(crate) fn time(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
    }

    /// Memory that is its own, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let sizes = text.lines().filter(|line| line.starts_with("Private_"));
        sizes.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024).sum()
    }
}

/// A port of the loopback interface that nobody has.
pub(crate) fn port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The middle of figures of several turns.
pub(crate) fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
