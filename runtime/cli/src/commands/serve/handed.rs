//! Owns the sockets that whoever started the daemon hands over (`LISTEN_FDS`): which names they may have, and that each
//! takes the place of an address in mcrun.toml. What else a service manager tells is read here too, once, as long as the
//! process has a single thread: none of it is inherited by what the daemon starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use effect::{Code, Error, Result};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, UnixListener};

/// The first socket that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// More than there are names.
const MOST: usize = 64;
/// What a service manager tells by the environment.
const VARIABLES: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// What kind of socket answers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
}

/// What a handed socket can be called.
const NAMES: [(&str, Kind); 10] = [
    ("acme", Kind::Tcp),
    ("api", Kind::Unix),
    ("api-tls", Kind::Tcp),
    ("certs", Kind::Tcp),
    ("mcias", Kind::Tcp),
    ("mcns", Kind::Tcp),
    ("metrics", Kind::Tcp),
    ("routes", Kind::Unix),
    ("routes-tls", Kind::Tcp),
    ("webhooks", Kind::Tcp),
];

/// What a service manager told this process, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Where it is told how the process is.
    pub(crate) notify: Option<OsString>,
    /// How long it waits for a sign of life.
    pub(crate) watchdog: Option<Duration>,
    /// The number of sockets.
    sockets: usize,
    /// Their names.
    names: Vec<String>,
}

static TAKEN: OnceLock<Environment> = OnceLock::new();

impl Environment {
    /// Reads what concerns the process `own` by `variable`.
    fn read(own: u32, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        let is_ours = number("LISTEN_PID") == Some(own.into());
        let is_watched = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(own));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_watched && *micros > 0);
        let sockets = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        let names = text("LISTEN_FDNAMES").filter(|names| is_ours && !names.is_empty());
        Self {
            notify: variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()),
            watchdog: watchdog.map(Duration::from_micros),
            sockets: usize::try_from(sockets).unwrap_or(usize::MAX),
            names: names.map(|names| names.split(':').map(str::to_owned).collect()).unwrap_or_default(),
        }
    }
}

/// Takes what a service manager told out of the environment. To be called before there is a second thread.
pub(crate) fn take_environment() {
    let taken = Environment::read(std::process::id(), |name| std::env::var_os(name));
    for name in VARIABLES {
        // SAFETY: `main` calls this before it starts the runtime or any other thread.
        unsafe { std::env::remove_var(name) };
    }
    // A second call finds nothing to take.
    let _ = TAKEN.set(taken);
}

/// What was taken.
pub(crate) fn environment() -> Environment {
    TAKEN.get().cloned().unwrap_or_default()
}

/// The sockets that were handed over and that nobody took yet. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handed(Arc<Mutex<BTreeMap<&'static str, OwnedFd>>>);

impl Handed {
    /// Takes over the sockets of this process; none is inherited by what it starts.
    ///
    /// # Errors
    /// `MC-I001` where one cannot be used.
    pub(crate) fn take(environment: &Environment) -> Result<Self> {
        let count = environment.sockets;
        if count > MOST {
            return Err(refused(format!("{count} sockets are handed over, the most is {MOST}")));
        }
        let mut sockets = Vec::with_capacity(count);
        for descriptor in (FIRST..).take(count) {
            // SAFETY: it is only asked whether the descriptor is open, and told not to be inherited.
            let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
            rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|error| {
                refused(format!("the descriptor {descriptor} is to be a socket")).because(error)
            })?;
            // SAFETY: it is open, and by `LISTEN_FDS` it is ours; `take_environment` sees to it that it is taken once.
            sockets.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
        Self::named(sockets, &environment.names)
    }

    fn named(sockets: Vec<OwnedFd>, names: &[String]) -> Result<Self> {
        if names.len() != sockets.len() {
            let (named, handed) = (names.len(), sockets.len());
            return Err(refused(format!("{handed} sockets are handed over with {named} names")));
        }
        let mut found = BTreeMap::new();
        for (socket, name) in sockets.into_iter().zip(names) {
            let Some((known, kind)) = NAMES.iter().find(|(known, _)| known == name) else {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                let shown: String = name.escape_default().take(100).collect();
                let error = refused(format!("no socket is called `{shown}`"))
                    .because(format!("known here: {}", known.join(", ")));
                return Err(error
                    .hint("set `FileDescriptorName=` in the socket unit, such as `FileDescriptorName=api`"));
            };
            check(&socket, known, *kind)?;
            if found.insert(*known, socket).is_some() {
                return Err(refused(format!("two sockets are called `{known}`")));
            }
        }
        Ok(Self(Arc::new(Mutex::new(found))))
    }

    fn remove(&self, name: &str) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// The listener called `name`: the one that was handed over, else one at `address`, else none.
    ///
    /// # Errors
    /// `MC-C005` where the address cannot be listened on.
    pub(crate) fn tcp(&self, name: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
        if let Some(socket) = self.remove(name) {
            let listener = std::net::TcpListener::from(socket);
            return Ok(Some(usable(
                name,
                listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)),
            )?));
        }
        let Some(address) = address else { return Ok(None) };
        daemon::bind::tcp(address).map(Some).map_err(|error| closed(address, &error))
    }

    /// The unix listener called `name`, where one was handed over.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub(crate) fn unix(&self, name: &'static str) -> Result<Option<UnixListener>> {
        let Some(socket) = self.remove(name) else { return Ok(None) };
        let listener = std::os::unix::net::UnixListener::from(socket);
        usable(name, listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener))).map(Some)
    }

    /// Whether nobody took a socket: whoever connects to it would wait for ever.
    ///
    /// # Errors
    /// `MC-I001` where one is left.
    pub(crate) fn check_all_taken(&self) -> Result<()> {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left.keys().next() {
            None => Ok(()),
            Some(name) => Err(refused(format!("nothing is configured to answer at the socket `{name}`"))
                .hint("configure it in mcrun.toml, or take its socket unit away")),
        }
    }
}

