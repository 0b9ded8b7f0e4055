//! Owns the calls about the daemon itself.

use api::PROTOCOL;
use api::v1;
use api::v1::daemon_server::Daemon;
use async_trait::async_trait;
use effect::{Code, Error, Result};
use peer::calls::OURS;
use tonic::Request;

use super::{Answer, answer, lacks};
use crate::api::Api;
use crate::api::fields::text;

const LONGEST_VERSION: usize = 40;

/// Refuses a caller that counts the changes of the API differently, and names the older side.
fn check(theirs: &v1::HandshakeRequest) -> Result<()> {
    let version = text("version", &theirs.version, LONGEST_VERSION)?;
    let skew = |older: &str, hint: &str| {
        let message = format!("the {older} is the older side: they do not understand one another");
        let cause = format!(
            "the daemon is mcrun {OURS} with protocol {PROTOCOL}, the caller mcrun {version} with protocol {}",
            theirs.protocol
        );
        Err(Error::new(Code::ApiVersion, message).because(cause).hint(hint))
    };
    match theirs.protocol {
        0 => Err(Error::new(Code::ApiRequest, "`protocol`: it is missing")),
        protocol if protocol > PROTOCOL => {
            skew("daemon", "start the daemon again with the new version of mcrun")
        }
        protocol if protocol < PROTOCOL => skew("caller", "use the version of mcrun that the daemon is of"),
        _ => Ok(()),
    }
}

#[async_trait]
impl Daemon for Api {
    async fn handshake(&self, request: Request<v1::HandshakeRequest>) -> Answer<v1::HandshakeResponse> {
        answer(check(request.get_ref()).map(|()| v1::HandshakeResponse {
            version: OURS.into(),
            protocol: PROTOCOL,
            node: self.rooms().node.clone(),
            process: std::process::id(),
            started: self.rooms().started.0,
        }))
    }

    async fn reload(&self, _: Request<v1::ReloadRequest>) -> Answer<v1::ReloadResponse> {
        let reloaded = async {
            let room = lacks(self.rooms().reload.as_deref(), "cannot read its configuration again")?;
            Ok(v1::ReloadResponse { after_restart: room.reload().await? })
        };
        answer(reloaded.await)
    }
}
