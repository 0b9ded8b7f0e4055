//! Owns what the process publishes of the embedded authority, and that it answers ACME clients.

use std::net::SocketAddr;
use std::sync::Arc;

use certs::acme;
use daemon::identity::{BETWEEN_LOOKS, Identity};
use daemon::listen::{self, Handler};
use daemon::publish::Publisher;
use effect::Result;

use super::listeners::{Listeners, is_over_after};
use crate::app::App;
use crate::{render, wiring};

/// Publishes lists of revoked certificates and roots, where mcrun.toml has them published.
pub(super) fn publish(app: &App, listeners: &mut Listeners) -> Result<()> {
    let place = (app.config.certs.listen, listen::Limits::default());
    let publisher = Publisher::new(Arc::new(wiring::authority(app)));
    let Some(bound) = listeners.listen("certs", place, None, publisher)? else { return Ok(()) };
    render::note(format_args!("lists of revoked certificates and roots: http://{bound}/ca/roots.pem"));
    Ok(())
}

/// Answers ACME clients, where mcrun.toml has them answered.
pub(super) async fn serve_acme(app: &App, listeners: &mut Listeners) -> Result<()> {
    let Some(settings) = &app.config.certs.acme_server else { return Ok(()) };
    let server = wiring::acme_server(app, settings)?;
    let identity = Arc::new(Identity::new(wiring::authority(app), settings.host()?));
    identity.refresh().await?;
    let config = Arc::new(identity.config());
    let place = (Some(settings.listen), listen::Limits::default());
    let bound = listeners.listen("acme", place, Some(config), Acme(server.clone()))?;
    let Some(bound) = bound else { return Ok(()) };
    render::note(format_args!("ACME: {} (on {bound})", server.directory()));
    listeners.keep(identity);
    let mut over = listeners.shutdown();
    listeners.tasks.spawn(async move {
        while !is_over_after(BETWEEN_LOOKS, &mut over).await {
            if let Err(error) = server.prune().await {
                tracing::warn!(%error, "old ACME orders cannot be taken out");
            }
        }
    });
    Ok(())
}

/// The ACME server behind its socket.
#[derive(Clone)]
struct Acme(acme::server::Server);

impl Handler for Acme {
    async fn handle(
        &self,
        request: http::Request<bytes::Bytes>,
        peer: SocketAddr,
    ) -> http::Response<bytes::Bytes> {
        self.0.handle(request, peer).await
    }
}
