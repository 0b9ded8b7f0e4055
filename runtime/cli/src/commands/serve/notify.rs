//! Owns what a service manager is told of the daemon (sd_notify): one datagram for each word. Nobody waits for it, and
//! nothing fails because it cannot be told.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells a service manager, where there is one.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// Tells whoever listens at `address`: a path, or a name that begins with `@`.
    pub(crate) fn new(address: Option<&OsStr>) -> Self {
        let Some(text) = address else { return Self::default() };
        match open(text) {
            Ok(opened) => Self(Some(opened)),
            Err(error) => {
                tracing::warn!(address = %text.display(), %error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// Everything answers.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// It reads its configuration again; `ready` tells the end of it.
    pub(crate) fn reloading(&self) {
        let micros = monotonic();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading mcrun.toml again"));
    }

    /// It has begun to stop.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Its main loop goes round.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, words: &str) {
        let Some((socket, address)) = &self.0 else { return };
        if let Err(error) = socket.send_to_addr(words.as_bytes(), address) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// Microseconds of the clock that a service manager tells an answer from an earlier one by.
fn monotonic() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `now`, which is its to write to while it lasts.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    if failed == 0 { now.tv_sec * 1_000_000 + now.tv_nsec / 1000 } else { 0 }
}

fn open(text: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match text.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(text)?,
        _ => {
            return Err(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "neither a path nor an abstract name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not take what it is told must not hold up the main loop.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// One line: a second one would be a word of its own.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("mcrun-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notifier = Notifier::new(Some(&address));
            notifier.ready("two\nlines");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=two lines");
            notifier.alive();
            assert_eq!(heard(&socket), "WATCHDOG=1");
            notifier.reloading();
            let told = heard(&socket);
            let micros = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
            assert!(told.starts_with("RELOADING=1\n") && micros.parse::<u64>().unwrap() > 0, "{told}");
            notifier.stopping();
            assert!(heard(&socket).starts_with("STOPPING=1\n"));
        }
    }

    #[test]
    fn nobody_and_nonsense_are_no_trouble() {
        for address in [None, Some("vsock:2:1234"), Some("relative"), Some("/nobody/is/there")] {
            Notifier::new(address.map(OsStr::new)).ready("on");
        }
    }
}
