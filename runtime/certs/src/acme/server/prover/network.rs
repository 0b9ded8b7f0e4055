//! Owns the prover that asks over the network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use tokio::net::TcpStream;

use super::address;
use super::dns::Dns;
use super::http::Http;
use super::tls::Tls;
use super::{Cause, Failure, Kind, Proof, Prover};
use crate::acme::server::Settings;
use crate::names::Name;

/// For one connection: the next address has its turn within the whole.
const CONNECT: Duration = Duration::from_secs(5);
/// A host with more addresses than this is asked at the first of them.
const MOST_ADDRESSES: usize = 4;

/// Asks web servers, TLS servers and name servers.
#[derive(Debug)]
pub struct Network {
    http_port: u16,
    tls_port: u16,
    patience: Duration,
    pub(super) reach: Reach,
}

/// How hosts are found and connected to.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) dns: Dns,
    link_local: bool,
}

impl Network {
    /// The prover that `settings` describes.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let reach = Reach { dns: Dns::new(&settings.resolvers), link_local: settings.link_local };
        let patience = settings.limits.patience.0;
        Self { http_port: settings.http_port, tls_port: settings.tls_port, patience, reach }
    }
}

#[async_trait]
impl Prover for Network {
    async fn prove(&self, proof: &Proof) -> Result<(), Failure> {
        let looking = async {
            match proof.kind {
                Kind::Http => {
                    Http { reach: &self.reach, port: self.http_port, tls_port: self.tls_port }
                        .prove(proof)
                        .await
                }
                Kind::TlsAlpn => Tls { reach: &self.reach, port: self.tls_port }.prove(proof).await,
                Kind::Dns => self.reach.dns.prove(proof).await,
            }
        };
        let late = |_| {
            let patience = Span(self.patience);
            Failure::new(Cause::Connection, format!("`{}` took longer than {patience}", proof.name))
        };
        tokio::time::timeout(self.patience, looking).await.map_err(late)?
    }
}

impl Reach {
    /// A connection to `host`, at the first of its addresses that takes one.
    pub(super) async fn connect(&self, host: &Name, port: u16) -> Result<TcpStream, Failure> {
        let mut failure =
            Failure::new(Cause::Connection, format!("`{host}` has no address that is contacted for a proof"));
        for address in self.addresses(host).await?.into_iter().take(MOST_ADDRESSES) {
            let address = SocketAddr::new(address, port);
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    failure = Failure::new(Cause::Connection, format!("`{host}` at {address}: {error}"));
                }
                Err(_) => {
                    failure =
                        Failure::new(Cause::Connection, format!("`{host}` at {address} does not answer"));
                }
            }
        }
        Err(failure)
    }

    async fn addresses(&self, host: &Name) -> Result<Vec<IpAddr>, Failure> {
        let found = match host {
            Name::Ip(address) => vec![*address],
            Name::Dns(name) => self.dns.addresses(name).await?,
        };
        Ok(found.into_iter().filter(|found| address::is_contacted(*found, self.link_local)).collect())
    }
}
