//! Owns that the process answers people, services and browsers who ask the service of identity by HTTP, and takes away
//! what is over there.

use std::net::SocketAddr;
use std::sync::Arc;

use certs::Names;
use daemon::identity::{BETWEEN_LOOKS, Identity};
use daemon::listen::{self, Handler};
use effect::{Code, Error, Result};
use mcias::{Embedded, Web};
use url::Url;

use super::listeners::{Listeners, is_over_after};
use crate::app::App;
use crate::{render, wiring};

/// Answers, where mcrun.toml has it answer.
pub(super) async fn serve(app: &App, listeners: &mut Listeners) -> Result<()> {
    let settings = &app.config.mcias;
    let service = Arc::new(wiring::identity(app));
    sweep(service.clone(), listeners);
    let Some(address) = settings.listen else { return Ok(()) };
    let web = Web::new(service)?;
    let identity = Arc::new(match &settings.tls {
        Some(tls) => Identity::of_files(tls.cert.clone(), tls.key.clone()),
        None => Identity::new(wiring::authority(app), names(web.url())?),
    });
    identity.refresh().await?;
    let limits = listen::Limits {
        connections: settings.connections,
        body_bytes: mcias::web::LARGEST_BODY,
        ..listen::Limits::default()
    };
    let (tls, url) = (Some(Arc::new(identity.config())), web.url().to_owned());
    let place = (Some(address), limits);
    let Some(bound) = listeners.listen("mcias", place, tls, Requests(Arc::new(web)))? else { return Ok(()) };
    render::note(format_args!("identity: {url} (on {bound})"));
    listeners.keep(identity);
    Ok(())
}

/// Takes tokens that have expired away now and then, and keys that none is left of.
fn sweep(service: Arc<Embedded>, listeners: &mut Listeners) {
    let mut over = listeners.shutdown();
    listeners.tasks.spawn(async move {
        while !is_over_after(BETWEEN_LOOKS, &mut over).await {
            if let Err(error) = service.sweep().await {
                tracing::warn!(%error, "expired tokens cannot be taken away");
            }
        }
    });
}

/// The name that its certificate bears.
fn names(url: &str) -> Result<Names> {
    let host = url.parse().ok().and_then(|url: Url| url.host_str().map(str::to_owned));
    Names::parse(&Vec::from_iter(host))
        .map_err(|error| Error::new(Code::Config, format!("mcias.url: {}", error.message)))
}

/// The service behind its socket.
#[derive(Clone)]
struct Requests(Arc<Web>);

impl Handler for Requests {
    async fn handle(
        &self,
        request: http::Request<bytes::Bytes>,
        peer: SocketAddr,
    ) -> http::Response<bytes::Bytes> {
        self.0.answer(request, peer).await
    }
}
