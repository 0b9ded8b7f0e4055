//! Owns tls-alpn-01 (RFC 8737): a certificate that a TLS server shows to whoever speaks `acme-tls/1`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::network::Reach;
use super::{Cause, Failure, Proof};
use crate::names::Name;

const PROTOCOL: &[u8] = b"acme-tls/1";
/// id-pe-acmeIdentifier.
const IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The look at a TLS server.
pub(super) struct Tls<'a> {
    pub(super) reach: &'a Reach,
    pub(super) port: u16,
}

impl Tls<'_> {
    pub(super) async fn prove(&self, proof: &Proof) -> Result<(), Failure> {
        let name = &proof.name;
        let wrong = |why: &str| {
            Failure::new(Cause::Wrong, format!("the certificate of `{name}` proves nothing: {why}"))
        };
        let stream = self.reach.connect(name, self.port).await?;
        let stream = any_certificate(&asked_for(name)?, stream, &[PROTOCOL]).await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(PROTOCOL) {
            return Err(wrong("the server does not speak acme-tls/1"));
        }
        let shown =
            session.peer_certificates().and_then(<[_]>::first).ok_or_else(|| wrong("there is none"))?;
        check(shown, name, &proof.digest()).map_err(wrong)
    }
}

/// What the server is asked for by name: an address by that of its reverse zone (RFC 8738, section 6).
fn asked_for(name: &Name) -> Result<Name, Failure> {
    let Name::Ip(address) = name else { return Ok(name.clone()) };
    let reversed = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", address.to_bits());
            let reversed: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", reversed.join("."))
        }
    };
    Ok(Name::Dns(reversed))
}

fn check(certificate: &CertificateDer<'_>, name: &Name, digest: &[u8; 32]) -> Result<(), &'static str> {
    let (rest, certificate) = X509Certificate::from_der(certificate).map_err(|_| "it cannot be decoded")?;
    if !rest.is_empty() {
        return Err("something follows it");
    }
    let names = certificate.subject_alternative_name().map_err(|_| "its names cannot be decoded")?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let is_its_own = match (names, name) {
        ([GeneralName::DNSName(found)], Name::Dns(name)) => found.eq_ignore_ascii_case(name),
        ([GeneralName::IPAddress(found)], Name::Ip(IpAddr::V4(address))) => *found == address.octets(),
        ([GeneralName::IPAddress(found)], Name::Ip(IpAddr::V6(address))) => *found == address.octets(),
        _ => false,
    };
    if !is_its_own {
        return Err("it bears another name, or more than one");
    }
    let mut found = certificate.iter_extensions().filter(|one| one.oid.to_id_string() == IDENTIFIER);
    let (Some(identifier), None) = (found.next(), found.next()) else {
        return Err("it has no acmeIdentifier, or several");
    };
    if !identifier.critical {
        return Err("its acmeIdentifier is not critical");
    }
    // An octet string (tag 4) of 32 bytes.
    let is_right = identifier.value.strip_prefix(&[4, 32]) == Some(digest.as_slice());
    if is_right { Ok(()) } else { Err("its acmeIdentifier is for another challenge or account") }
}

/// A TLS connection to whoever answers, whatever certificate it shows.
pub(super) async fn any_certificate(
    host: &Name,
    stream: TcpStream,
    protocols: &[&[u8]],
) -> Result<TlsStream<TcpStream>, Failure> {
    let failed =
        |why: String| Failure::new(Cause::Tls, format!("the TLS handshake with `{host}` failed: {why}"));
    let server = match host {
        Name::Ip(address) => ServerName::from(*address),
        Name::Dns(name) => ServerName::try_from(name.clone()).map_err(|error| failed(error.to_string()))?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Anyone(provider.signature_verification_algorithms));
    let mut config = config(provider).map_err(|error| failed(error.to_string()))?;
    config.dangerous().set_certificate_verifier(verifier);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.enable_sni = matches!(host, Name::Dns(_));
    let handshake = TlsConnector::from(Arc::new(config)).connect(server, stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(connected) => connected.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("it took too long".into())),
    }
}

fn config(provider: Arc<CryptoProvider>) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // Replaced by the caller: nothing is trusted for what a chain says.
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// Believes every certificate, and checks that the server holds its key.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl Anyone {
    /// The usual check refuses certificates with critical extensions that it does not know, which is what is looked for.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = |error| rustls::Error::InvalidCertificate(error);
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
        let key = &certificate.public_key().subject_public_key.data;
        let algorithms = self.0.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let algorithms = algorithms.map(|(_, algorithms)| *algorithms).unwrap_or_default();
        let is_valid =
            algorithms.iter().any(|one| one.verify_signature(key, message, signed.signature()).is_ok());
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(bad(CertificateError::BadSignature))
        }
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
