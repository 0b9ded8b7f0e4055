//! Owns programs that tests start: found, watched until they answer, and ended by their process id.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Starting takes milliseconds where nobody else computes.
const PATIENCE: u32 = 3000;

/// A program that runs until this is dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command` with its output in the file `log`, and waits until it listens at `address`.
    pub(crate) async fn start(command: &mut Command, log: &Path, address: SocketAddr) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|cause| {
            panic!("{command:?}: {cause}; tests/install.sh installs what tests need")
        });
        let mut program = Self { child, log: log.to_owned() };
        for _ in 0..PATIENCE {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return program;
            }
            if let Some(status) = program.child.try_wait().unwrap() {
                panic!("{command:?} ended with {status}: {}", program.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{command:?} never answered: {}", program.log());
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "peers are started and asked from outside, as an operator does"
)]
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// Where `tests/install.sh` puts peers from PyPI: beside the builds.
pub(crate) fn peers() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("peers")
}

/// A port of loopback that nobody listens on. It lies below those that the system gives to outgoing connections, and each
/// test process has some of its own, so that nobody takes one before its program does.
pub(crate) fn port() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 800 * 24;
    loop {
        let number = 11_000 + (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(number).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
