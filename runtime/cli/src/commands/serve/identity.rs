//! Owns that the process answers people, services and browsers who ask the service of identity by HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use certs::Names;
use daemon::identity::Identity;
use daemon::listen::{self, Handler};
use effect::{Code, Error, Result};
use mcias::Web;
use url::Url;

use super::listeners::Listeners;
use crate::app::App;
use crate::{render, wiring};

/// Answers, where mcrun.toml has it answer.
pub(super) async fn serve(app: &App, listeners: &mut Listeners) -> Result<()> {
    let settings = &app.config.mcias;
    let Some(address) = settings.listen else { return Ok(()) };
    let web = Web::new(Arc::new(wiring::identity(app)))?;
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
