//! Owns the certificate that the daemon itself shows: signed by the embedded authority, kept in memory only, and changed
//! without a new socket.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use certs::certificate::Facts;
use certs::driver::new_token;
use certs::embedded::{Authority, Request};
use certs::{Key, KeyType, Names, Profiles, renewal};
use effect::{Code, Error, Result, Timestamp};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often it is looked whether a new one is due.
pub const BETWEEN_LOOKS: Duration = Duration::from_secs(600);
/// How long one lives.
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// The daemon's own certificate for its name.
pub struct Identity {
    authority: Authority,
    names: Names,
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    key: RwLock<Option<(Arc<CertifiedKey>, Timestamp)>>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.key.read().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|(key, _)| key.clone())
    }
}

impl Identity {
    /// The identity under `names`, without a certificate yet.
    #[must_use]
    pub fn new(authority: Authority, names: Names) -> Self {
        Self { authority, names, shown: Arc::default() }
    }

    /// Gets a certificate where there is none, or where the one shown is due for renewal.
    ///
    /// # Errors
    /// Where the authority cannot sign. The one shown stays.
    pub async fn refresh(&self) -> Result<()> {
        let now = self.authority.now();
        let due = {
            let shown = self.shown.key.read().unwrap_or_else(PoisonError::into_inner);
            shown.as_ref().is_none_or(|(_, renew_at)| *renew_at <= now)
        };
        if !due {
            return Ok(());
        }
        let key = Key::generate(KeyType::P256)?;
        let (profiles, public) = (Profiles::new(&Default::default())?, key.public());
        let issued = self
            .authority
            .sign(&Request {
                // Nobody goes on with it: each is a new one.
                token: &new_token()?,
                names: &self.names,
                profile: profiles.get("server")?,
                public: &public,
                lifetime: Some(LIFETIME),
                service: None,
            })
            .await?;
        let facts = Facts::of(&issued.chain[0])?;
        let pkcs8 = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pair().serialize_der()));
        let signing = any_supported_type(&pkcs8)
            .map_err(|error| Error::new(Code::Internal, "a new key cannot be used").because(error))?;
        let renew_at = renewal::moment(facts.not_before, facts.not_after, &facts.serial);
        let certified = Arc::new(CertifiedKey::new(issued.chain, signing));
        *self.shown.key.write().unwrap_or_else(PoisonError::into_inner) = Some((certified, renew_at));
        Ok(())
    }

    /// What shows it, for a server with settings of its own.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.shown.clone()
    }

    /// Settings of a server that shows it.
    #[must_use]
    pub fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}
