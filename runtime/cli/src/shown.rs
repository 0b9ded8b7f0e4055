//! Owns the bridge between certificates and routes: the `certs` crate keeps them with their keys, the `routes` crate knows
//! which is shown where.

use std::sync::Arc;

use async_trait::async_trait;
use certs::{Certificate, Name};
use effect::{Code, Error, Result, Sealer, Timestamp};
use journal::{Clock, Journal};
use routes::effects::Means;
use routes::{Certificates, Hostname, Material};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// The certificates of this node.
pub(crate) struct Shown {
    journal: Journal,
    node: String,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
}

impl From<Means> for Shown {
    fn from(means: Means) -> Self {
        let Means { journal, node, sealer, clock, .. } = means;
        Self { journal, node, sealer, clock }
    }
}

impl Shown {
    async fn certificate(&self, id: &str) -> Result<Certificate> {
        let found = certs::store::certificate(&self.journal, &self.node, id).await?;
        found.ok_or_else(|| {
            Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`"))
                .hint("`mcrun certs list` shows those that there are")
        })
    }
}

#[async_trait]
impl Certificates for Shown {
    async fn material(&self, id: &str) -> Result<Material> {
        let certificate = self.certificate(id).await?;
        let pem = self.sealer.open_hidden(&certificate.key)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| {
            Error::new(Code::JournalBroken, format!("the recorded key of certificate `{id}` is damaged"))
        })?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        Ok(Material { chain: certificate.chain_der()?, key })
    }

    async fn check(&self, id: &str, hostname: &Hostname) -> Result<()> {
        let certificate = self.certificate(id).await?;
        let wrong = |why: String| Error::new(Code::RouteTerms, format!("`cert`: {why}"));
        if certificate.revoked {
            return Err(wrong(format!("certificate `{id}` is revoked")));
        }
        if certificate.left(self.clock.now()).is_zero() {
            let at = Timestamp(certificate.not_after);
            return Err(wrong(format!("certificate `{id}` expired at {at}"))
                .hint(format!("`mcrun certs renew {id}` orders another")));
        }
        if !certificate.hostnames.as_slice().iter().any(|name| bears(name, hostname)) {
            let names: Vec<String> =
                certificate.hostnames.as_slice().iter().map(ToString::to_string).collect();
            let why = format!("certificate `{id}` does not bear the name `{hostname}`");
            return Err(wrong(why).detail(format!("it bears {}", names.join(", "))));
        }
        Ok(())
    }
}

/// Whether clients for `hostname` take a certificate for `name` (RFC 9525, section 6.3): a wildcard stands for one label.
fn bears(name: &Name, hostname: &Hostname) -> bool {
    let wanted = hostname.as_str();
    match name {
        _ if hostname.is_any() => true,
        Name::Ip(address) => wanted.parse() == Ok(*address),
        Name::Dns(name) => {
            let beneath = |name: &str| wanted.split_once('.').is_some_and(|(_, rest)| rest == name);
            name == wanted || name.strip_prefix("*.").is_some_and(beneath)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_borne_by_itself_or_by_one_wildcard() {
        let is = |name: &str, hostname: &str| {
            bears(&name.parse::<Name>().unwrap(), &hostname.parse::<Hostname>().unwrap())
        };
        assert!(is("mcq.example.net", "mcq.example.net"));
        assert!(is("*.example.net", "mcq.example.net"));
        assert!(is("*.example.net", "*.example.net"));
        assert!(is("192.0.2.1", "192.0.2.1"));
        assert!(is("mcq.example.net", "*"));
        assert!(!is("mcq.example.net", "mcr.example.net"));
        assert!(!is("mcq.example.net", "*.example.net"));
        assert!(!is("*.example.net", "a.b.example.net"));
        assert!(!is("*.example.net", "example.net"));
    }
}
