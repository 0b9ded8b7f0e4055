//! Owns the built-in answer to tls-alpn-01 (RFC 8737): a listener that is there only while an order is open and shows a
//! certificate for each name that is being proven, to nobody but validators.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use effect::{Code, Error, Result};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::door::Door;
use super::{Challenge, ChallengeKind, Responder};
use crate::names::Name;

/// RFC 8737, section 6.2.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Answers tls-alpn-01.
pub(super) struct TlsAlpn {
    proofs: Arc<Proofs>,
    door: Door,
}

/// Certificates by the server name that validators ask for. Of several orders for one name the last one's is shown.
#[derive(Default)]
struct Proofs(Mutex<HashMap<String, Vec<Proof>>>);

/// The token of an order, and what is shown for it.
type Proof = (String, Arc<CertifiedKey>);

impl fmt::Debug for Proofs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Proofs")
    }
}

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == PROTOCOL));
        let name = hello.server_name().filter(|_| asks)?.to_ascii_lowercase();
        let proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(&name)?.last().map(|(_, key)| key.clone())
    }
}

impl TlsAlpn {
    pub(super) fn new(address: SocketAddr) -> Result<Self> {
        let proofs = Arc::new(Proofs::default());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?
            .with_no_client_auth()
            .with_cert_resolver(proofs.clone());
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serve = move |stream| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                // The handshake is all that a validator wants.
                let _ = acceptor.accept(stream).await;
            })
        };
        Ok(Self { proofs, door: Door::new(ChallengeKind::TlsAlpn, address, Arc::new(serve)) })
    }
}

#[async_trait]
impl Responder for TlsAlpn {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::TlsAlpn
    }

    async fn present(&self, challenge: &Challenge) -> Result<()> {
        let key = proof(challenge)?;
        self.door.enter().await?;
        let mut proofs = self.proofs.0.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.entry(server_name(&challenge.name)).or_default().push((challenge.token.clone(), key));
        Ok(())
    }

    async fn withdraw(&self, challenge: &Challenge) -> Result<()> {
        let was_offered = {
            let mut proofs = self.proofs.0.lock().unwrap_or_else(PoisonError::into_inner);
            let name = server_name(&challenge.name);
            let of_name = proofs.entry(name.clone()).or_default();
            let place = of_name.iter().position(|(token, _)| *token == challenge.token);
            if let Some(place) = place {
                of_name.remove(place);
            }
            if of_name.is_empty() {
                proofs.remove(&name);
            }
            place.is_some()
        };
        if was_offered {
            self.door.leave().await;
        }
        Ok(())
    }
}

/// The name that a validator asks for: an address goes by its name for reverse look-ups (RFC 8738, section 6).
#[must_use]
pub fn server_name(name: &Name) -> String {
    match name {
        Name::Dns(name) => name.clone(),
        Name::Ip(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Name::Ip(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

/// A certificate of its own that shows the digest (RFC 8737, section 3), and its key in PKCS #8.
///
/// # Errors
/// Where the name is none that certificates bear.
pub fn proof_certificate(challenge: &Challenge) -> Result<(CertificateDer<'static>, Zeroizing<Vec<u8>>)> {
    let pair = KeyPair::generate().map_err(|error| broken(&error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![match &challenge.name {
        Name::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(|error| broken(&error))?),
        Name::Ip(address) => SanType::IpAddress(*address),
    }];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&challenge.digest())];
    let certificate = params.self_signed(&pair).map_err(|error| broken(&error))?;
    Ok((certificate.der().clone(), pair.serialize_der().into()))
}

fn broken(cause: &dyn fmt::Display) -> Error {
    Error::new(Code::Internal, "a proof could not be made").because(cause)
}

fn proof(challenge: &Challenge) -> Result<Arc<CertifiedKey>> {
    let (certificate, key) = proof_certificate(challenge)?;
    let key = PrivateKeyDer::try_from(&**key).map_err(|error| broken(&error))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|error| broken(&error))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        let name = |text: &str| server_name(&text.parse().unwrap());
        assert_eq!(name("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        assert!(name("2001:db8::1").starts_with("1.0.0.0.0.0."));
        assert!(name("2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa"));
        assert_eq!(name("a.test"), "a.test");
    }
}
