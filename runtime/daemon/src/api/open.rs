//! Owns opening the API as mcrun.toml says: the socket always, and TCP with TLS on both sides where it is configured.

use std::path::Path;
use std::sync::Arc;

use certs::embedded::Authority;
use effect::{Code, Error, Result};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Api, Opened, Settings, open_socket, serve_socket, serve_tls};
use crate::identity::{BETWEEN_LOOKS, Identity};
use crate::routes::{Door, Issuers};

/// Sockets that are open, at which nobody is answered yet.
#[derive(Debug)]
pub struct Doors {
    /// The name that the daemon's certificate bears.
    host: String,
    socket: Opened,
    afar: Option<(TcpListener, Arc<Door>)>,
    takes_tokens: bool,
}

impl Doors {
    /// Opens what `settings` say of the daemon of the state directory `state`, unless a service manager has handed the
    /// socket over; `listener` is what calls by TLS come in at. The embedded authority issues the certificate that is shown.
    ///
    /// # Errors
    /// `MC-U002` and `MC-C005` where a socket cannot be had, `MC-I001` where the one that was handed over is not where callers
    /// look for it.
    pub async fn open(
        settings: &Settings,
        state: &Path,
        (handed, listener): (Option<UnixListener>, Option<TcpListener>),
        authority: impl Fn() -> Authority,
    ) -> Result<Self> {
        let socket = match handed {
            Some(listener) => Opened::handed(listener, settings, state)?,
            None => open_socket(settings, state).await?,
        };
        let afar = match (listener, &settings.host) {
            (Some(listener), Some(host)) => {
                let names = certs::Names::parse(std::slice::from_ref(host)).map_err(|error| {
                    Error::new(Code::Config, format!("[daemon.api] host: {}", error.message))
                })?;
                let issuers = match &settings.client_ca {
                    Some(path) => Issuers::File(path.clone()),
                    None => Issuers::Authority(authority()),
                };
                let identity = Identity::new(authority(), names);
                let door = match settings.tokens {
                    true => Door::open_to_tokens(identity, issuers).await?,
                    false => Door::open(identity, issuers).await?,
                };
                Some((listener, Arc::new(door)))
            }
            (Some(_), None) => {
                let message = "a socket for calls by TLS was handed over, and [daemon.api] has no `host`";
                return Err(Error::new(Code::Config, message));
            }
            (None, _) => None,
        };
        let host = settings.host.clone().unwrap_or_default();
        Ok(Self { host, socket, afar, takes_tokens: settings.tokens })
    }

    /// Where calls are taken, in words.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let socket = self.socket.path().display().to_string();
        let afar = self.afar.iter().filter_map(|(listener, _)| listener.local_addr().ok());
        let host = &self.host;
        let by = if self.takes_tokens { "TLS with a certificate or a token" } else { "mutual TLS" };
        let afar = afar.map(|address| format!("{address}, as {host}, by {by}"));
        std::iter::once(socket).chain(afar).collect()
    }

    /// What new callers by TLS are looked at with: to be refreshed when certificates change.
    #[must_use]
    pub fn door(&self) -> Option<Arc<Door>> {
        self.afar.as_ref().map(|(_, door)| door.clone())
    }

    /// Has callers answered until `over` becomes true, by tasks of `tasks`.
    pub fn serve(self, api: &Api, tasks: &mut JoinSet<()>, over: &watch::Receiver<bool>) {
        tasks.spawn(serve_socket(self.socket, api.clone(), over.clone()));
        if let Some((listener, door)) = self.afar {
            tasks.spawn(keep(door.clone(), over.clone()));
            tasks.spawn(serve_tls(listener, door, api.clone(), over.clone()));
        }
    }
}

/// Has certificates that were renewed or revoked take effect.
async fn keep(door: Arc<Door>, mut over: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            _ = over.wait_for(|is_over| *is_over) => return,
        }
        if let Err(error) = door.refresh().await {
            tracing::warn!(%error, "the certificates of the API cannot be renewed");
        }
    }
}
