//! Owns roots and intermediates: how they are made, follow each other with overlap, and are read back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use effect::{Code, Error, Hidden, Result, Sealer, Timestamp, reached};
use journal::{Expect, Write};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::build::{Constraints, earlier, moment, signing};
use super::root::{Passphrase, kept_in};
use super::{Authority, BACKDATED, ledger};
use crate::certificate::{Facts, chain_from_pem, hex, to_pem};
use crate::key::{Key, KeyType};

pub(super) const ROOT: &str = "authority-root";
pub(super) const INTERMEDIATE: &str = "authority-intermediate";
/// The kind and the name of the record that says which intermediate signs.
pub(super) const ACTIVE: &str = "authority";
pub(super) const ACTIVE_NAME: &str = "active";

const DAY: u64 = 86_400;
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * DAY);
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(5 * 365 * DAY);

/// A root: its certificate, and its key under a passphrase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Root {
    /// What it is called: the beginning of its key's hash.
    pub id: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The same key certified by the root before it, for peers that trust only that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross: Option<String>,
    /// Its key, sealed with age under the passphrase.
    pub(super) sealed: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
}

/// An intermediate: its certificate and its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Intermediate {
    /// What it is called: the beginning of its key's hash.
    pub id: String,
    /// The root that signed it.
    pub root: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// Its key, sealed with the state directory's.
    pub(super) key: Hidden,
    /// Beyond what nothing that it signs is valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
}

/// How the authority stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The intermediate that signs.
    pub active: Intermediate,
    /// Every intermediate, the newest first.
    pub intermediates: Vec<Intermediate>,
    /// Every root, the newest first.
    pub roots: Vec<Root>,
    /// Where passphrases lie that were made by chance and not taken away, by root.
    pub kept: BTreeMap<String, PathBuf>,
}

impl Intermediate {
    pub(super) fn key(&self, sealer: &Sealer) -> Result<Key> {
        let pem = sealer.open_hidden(&self.key)?;
        Key::from_pem(&String::from_utf8_lossy(&pem))
    }

    pub(super) fn certificate(&self) -> Result<CertificateDer<'static>> {
        first(&self.certificate)
    }
}

fn first(pem: &str) -> Result<CertificateDer<'static>> {
    chain_from_pem(pem)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::new(Code::JournalBroken, "a record of the authority holds no certificate"))
}

fn id_of(key: &Key) -> String {
    hex(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.public()).as_ref()[..8])
}

/// A root with its key in the clear, for as long as it signs an intermediate.
struct Opened {
    record: Root,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes root and first intermediate where there is none; whoever is faster, of several processes at once, makes the
    /// one that counts. Answers with the id of the intermediate that signs.
    ///
    /// # Errors
    /// Where something cannot be written.
    pub async fn create(&self, passphrase: Passphrase) -> Result<String> {
        if let Some(id) = self.active_id().await? {
            return Ok(id);
        }
        let opened = self.new_root(&passphrase, None).await?;
        let intermediate = self.new_intermediate(&opened)?;
        let writes = vec![
            self.write(ACTIVE, ACTIVE_NAME, json!(intermediate.id).to_string(), Expect::Absent),
            self.write(INTERMEDIATE, &intermediate.id, json!(intermediate).to_string(), Expect::Absent),
            self.write(ROOT, &opened.record.id, json!(opened.record).to_string(), Expect::Absent),
        ];
        match self.journal.write(writes).await {
            Ok(()) => Ok(intermediate.id),
            Err(journal::Error::Conflict { .. }) => {
                self.forget_passphrase(&opened.record.id)?;
                self.active_id()
                    .await?
                    .ok_or_else(|| Error::new(Code::Internal, "an authority was made and is gone"))
            }
            Err(error) => {
                // Nobody can have this root: its passphrase opens nothing.
                self.forget_passphrase(&opened.record.id)?;
                Err(error.into())
            }
        }
    }

    /// Puts a new intermediate in the place of the one that signs. What the old one signed stays valid.
    ///
    /// # Errors
    /// `MC-E006` where the passphrase does not open the root.
    pub async fn rotate_intermediate(&self, passphrase: &Passphrase) -> Result<Intermediate> {
        let standing = self.standing().await?;
        let root = self.root(&standing.active.root).await?;
        let opened = self.open_root(root, passphrase).await?;
        let intermediate = self.new_intermediate(&opened)?;
        self.activate(&intermediate, None).await?;
        Ok(intermediate)
    }

