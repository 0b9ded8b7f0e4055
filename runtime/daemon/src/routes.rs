//! Owns the sockets at which others drive this machine's proxy: one for a group on this machine, one by mutual TLS. What
//! is answered there, and to whom, is left to `routes::remote`.

mod gate;
mod tell;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use certs::certificate::chain_from_pem;
use certs::embedded::Authority;
use effect::{Code, Error, Result};
use routes::remote::{Caller, MOST_CONNECTIONS, Server, serve};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::identity::Identity;
use crate::{accept, api, socket};

pub use gate::Gate;
pub(crate) use gate::object;
pub use tell::tell_followers;

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
    /// Whether clients without a certificate come in, to show who they are otherwise.
    takes_tokens: bool,
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
        let door = Self { identity, issuers, takes_tokens: false, config: RwLock::default() };
        door.refresh().await?;
        Ok(door)
    }

    /// The same, and lets clients without a certificate in as well: each call says who makes it.
    ///
    /// # Errors
    /// As [`Door::open`].
    pub async fn open_to_tokens(identity: Identity, issuers: Issuers) -> Result<Self> {
        let door = Self { identity, issuers, takes_tokens: true, config: RwLock::default() };
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
            .allow_unknown_revocation_status();
        // A certificate that is shown must be good all the same.
        let verifier = if self.takes_tokens { verifier.allow_unauthenticated() } else { verifier };
        let verifier = verifier.build().map_err(|error| unusable(&error))?;
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

    /// The settings for new connections.
    pub(crate) fn config(&self) -> Option<Arc<ServerConfig>> {
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
    socket::open(path, group, None).await
}

/// Answers callers on this machine, as far as `gate` lets them, until `over` becomes true.
pub async fn serve_socket(
    listener: UnixListener,
    (server, gate): (Server, Gate),
    over: watch::Receiver<bool>,
) {
    let talk = |stream: UnixStream, over| {
        // Who could connect was decided by the mode of the file.
        let keeper = gate.keeper(api::Caller::at(&stream, true));
        serve(stream, (Caller::Local, keeper), server.clone(), over)
    };
    accept::each(listener, (MOST_CONNECTIONS, GRACE), talk, over, drop).await;
}

/// Answers holders of certificates, as far as `gate` lets them, until `over` becomes true.
pub async fn serve_tls(
    listener: TcpListener,
    door: Arc<Door>,
    (server, gate): (Server, Gate),
    over: watch::Receiver<bool>,
) {
    let talk = |stream, over| welcome(stream, door.config(), (server.clone(), gate.clone()), over);
    accept::each(listener, (MOST_CONNECTIONS, GRACE), talk, over, drop).await;
}

/// One connection by mutual TLS.
async fn welcome(
    stream: TcpStream,
    config: Option<Arc<ServerConfig>>,
    (server, gate): (Server, Gate),
    over: watch::Receiver<bool>,
) {
    let Some(config) = config else { return };
    let address = stream.peer_addr().ok();
    if let Some((stream, names)) = accept::welcome(stream, config).await {
        let keeper = gate.keeper(api::Caller::Holder { names: names.clone(), address });
        serve(stream, (Caller::Holder(names), keeper), server, over).await;
    }
}
