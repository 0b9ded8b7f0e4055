//! Owns that the process answers the calls of mcns over the driver of names.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use daemon::identity::Identity;
use daemon::listen::{self, Handler};
use effect::{Code, Error, Result};

use super::listeners::Listeners;
use crate::app::App;
use crate::commands::names;
use crate::{render, wiring};

/// Answers calls, where mcrun.toml has them answered.
pub(super) async fn serve(app: &App, listeners: &mut Listeners) -> Result<()> {
    let Some(settings) = &app.config.dns.rest else { return Ok(()) };
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = dns::Secrets::new(wiring::secrets(app, Path::new("/dev/null"))?, "dns:tokens");
    let tokens = dns::rest::Tokens::read(&settings.tokens, &secrets).await?;
    let server = Arc::new(dns::rest::server::Server::new(names::driver(app)?, tokens));
    let hosts = certs::Names::parse(std::slice::from_ref(&settings.host))
        .map_err(|error| Error::new(Code::Config, format!("[dns.rest] host: {}", error.message)))?;
    let identity = Arc::new(Identity::new(wiring::authority(app), hosts));
    identity.refresh().await?;
    let limits = listen::Limits { body_bytes: dns::rest::server::LARGEST_BODY, ..listen::Limits::default() };
    let tls = Some(Arc::new(identity.config()));
    let place = (Some(settings.listen), limits);
    let Some(bound) = listeners.listen("mcns", place, tls, Calls(server))? else { return Ok(()) };
    render::note(format_args!(
        "calls of mcns: https://{}:{}/v1/zones (on {bound})",
        settings.host,
        bound.port()
    ));
    listeners.keep(identity);
    Ok(())
}

/// The calls of mcns behind their socket.
#[derive(Clone)]
struct Calls(Arc<dns::rest::server::Server>);

impl Handler for Calls {
    async fn handle(
        &self,
        request: http::Request<bytes::Bytes>,
        peer: SocketAddr,
    ) -> http::Response<bytes::Bytes> {
        self.0.handle(request, peer).await
    }
}