    /// Puts a new root and a new intermediate in their places. The old root certifies the new one's key, so that peers
    /// which trust only the old one go on; both are trusted from now on.
    ///
    /// # Errors
    /// `MC-E006` where the passphrase does not open the old root.
    pub async fn rotate_root(&self, passphrase: &Passphrase, next: &Passphrase) -> Result<Intermediate> {
        let standing = self.standing().await?;
        let old = self.root(&standing.active.root).await?;
        let old = self.open_root(old, passphrase).await?;
        let opened = self.new_root(next, Some(&old)).await?;
        let intermediate = self.new_intermediate(&opened)?;
        if let Err(error) = self.activate(&intermediate, Some(&opened.record)).await {
            self.forget_passphrase(&opened.record.id)?;
            return Err(error);
        }
        Ok(intermediate)
    }

    async fn activate(&self, intermediate: &Intermediate, root: Option<&Root>) -> Result<()> {
        let active = self.write(ACTIVE, ACTIVE_NAME, json!(intermediate.id).to_string(), Expect::Present);
        let new = self.write(INTERMEDIATE, &intermediate.id, json!(intermediate).to_string(), Expect::Absent);
        let root = root.map(|root| self.write(ROOT, &root.id, json!(root).to_string(), Expect::Absent));
        let writes: Vec<Write> = [active, new].into_iter().chain(root).collect();
        reached("certs:rotating");
        self.journal.write(writes).await?;
        reached("certs:rotated");
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// How it stands; made where there is none yet.
    ///
    /// # Errors
    /// Where its records cannot be read.
    pub async fn standing(&self) -> Result<Standing> {
        let active = match self.active_id().await? {
            Some(id) => id,
            None => self.create(Passphrase::Kept).await?,
        };
        let (mut intermediates, mut roots) = (self.intermediates().await?, self.roots_recorded().await?);
        intermediates.sort_by_key(|intermediate| std::cmp::Reverse(intermediate.created));
        roots.sort_by_key(|root| std::cmp::Reverse(root.created));
        let kept = roots.iter().map(|root| (root.id.clone(), kept_in(&self.state, &root.id)));
        let kept = kept.filter(|(_, path)| path.exists());
        Ok(Standing { active: self.intermediate(&active).await?, kept: kept.collect(), intermediates, roots })
    }

    /// Whether there is an authority already.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn exists(&self) -> Result<bool> {
        Ok(self.active_id().await?.is_some())
    }

