//! Owns what the server asks of the authority behind it: whether a name may be had, a certificate, what became of one.

use std::time::Duration;

use async_trait::async_trait;
use effect::{Result, Timestamp};
use rustls::pki_types::CertificateDer;

use crate::driver::Reason;
use crate::names::Names;

/// A certificate as it is to be signed. Its names were proven and admitted, its key was checked.
#[derive(Debug)]
pub struct SignOrder<'a> {
    /// The same whenever this very order is tried again.
    pub token: &'a str,
    /// The names, each of which the certificate must bear.
    pub names: &'a Names,
    /// The key, a SubjectPublicKeyInfo in DER.
    pub public: &'a [u8],
    /// The service that the account is bound to.
    pub service: Option<&'a str>,
    /// How long it is wanted for; what the authority gives unless said.
    pub lifetime: Option<Duration>,
}

/// What became of a certificate.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The chain in DER, the certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The token of the order that brought it; another's where it was not ordered here.
    pub token: String,
    /// When it is to be renewed (RFC 9773), where the authority knows better than its dates: from, and until.
    pub window: Option<(Timestamp, Timestamp)>,
}

/// The authority behind the server.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Whether a certificate for `names` may be had by `service`. Asked for every order, and again before it is signed.
    ///
    /// # Errors
    /// `MC-E002` with the name that is refused.
    fn admit(&self, names: &Names, service: Option<&str>) -> Result<()>;

    /// The certificate for `order`, then those by which it leads to a root, without the root. An order that was signed
    /// before gets the same certificate.
    ///
    /// # Errors
    /// Where the authority cannot sign; the order is tried again where the error is retryable, else it has failed.
    async fn sign(&self, order: &SignOrder<'_>) -> Result<Vec<CertificateDer<'static>>>;

    /// What became of the certificate with this serial number, in hexadecimal without leading zeros.
    ///
    /// # Errors
    /// Where the records cannot be read.
    async fn standing(&self, serial: &str) -> Result<Option<Standing>>;

    /// Revokes the certificate with this serial number. Durable on return.
    ///
    /// # Errors
    /// Where it cannot be recorded.
    async fn revoke(&self, serial: &str, reason: Reason) -> Result<()>;
}
