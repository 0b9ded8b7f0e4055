//! The driver for Vault-compatible PKI: HashiCorp Vault and OpenBao.
//!
//! Owns signing by a role, revoking by serial number, and the chain. The key stays here: only a request goes out. How a
//! certificate of a cut attempt is found again is in `vault/search.rs`.

mod api;
mod search;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result, Timestamp};
use journal::Clock;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Secrets;
use crate::certificate::{armoured, chain_from_pem};
use crate::chain;
use crate::driver::{Driver, Feature, Issued, Order, Progress, Reason};
use crate::key::{Key, KeyType};
use crate::names::Name;
use crate::peer::{self, Jitter, Patience, Peer};

use api::Api;

/// RFC 5280, appendix A: `ub-common-name`.
const LONGEST_COMMON_NAME: usize = 64;

/// `[drivers.vault]` of mcrun.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its address, `"https://vault.example:8200"`.
    pub address: String,
    /// Where its PKI is mounted.
    #[serde(default = "pki")]
    pub mount: String,
    /// The role that certificates are signed by.
    pub role: String,
    /// The secret of mcrun.toml that holds the token.
    pub token: String,
    /// The namespace, where it has them.
    pub namespace: Option<String>,
    /// A file of certificates in PEM that is trusted for the address instead of the system's authorities.
    pub ca: Option<PathBuf>,
}

fn pki() -> String {
    "pki".into()
}

/// What the driver is put together from.
pub struct Parts {
    /// The secrets that it may have: those for `certs:vault`.
    pub secrets: Secrets,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the chance in waits comes from.
    pub jitter: Arc<Jitter>,
    /// How long the authority is waited for.
    pub patience: Patience,
}

/// The way to one PKI of one Vault.
pub struct Client {
    api: Api,
    role: String,
}

const FEATURES: [Feature; 10] = [
    Feature::Key(KeyType::P256),
    Feature::Key(KeyType::P384),
    Feature::Key(KeyType::Ed25519),
    Feature::Key(KeyType::Rsa2048),
    Feature::Key(KeyType::Rsa3072),
    Feature::Clients,
    Feature::Wildcards,
    Feature::Addresses,
    Feature::Lifetimes,
    Feature::Revocation,
];

/// What is noted before signing: what was asked for, and when.
#[derive(Serialize, Deserialize)]
struct Noted {
    mount: String,
    at: Timestamp,
}

/// What `sign` takes.
#[derive(Serialize)]
struct Wanted<'a> {
    csr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<&'a str>,
    /// Whatever the role makes of the common name: the names that count are those of the request.
    exclude_cn_from_sans: bool,
    alt_names: String,
    ip_sans: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
    format: &'static str,
}

/// What `sign` answers.
#[derive(Deserialize)]
struct Signed {
    certificate: String,
    #[serde(default)]
    ca_chain: Vec<String>,
    #[serde(default)]
    issuing_ca: String,
}

