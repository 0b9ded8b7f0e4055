//! Owns the sockets at which others drive this machine's proxy: one for a group on this machine, one by mutual TLS. What
//! is answered there, and to whom, is left to `routes::remote`.

mod tell;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use certs::certificate::{Facts, chain_from_pem};
use certs::embedded::Authority;
use effect::{Code, Error, Result};
use routes::remote::{Caller, MOST_CONNECTIONS, Server, serve};
use rustix::fs::{Gid, Mode};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::identity::Identity;

pub use tell::tell_followers;

/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a refused peer to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After a failure that is not of one connection, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// For connections when the end has come: a little more than each has for its calls.
const GRACE: Duration = Duration::from_secs(8);
/// No file of certificates is larger, in octets.
const LARGEST: u64 = 1 << 20;

/// By whom certificates of clients are issued.
pub enum Issuers {
    /// Those in a file, in PEM.
    File(PathBuf),
    /// The embedded authority; what it revoked is refused.
    Authority(Authority),
}

/// The settings of TLS, which change with certificates and authorities.
pub struct Door {
    identity: Identity,
    issuers: Issuers,
    config: RwLock<Option<Arc<ServerConfig>>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Door")
    }
}

impl Door {
    /// Shows `identity`, and asks clients for a certificate of `issuers`.
    ///
    /// # Errors
    /// `MC-U002` where the file of issuers cannot be used, and where the embedded authority cannot sign.
    pub async fn open(identity: Identity, issuers: Issuers) -> Result<Self> {
        let door = Self { identity, issuers, config: RwLock::default() };
        door.refresh().await?;
        Ok(door)
    }

    /// Has new connections see what has changed: our certificate, their issuers, and what these revoked.
    ///
    /// # Errors
    /// As [`Door::open`]; everything stays as it was.
    pub async fn refresh(&self) -> Result<()> {
        self.identity.refresh().await?;
        let (roots, revoked) = self.trusted().await?;
        let unusable = |error: &dyn fmt::Display| {
            Error::new(Code::Config, "the issuers of clients' certificates cannot be used").because(error)
        };
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .with_crls(revoked)
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| unusable(&error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.identity.resolver());
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would outlive a certificate that was revoked or has expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(config));
        Ok(())
    }

    async fn trusted(&self) -> Result<(RootCertStore, Vec<CertificateRevocationListDer<'static>>)> {
        let mut revoked = Vec::new();
        let certificates = match &self.issuers {
            Issuers::File(path) => {
                let text = read(path).await?;
                chain_from_pem(&text).map_err(|error| no_file(path, error))?
            }
            Issuers::Authority(authority) => {
                for intermediate in authority.standing().await?.intermediates {
                    let list = authority.list_of_revoked(&intermediate.id).await?;
                    revoked.push(CertificateRevocationListDer::from(list.der.to_vec()));
                }
                authority.trusted().await?
            }
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| match &self.issuers {
                Issuers::File(path) => no_file(path, error),
                Issuers::Authority(_) => {
                    Error::new(Code::Internal, "a root of ours cannot be trusted").because(error)
                }
            })?;
        }
        Ok((roots, revoked))
    }

    fn config(&self) -> Option<Arc<ServerConfig>> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn read(path: &Path) -> Result<String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| no_file(path, error))?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).await.map_err(|error| no_file(path, error))?;
    Ok(text)
}

fn no_file(path: &Path, cause: impl fmt::Display) -> Error {
    Error::new(Code::Config, format!("`{}` is not a file of certificates", path.display())).because(cause)
}