fn usable<T>(name: &str, made: std::io::Result<T>) -> Result<T> {
    made.map_err(|error| refused(format!("the socket `{name}` cannot be waited at")).because(error))
}

/// Why an address cannot be listened on. It is never the configuration's fault for sure: whoever starts the daemon tries
/// again.
fn closed(address: SocketAddr, error: &std::io::Error) -> Error {
    let closed = Error::new(Code::PortOccupied, format!("`{address}` cannot be listened on")).because(error);
    match error.kind() {
        std::io::ErrorKind::AddrInUse => closed,
        std::io::ErrorKind::PermissionDenied => closed.hint(
            "ports below 1024 take root, or `AmbientCapabilities=CAP_NET_BIND_SERVICE` in the unit of a daemon that is not",
        ),
        _ => closed.hint("compare it with what `ip address` shows, and correct it in mcrun.toml"),
    }
}

/// Refuses what is no listening socket of its kind.
fn check(socket: &OwnedFd, name: &str, kind: Kind) -> Result<()> {
    let wrong = |what: &str| Err(refused(format!("the socket `{name}` is {what}")));
    let failed = |error| refused(format!("`{name}` is no socket")).because(error);
    let family = sockopt::socket_domain(socket).map_err(failed)?;
    let is_right = match kind {
        Kind::Tcp => matches!(family, AddressFamily::INET | AddressFamily::INET6),
        Kind::Unix => family == AddressFamily::UNIX,
    };
    if !is_right {
        return wrong(match kind {
            Kind::Tcp => "not one of TCP",
            Kind::Unix => "not a unix socket",
        });
    }
    if sockopt::socket_type(socket).map_err(failed)? != SocketType::STREAM {
        return wrong("not one of streams");
    }
    if !sockopt::socket_acceptconn(socket).map_err(failed)? {
        return wrong("not listening");
    }
    Ok(())
}

fn refused(message: String) -> Error {
    Error::new(Code::HandedSocket, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> OwnedFd {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn told(variables: &'static [(&'static str, &'static str)]) -> Environment {
        Environment::read(7, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        let other = told(&[
            ("LISTEN_PID", "8"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDNAMES", "api"),
            ("WATCHDOG_PID", "8"),
            ("WATCHDOG_USEC", "5"),
        ]);
        assert_eq!(other, Environment::default());
        let ours = told(&[
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "api:certs"),
            ("WATCHDOG_USEC", "5"),
            ("NOTIFY_SOCKET", "@x"),
        ]);
        assert_eq!((ours.sockets, ours.names.len()), (2, 2));
        assert_eq!(ours.watchdog, Some(Duration::from_micros(5)));
        assert_eq!(ours.notify, Some("@x".into()));
        assert_eq!(
            told(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "-1"), ("WATCHDOG_USEC", "soon")]),
            Environment::default()
        );
    }

    #[tokio::test]
    async fn sockets_are_known_by_their_names_and_kinds() {
        let named = |sockets: Vec<OwnedFd>, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Handed::named(sockets, &names)
        };
        let refused = |sockets: Vec<OwnedFd>, names: &[&str], says: &str| {
            let error = named(sockets, names).unwrap_err();
            assert_eq!(error.code, Code::HandedSocket);
            assert!(error.message.contains(says), "{error}");
        };
        refused(vec![tcp()], &["mcrun.socket"], "no socket is called `mcrun.socket`");
        refused(vec![tcp()], &[], "1 sockets are handed over with 0 names");
        refused(vec![tcp(), tcp()], &["certs", "certs"], "two sockets are called `certs`");
        refused(vec![tcp()], &["api"], "the socket `api` is not a unix socket");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        refused(vec![datagrams.into()], &["certs"], "not one of streams");
        let (pair, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        refused(vec![pair.into()], &["api"], "not listening");
        let file = std::fs::File::open("/dev/null").unwrap();
        refused(vec![file.into()], &["certs"], "`certs` is no socket");

        let handed = named(vec![tcp()], &["certs"]).unwrap();
        let left = handed.check_all_taken().unwrap_err();
        assert_eq!(left.code, Code::HandedSocket);
        assert!(left.message.contains("`certs`"), "{left}");
        assert!(handed.tcp("certs", None).unwrap().is_some());
        handed.check_all_taken().unwrap();
        assert!(handed.tcp("certs", None).unwrap().is_none());
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_now_is_no_mistake_in_the_configuration() {
        // No stream has an address of many; without IPv6 there is none at all.
        for address in ["[ff02::1]:0", "127.0.0.1:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let taken = std::net::TcpListener::bind(address);
            let address = taken.as_ref().map_or(address, |taken| taken.local_addr().unwrap());
            let error = Handed::default().tcp("certs", Some(address)).unwrap_err();
            assert_eq!(error.code, Code::PortOccupied, "{error}");
            assert_eq!(crate::exit::Exit::of(&error).code(), 1);
        }
    }
}