impl Client {
    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// `MC-D001` where the settings make no sense.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self> {
        let wrong = |key: &str, text: &str| {
            Error::new(Code::Config, format!("[drivers.vault] {key}: `{text}` makes no sense"))
        };
        let mut address = Url::parse(&settings.address)
            .map_err(|error| wrong("address", &settings.address).because(error))?;
        if address.cannot_be_a_base() {
            return Err(wrong("address", &settings.address));
        }
        if !address.path().ends_with('/') {
            address.set_path(&format!("{}/", address.path()));
        }
        let mount = settings.mount.trim_matches('/').to_owned();
        for (key, text) in [("mount", &mount), ("role", &settings.role)] {
            if text.is_empty()
                || text.split('/').any(|part| matches!(part, "" | "." | ".."))
                || text.contains(['?', '#', '%'])
            {
                return Err(wrong(key, text));
            }
        }
        let peer = Peer::new(settings.ca, parts.patience, parts.clock, parts.jitter);
        let api = Api {
            peer,
            address,
            mount,
            namespace: settings.namespace,
            token: settings.token,
            secrets: parts.secrets,
        };
        Ok(Self { api, role: settings.role })
    }

    async fn sign(&self, order: &Order<'_>) -> Result<Vec<CertificateDer<'static>>> {
        let request = armoured("CERTIFICATE REQUEST", &order.key.request(order.names)?);
        let names = order.names.as_slice();
        let texts = |wanted: fn(&Name) -> bool| {
            let texts: Vec<String> =
                names.iter().filter(|name| wanted(name)).map(ToString::to_string).collect();
            texts.join(",")
        };
        let common_name =
            names.iter().map(ToString::to_string).find(|name| name.len() <= LONGEST_COMMON_NAME);
        let wanted = Wanted {
            csr: &request,
            common_name: common_name.as_deref(),
            exclude_cn_from_sans: true,
            alt_names: texts(|name| name.domain().is_some()),
            ip_sans: texts(|name| name.domain().is_none()),
            ttl: order.lifetime.map(|lifetime| format!("{}s", lifetime.as_secs())),
            format: "pem",
        };
        let what = format!("the request for {}", order.names);
        let signed: Signed = self.api.post(&format!("sign/{}", self.role), &wanted, &what).await?;
        let issuers =
            signed.ca_chain.into_iter().chain([signed.issuing_ca]).filter(|pem| !pem.trim().is_empty());
        let mut others = Vec::new();
        for pem in issuers {
            others.extend(chain_from_pem(&pem)?);
        }
        self.with_chain(&signed.certificate, others).await
    }

    /// The certificate in `pem` with what leads to its root.
    async fn with_chain(
        &self,
        pem: &str,
        mut others: Vec<CertificateDer<'static>>,
    ) -> Result<Vec<CertificateDer<'static>>> {
        let first = chain_from_pem(pem)?.swap_remove(0);
        if others.is_empty() {
            others = self.api.chain().await?;
        }
        chain::arranged(first, &others)
    }

    /// The certificate that an earlier attempt may have brought about.
    async fn found(&self, order: &Order<'_>, noted: &Noted) -> Result<Option<Vec<CertificateDer<'static>>>> {
        if noted.mount != self.api.mount {
            return Ok(None);
        }
        match search::certificate(&self.api, order.names, &order.key.public(), noted.at).await {
            Ok(Some(pem)) => self.with_chain(&pem, Vec::new()).await.map(Some),
            Ok(None) => Ok(None),
            // A token that may sign need not be one that may look.
            Err(error) if error.code == Code::AuthorityRefused => {
                tracing::warn!(target: "certs", %error, "whether an earlier attempt was signed cannot be looked up: signing again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn features(&self) -> &[Feature] {
        &FEATURES
    }

    async fn issue(&self, order: &Order<'_>, progress: &dyn Progress) -> Result<Issued> {
        let noted = progress.noted().and_then(|text| serde_json::from_str::<Noted>(text).ok());
        if let Some(noted) = &noted
            && let Some(chain) = self.found(order, noted).await?
        {
            return Ok(Issued { chain });
        }
        // Signing has no key by which a second request would be known as the first: what is noted leads to its answer.
        let noted = Noted { mount: self.api.mount.clone(), at: self.api.peer.now() };
        let text = serde_json::to_string(&noted)
            .map_err(|error| Error::new(Code::Internal, "an order cannot be noted").because(error))?;
        progress.note(&text).await?;
        let chain = self.sign(order).await?;
        check_use(&self.api, &self.role, &chain[0], order)?;
        Ok(Issued { chain })
    }

    async fn revoke(&self, chain: &[CertificateDer<'static>], _: &Key, reason: Reason) -> Result<()> {
        let first = chain
            .first()
            .ok_or_else(|| Error::new(Code::CertificateUnknown, "there is no certificate to revoke"))?;
        let pairs: Vec<String> =
            chain::parsed(first)?.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        tracing::debug!(target: "certs", ?reason, "Vault records no reasons");
        let serial = match pairs.as_slice() {
            // The sign byte of DER is no part of the number.
            [zero, rest @ ..] if zero == "00" && !rest.is_empty() => rest.join(":"),
            all => all.join(":"),
        };
        let wanted = serde_json::json!({ "serial_number": serial });
        let _: serde_json::Value = self.api.post("revoke", &wanted, "the revocation").await?;
        Ok(())
    }

    async fn roots(&self) -> Result<Vec<CertificateDer<'static>>> {
        let all = self.api.chain().await?;
        let mut roots = Vec::new();
        for certificate in all {
            let parsed = chain::parsed(&certificate)?;
            if parsed.subject().as_raw() == parsed.issuer().as_raw() {
                roots.push(certificate.clone());
            }
        }
        Ok(roots)
    }
}

/// A role decides what its certificates may be used for, whatever was asked.
fn check_use(api: &Api, role: &str, certificate: &CertificateDer<'static>, order: &Order<'_>) -> Result<()> {
    let parsed = chain::parsed(certificate)?;
    let usage = parsed.extended_key_usage().ok().flatten();
    let may = |has: bool| has || usage.as_ref().is_none_or(|usage| usage.value.any);
    let lacks_server =
        order.profile.server && !may(usage.as_ref().is_some_and(|usage| usage.value.server_auth));
    let lacks_client =
        order.profile.client && !may(usage.as_ref().is_some_and(|usage| usage.value.client_auth));
    let flag = match (lacks_server, lacks_client) {
        (false, false) => return Ok(()),
        (true, _) => "server_flag",
        (false, true) => "client_flag",
    };
    let cause = format!("its role `{role}` gives no certificates for the profile `{}`", order.profile.name);
    Err(peer::garbage(&api.address, cause)
        .hint(format!("set `{flag}=true` on the role, or choose another profile")))
}

/// How long a request that was cut may still be worked on there.
const SETTLES: Duration = Duration::from_secs(2);