    /// The certificates of all roots that have not expired, the newest first: what peers should trust.
    ///
    /// # Errors
    /// Where the records cannot be read.
    pub async fn trusted(&self) -> Result<Vec<CertificateDer<'static>>> {
        let now = self.clock.now();
        let mut roots = self.roots_recorded().await?;
        roots.sort_by_key(|root| std::cmp::Reverse(root.created));
        roots.iter().filter(|root| root.not_after > now).map(|root| first(&root.certificate)).collect()
    }

    /// Takes the passphrases of roots off this machine, that is: hands them out for the last time.
    ///
    /// # Errors
    /// Where a file cannot be read or removed.
    pub fn take_passphrase(&self, root: &str) -> Result<()> {
        self.forget_passphrase(root)
    }

    fn forget_passphrase(&self, root: &str) -> Result<()> {
        match std::fs::remove_file(kept_in(&self.state, root)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::new(Code::StateUnusable, "a passphrase cannot be taken away").because(error))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn intermediates(&self) -> Result<Vec<Intermediate>> {
        let records = self.journal.records(INTERMEDIATE, Some(&self.node)).await?;
        records.iter().map(|record| ledger::decode(&record.value)).collect()
    }

    pub(super) async fn roots_recorded(&self) -> Result<Vec<Root>> {
        let records = self.journal.records(ROOT, Some(&self.node)).await?;
        records.iter().map(|record| ledger::decode(&record.value)).collect()
    }

    pub(super) async fn intermediate(&self, id: &str) -> Result<Intermediate> {
        let record = self.journal.record(INTERMEDIATE, &self.node, id).await?;
        record
            .map(|record| ledger::decode(&record.value))
            .transpose()?
            .ok_or_else(|| missing("intermediate", id))
    }

    pub(super) async fn root(&self, id: &str) -> Result<Root> {
        let record = self.journal.record(ROOT, &self.node, id).await?;
        record.map(|record| ledger::decode(&record.value)).transpose()?.ok_or_else(|| missing("root", id))
    }

    async fn new_root(&self, passphrase: &Passphrase, before: Option<&Opened>) -> Result<Opened> {
        let key = Key::generate(KeyType::P256)?;
        let id = id_of(&key);
        let now = self.clock.now();
        let params = self.params("Root", &id, now, ROOT_LIFE, BasicConstraints::Unconstrained)?;
        let certificate = params.self_signed(key.pair()).map_err(signing)?;
        let cross = match before {
            None => None,
            Some(before) => {
                let mut params = params.clone();
                params.not_after = moment(before.record.not_after.min(now.after(ROOT_LIFE)))?;
                params.serial_number = Some(random_serial()?);
                params.use_authority_key_identifier_extension = true;
                let crossed = params.signed_by(key.pair(), &before.issuer).map_err(signing)?;
                Some(to_pem(&[crossed.der().clone()]))
            }
        };
        let (state, named, pem, with) = (self.state.clone(), id.clone(), key.to_pem(), passphrase.clone());
        let sealed = blocking(move || with.seal(&state, &named, &pem)).await?;
        let record = Root {
            id,
            certificate: to_pem(&[certificate.der().clone()]),
            cross,
            sealed,
            created: now,
            not_after: Facts::of(certificate.der())?.not_after,
        };
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key.into_pair()).map_err(signing)?;
        Ok(Opened { record, issuer })
    }

    async fn open_root(&self, record: Root, passphrase: &Passphrase) -> Result<Opened> {
        let now = self.clock.now();
        if now >= record.not_after {
            return Err(Error::new(
                Code::AuthorityInvalid,
                format!("the root `{}` expired at {}", record.id, record.not_after),
            ));
        }
        let (state, id, sealed, with) =
            (self.state.clone(), record.id.clone(), record.sealed.clone(), passphrase.clone());
        let pem = blocking(move || with.open(&state, &id, &sealed)).await?;
        let key = Key::from_pem(&pem)?;
        let certificate = first(&record.certificate)?;
        if Facts::of(&certificate)?.public != key.public() {
            return Err(Error::new(
                Code::CertificateKey,
                "what the sealed root holds is the key of another one",
            ));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key.into_pair()).map_err(signing)?;
        Ok(Opened { record, issuer })
    }

    fn new_intermediate(&self, root: &Opened) -> Result<Intermediate> {
        let key = Key::generate(KeyType::P256)?;
        let id = id_of(&key);
        let now = self.clock.now();
        let mut params =
            self.params("Intermediate", &id, now, INTERMEDIATE_LIFE, BasicConstraints::Constrained(0))?;
        params.not_after = params.not_after.min(moment(root.record.not_after)?);
        params.use_authority_key_identifier_extension = true;
        super::build::locate(&mut params, &root.record.id, self.settings.url.as_deref());
        let certificate = params.signed_by(key.pair(), &root.issuer).map_err(signing)?;
        Ok(Intermediate {
            id,
            root: root.record.id.clone(),
            certificate: to_pem(&[certificate.der().clone()]),
            key: self.sealer.hide(key.to_pem().as_bytes()),
            constraints: self.settings.constraints.clone(),
            created: now,
            not_after: Facts::of(certificate.der())?.not_after,
        })
    }

    fn params(
        &self,
        role: &str,
        id: &str,
        now: Timestamp,
        life: Duration,
        path: BasicConstraints,
    ) -> Result<CertificateParams> {
        let name = self.settings.name.clone().unwrap_or_else(|| format!("mcrun {}", self.node));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, name.clone());
        // The id tells generations apart: peers find an issuer by its name.
        params.distinguished_name.push(DnType::CommonName, format!("{name} {role} {}", &id[..8]));
        params.serial_number = Some(random_serial()?);
        params.not_before = moment(earlier(now, BACKDATED))?;
        params.not_after = moment(now.after(life))?;
        params.is_ca = IsCa::Ca(path);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Constraints::parse(&self.settings.constraints)?.extension();
        Ok(params)
    }
}

fn random_serial() -> Result<SerialNumber> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::new(Code::Internal, "this machine gives no random numbers"))?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn missing(what: &str, id: &str) -> Error {
    Error::new(Code::AuthorityInvalid, format!("there is no {what} `{id}`"))
}

/// Stretching a passphrase takes as long as it is meant to.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::ended("sealing ended early", &error))?
}
