//! Owns the account at the authority: its key is made once and kept sealed in the journal, before the authority hears of
//! it, so that a cut registration finds the same account again.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use effect::{Code, Error, Hidden, Result, Sealer};
use instant_acme::{Account, ExternalAccountKey, Key, NewAccount};
use journal::{Expect, Journal, Write};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::Settings;
use super::session::{Session, Traffic, ask};
use crate::Secrets;

const KIND: &str = "acme-client-account";

/// Where accounts are kept.
pub(super) struct Accounts {
    pub(super) journal: Journal,
    pub(super) node: String,
    pub(super) sealer: Arc<Sealer>,
    pub(super) secrets: Secrets,
    /// Held while an account is looked up or made: two orders at once make one.
    pub(super) making: Mutex<()>,
}

/// An account as it is recorded.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The key, a PKCS #8 in base64, sealed.
    key: Hidden,
    /// Its address at the authority, once it is known there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Whom the authority writes to.
    contact: Vec<String>,
}

impl Accounts {
    /// The account, made where there is none.
    pub(super) async fn open(&self, settings: &Settings, traffic: Traffic) -> Result<Session> {
        let _one = self.making.lock().await;
        let directory = traffic.directory.to_string();
        let mut kept = match self.read(&directory).await? {
            Some(kept) => kept,
            None => self.begin(settings, &directory).await?,
        };
        let account = match &kept.url {
            Some(url) => self.known(&kept, url, &traffic).await?,
            None => self.register(settings, &mut kept, &traffic).await?,
        };
        if kept.contact != settings.contact() {
            let contact = settings.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            ask!(traffic, "the contact", account.update_contacts(&contact))?;
            kept.contact = settings.contact();
            self.write(&directory, &kept, Expect::Any).await?;
        }
        Ok(Session { account, traffic })
    }

    /// Forgets where the account is, for an authority that lost it; the key stays.
    pub(super) async fn forget(&self, directory: &str) -> Result<()> {
        let _one = self.making.lock().await;
        let Some(mut kept) = self.read(directory).await? else { return Ok(()) };
        kept.url = None;
        self.write(directory, &kept, Expect::Any).await
    }

    /// Makes the key and writes it down before the authority hears of it.
    async fn begin(&self, settings: &Settings, directory: &str) -> Result<Kept> {
        settings.check_terms()?;
        let (_, key) = Key::generate_pkcs8()
            .map_err(|error| Error::new(Code::Internal, "no key could be made").because(error))?;
        let kept = Kept { key: self.sealed(&key), url: None, contact: Vec::new() };
        match self.write(directory, &kept, Expect::Absent).await {
            Ok(()) => Ok(kept),
            // Another process was faster: its key counts.
            Err(error) => self.read(directory).await?.ok_or(error),
        }
    }

    async fn register(&self, settings: &Settings, kept: &mut Kept, traffic: &Traffic) -> Result<Account> {
        settings.check_terms()?;
        let directory = traffic.directory.to_string();
        let what = "an account";
        let (account, url) = match &settings.eab {
            None => {
                let (account, _) = ask!(
                    traffic,
                    what,
                    builder(traffic).create_from_key(self.opened(kept)?, directory.clone())
                )?;
                let url = account.id().to_owned();
                (account, url)
            }
            Some(binding) => {
                // The library takes no key of ours together with a binding: what is registered is written down at once.
                let secret = self.secrets.value(&binding.key).await?;
                let external = ExternalAccountKey::new(binding.kid.clone(), &decoded(&binding.key, &secret)?);
                let contact = settings.contact();
                let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
                let wanted = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let (account, credentials) = ask!(
                    traffic,
                    what,
                    builder(traffic).create(&wanted, directory.clone(), Some(&external))
                )?;
                kept.key = self.sealed(credentials.private_key());
                kept.contact = settings.contact();
                let url = account.id().to_owned();
                (account, url)
            }
        };
        kept.url = Some(url);
        self.write(&directory, kept, Expect::Any).await?;
        Ok(account)
    }

    async fn known(&self, kept: &Kept, url: &str, traffic: &Traffic) -> Result<Account> {
        let key = self.key(kept)?;
        ask!(
            traffic,
            "its directory",
            builder(traffic).from_parts(
                url.to_owned(),
                PrivatePkcs8KeyDer::from(key.as_slice()),
                traffic.directory.to_string()
            )
        )
    }

    async fn read(&self, directory: &str) -> Result<Option<Kept>> {
        let record = self.journal.record(KIND, &self.node, directory).await.map_err(journal_error)?;
        let broken = |error| {
            Error::new(Code::JournalBroken, "a recorded ACME account cannot be decoded").because(error)
        };
        record.map(|record| serde_json::from_str(&record.value).map_err(broken)).transpose()
    }

    async fn write(&self, directory: &str, kept: &Kept, expect: Expect) -> Result<()> {
        let value = serde_json::to_string(kept).map_err(|error| {
            Error::new(Code::Internal, "an ACME account cannot be encoded").because(error)
        })?;
        let write = Write {
            kind: KIND.into(),
            node: self.node.clone(),
            name: directory.to_owned(),
            value: Some(value),
            expect,
        };
        self.journal.write(vec![write]).await.map_err(journal_error)
    }

    fn sealed(&self, key: &PrivatePkcs8KeyDer<'_>) -> Hidden {
        let text = Zeroizing::new(STANDARD.encode(key.secret_pkcs8_der()));
        self.sealer.hide(text.as_bytes())
    }

    fn key(&self, kept: &Kept) -> Result<Zeroizing<Vec<u8>>> {
        let text = self.sealer.open_hidden(&kept.key)?;
        STANDARD.decode(&*text).map(Zeroizing::new).map_err(|_| unusable())
    }

    fn opened(&self, kept: &Kept) -> Result<(Key, PrivateKeyDer<'static>)> {
        let der = PrivatePkcs8KeyDer::from(self.key(kept)?.to_vec());
        let key = Key::from_pkcs8_der(der.clone_key()).map_err(|_| unusable())?;
        Ok((key, PrivateKeyDer::Pkcs8(der)))
    }
}

fn builder(traffic: &Traffic) -> instant_acme::AccountBuilder {
    Account::builder_with_http(traffic.client())
}

fn unusable() -> Error {
    Error::new(Code::JournalBroken, "the recorded key of an ACME account cannot be used")
}

fn journal_error(error: journal::Error) -> Error {
    error.into()
}

/// Authorities hand the key of a binding out in base64url (RFC 8555, section 7.3.4).
fn decoded(name: &str, text: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let decoded =
        URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).or_else(|_| STANDARD.decode(text));
    decoded.map(Zeroizing::new).map_err(|_| {
        Error::new(Code::Config, format!("the secret `{name}` is not the key of an account binding"))
            .hint("it is the HMAC key in base64url, as the authority shows it")
    })
}