/// Opens the socket at `path` for this user and `group`. One that nobody answers at is replaced.
///
/// # Errors
/// `MC-U002` where it cannot be made, `MC-C005` where another process answers there.
pub async fn open_socket(path: &Path, group: Option<&str>) -> Result<UnixListener> {
    let shown = path.display();
    let failed = |cause: &dyn fmt::Display| {
        Error::new(Code::Config, format!("the socket `{shown}` cannot be opened")).because(cause)
    };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(failed(&"another file is there")),
        Ok(_) if timeout(LAST_WORDS, UnixStream::connect(path)).await.is_ok_and(|there| there.is_ok()) => {
            let message = format!("another process answers at the socket `{shown}`");
            return Err(Error::new(Code::PortOccupied, message));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let group = group.map(|name| group_number(name).map_err(|cause| failed(&cause))).transpose()?;
    // It comes to its name only when nobody else may use it.
    let name = path.file_name().ok_or_else(|| failed(&"it has no name"))?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let opened = || -> io::Result<UnixListener> {
        let _ = std::fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        rustix::fs::chmod(&new, Mode::from_raw_mode(0o600))?;
        if let Some(group) = group {
            rustix::fs::chown(&new, None, Some(Gid::from_raw(group)))?;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o660))?;
        }
        std::fs::rename(&new, path)?;
        Ok(listener)
    };
    opened().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(&error)
    })
}

/// Only the file is looked at: asking other sources could hang.
fn group_number(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read_to_string("/etc/group").map_err(|error| format!("/etc/group: {error}"))?;
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    number.ok_or_else(|| format!("there is no group `{name}` in /etc/group"))
}

/// Answers callers on this machine until `over` becomes true.
pub async fn serve_socket(listener: UnixListener, server: Server, over: watch::Receiver<bool>) {
    let talk = |stream: UnixStream, over| serve(stream, Caller::Local, server.clone(), over);
    accept_each(listener, talk, over).await;
}

/// Answers holders of certificates until `over` becomes true.
pub async fn serve_tls(listener: TcpListener, door: Arc<Door>, server: Server, over: watch::Receiver<bool>) {
    let talk = |stream, over| welcome(stream, door.config(), server.clone(), over);
    accept_each(listener, talk, over).await;
}

/// A socket of either kind.
trait Listener {
    type Stream;

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.poll_accept(context).map_ok(|(stream, _)| stream)
    }
}

async fn accept_each<L: Listener, T: Future<Output = ()> + Send + 'static>(
    listener: L,
    talk: impl Fn(L::Stream, watch::Receiver<bool>) -> T,
    over: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut end = over.clone();
    loop {
        // What has ended is let go of, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, poll_fn(|context| listener.poll(context)).await)
        };
        let (place, accepted) = tokio::select! {
            // An error says that nobody could say it any more.
            _ = end.wait_for(|is_over| *is_over) => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok(stream) => {
                let talking = talk(stream, over.clone());
                connections.spawn(async move {
                    talking.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // New peers learn at once that nobody listens any more.
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, finished).await.is_err() {
        tracing::warn!("calls on routes were cut when the time of grace was over");
        connections.shutdown().await;
    }
}

/// One connection by mutual TLS. Whoever is refused gets to know why.
async fn welcome(
    stream: TcpStream,
    config: Option<Arc<ServerConfig>>,
    server: Server,
    over: watch::Receiver<bool>,
) {
    let Some(config) = config else { return };
    // Answers are small and whole: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    let stream = match timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, mut stream))) => {
            tracing::info!(peer, %error, "a caller was refused");
            // Closing with something unread would take the reason back from the wire.
            let _ = stream.shutdown().await;
            let mut rest = stream.take(LARGEST);
            let _ = timeout(LAST_WORDS, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
            return;
        }
        Err(_) => return tracing::debug!(peer, "a TLS handshake took too long"),
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let facts = leaf.and_then(|leaf| Facts::of(leaf).ok());
    let names = facts.into_iter().flat_map(|facts| facts.names).map(|name| name.to_string()).collect();
    serve(stream, Caller::Holder(names), server, over).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_group_and_replaces_only_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.sock");
        let group = rustix::process::getegid().as_raw().to_string();
        let listener = open_socket(&path, Some(&group)).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(open_socket(&path, None).await.unwrap_err().code, Code::PortOccupied);
        drop(listener);
        let _again = open_socket(&path, None).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_of_another_kind_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.sock");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(open_socket(&path, None).await.unwrap_err().code, Code::Config);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let missing = folder.path().join("a/b.sock");
        assert_eq!(open_socket(&missing, None).await.unwrap_err().code, Code::Config);
        let error = open_socket(&folder.path().join("c"), Some("no-such-group")).await.unwrap_err();
        assert!(error.cause.unwrap().contains("no-such-group"));
    }
}
