//! Owns how secrets leave the machine and come back: an age file in ASCII armour, for keys or under a passphrase, which the
//! program `age` opens as well (<https://c2sp.org/age>).

use std::io::{Read as _, Write as _};
use std::iter;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, Identity, scrypt, x25519};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use effect::{Code, Error, Result};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::record::{self, HEAD, Head, Version};
use super::{LARGEST, MOST_SECRETS, MOST_VERSIONS, Put, Vault, check_destinations, check_name, check_value};

/// What the program `age` uses: 2^18 rounds of scrypt take 256 MiB and about a second.
const WORK_FACTOR: u8 = 18;
/// A file says how much work opening it is: a hostile one would ask for all memory and for days.
const MOST_WORK: u8 = 20;
/// No export is larger, in bytes.
const LARGEST_FILE: usize = 64 << 20;
const FORM: u32 = 1;

/// Who can open an export.
pub enum Recipients {
    /// Whoever has the identity of one of these: `age1…`.
    Keys(Vec<String>),
    /// Whoever knows the passphrase.
    Passphrase(Zeroizing<String>),
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    mcrun_secrets: u32,
    secrets: Vec<Exported>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exported {
    name: String,
    to: Vec<String>,
    versions: Vec<ExportedVersion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedVersion {
    version: u32,
    at: effect::Timestamp,
    by: String,
    value: String,
}

impl Drop for ExportedVersion {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl Vault {
    /// Every secret with every version, sealed. Returns how many secrets there are in it.
    ///
    /// # Errors
    /// `MC-P014` and `MC-P015` as opening a secret; `MC-P016` where a recipient is none, or the export too large.
    pub async fn export(&self, recipients: Recipients) -> Result<(String, usize)> {
        let mut secrets = Vec::new();
        let mut size = 0;
        for (name, head) in self.heads().await? {
            let mut versions = Vec::new();
            for kept in &head.versions {
                let (_, value) = self.open_row(&name, &head, kept.version).await?;
                size += value.len();
                if size > LARGEST_FILE / 4 {
                    return Err(unusable(format!("the secrets have more than {} bytes", LARGEST_FILE / 4)));
                }
                versions.push(ExportedVersion {
                    version: kept.version,
                    at: kept.at,
                    by: kept.by.clone(),
                    value: STANDARD_NO_PAD.encode(&*value),
                });
            }
            secrets.push(Exported { name, to: head.to, versions });
        }
        let count = secrets.len();
        let export = Export { mcrun_secrets: FORM, secrets };
        // Room beforehand: a vector that grows leaves copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(size * 2 + count * 4096));
        serde_json::to_writer(&mut *plain, &export)
            .map_err(|error| Error::new(Code::Internal, "the export cannot be encoded").because(error))?;
        drop(export);
        let sealed = tokio::task::spawn_blocking(move || seal(&plain, &recipients)).await;
        let sealed = sealed.map_err(|error| Error::ended("an export ended early", &error));
        Ok((sealed??, count))
    }

    /// Takes over what was exported, all of it or nothing. Returns how many secrets there were in it.
    ///
    /// # Errors
    /// `MC-P016` where the file is no export, is damaged or sealed for somebody else, or where it has a secret that is here
    /// already and `replace` is not said.
    pub async fn import(&self, sealed: String, opener: Opener, by: &str, replace: bool) -> Result<usize> {
        let opened = tokio::task::spawn_blocking(move || open(&sealed, &opener)).await;
        let opened = opened.map_err(|error| Error::ended("an import ended early", &error));
        let plain = opened??;
        let export: Export = serde_json::from_slice(&plain).map_err(|error| {
            // Its words could repeat what is in the file.
            unusable("what is in it is no export of secrets").because(format!("line {}", error.line()))
        })?;
        let heads = self.heads().await?;
        export.check()?;
        let here: Vec<&str> = export.names().filter(|name| heads.contains_key(*name)).collect();
        if let (Some(first), false) = (here.first(), replace) {
            let more = if here.len() > 1 { format!(" and {} more", here.len() - 1) } else { String::new() };
            return Err(unusable(format!("secret `{first}`{more} is here already"))
                .hint("`--replace` gives it the newest value of the file, as a new version"));
        }
        let mut writes = Vec::new();
        let (key_name, guard) = self.active_key().await?;
        let key = self.key(&key_name).await?;
        for secret in &export.secrets {
            let versions = secret.opened()?;
            if heads.contains_key(&secret.name) {
                continue;
            }
            let mut head = Head { to: secret.to.clone(), ..Head::default() };
            for (version, value) in secret.versions.iter().zip(&versions) {
                head.latest = version.version;
                let kept = Version {
                    version: version.version,
                    at: version.at,
                    by: version.by.clone(),
                    tag: self.sealer.tag(value),
                };
                head.versions.push(kept);
                writes.push(self.new_row(
                    &secret.name,
                    version.version,
                    (&key_name, &key),
                    &head.to,
                    value,
                )?);
            }
            writes.push(Write {
                kind: HEAD.into(),
                node: self.node.clone(),
                name: secret.name.clone(),
                value: Some(record::text(&head)?),
                expect: Expect::Absent,
            });
        }
        writes.push(guard);
        if self.write(writes).await?.is_none() {
            return Err(Error::new(Code::Locked, "the sealed store was changed meanwhile").retryable());
        }
        for secret in export.secrets.iter().filter(|secret| heads.contains_key(&secret.name)) {
            if let Some(value) = secret.opened()?.last() {
                let put = Put { to: Some(secret.to.clone()), by: by.to_owned(), keep: None, is_there: false };
                self.put(&secret.name, value, &put).await?;
            }
        }
        Ok(export.secrets.len())
    }
}

impl Export {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.name.as_str())
    }

    /// Refuses what could not have been exported: whoever sealed the file need not have been mcrun.
    fn check(&self) -> Result<()> {
        if self.mcrun_secrets != FORM {
            return Err(unusable(format!("it has the form {}, this mcrun knows {FORM}", self.mcrun_secrets)));
        }
        if self.secrets.len() > MOST_SECRETS {
            return Err(unusable(format!("it has more than {MOST_SECRETS} secrets")));
        }
        for secret in &self.secrets {
            check_name(&secret.name)?;
            check_destinations(&secret.name, &secret.to)?;
            let numbers: Vec<u32> = secret.versions.iter().map(|version| version.version).collect();
            let in_order =
                numbers.windows(2).all(|two| two[0] < two[1]) && numbers.first().is_some_and(|n| *n > 0);
            if !in_order || numbers.len() > MOST_VERSIONS as usize {
                return Err(unusable(format!("the versions of secret `{}` make no sense", secret.name)));
            }
        }
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        if names.windows(2).any(|two| two[0] == two[1]) {
            return Err(unusable("it has a secret twice"));
        }
        Ok(())
    }
}

impl Exported {
    fn opened(&self) -> Result<Vec<Zeroizing<Vec<u8>>>> {
        let values = self.versions.iter().map(|version| {
            let no_value = || unusable(format!("the value of secret `{}` is none", self.name));
            if version.value.len() > LARGEST * 2 {
                return Err(no_value());
            }
            let value = STANDARD_NO_PAD.decode(&version.value).map(Zeroizing::new).map_err(|_| no_value())?;
            check_value(&value).map(|()| value)
        });
        values.collect()
    }
}

/// What opens an export.
pub enum Opener {
    /// The text of an identity file: `AGE-SECRET-KEY-1…`, comments and empty lines between.
    Identities(Zeroizing<String>),
    /// The passphrase.
    Passphrase(Zeroizing<String>),
}

fn seal(plain: &[u8], recipients: &Recipients) -> Result<String> {
    let failed =
        |error: std::io::Error| Error::new(Code::Internal, "the export cannot be sealed").because(error);
    let none = || unusable("nobody could open it: there is no recipient");
    let encryptor = match recipients {
        Recipients::Passphrase(passphrase) if passphrase.is_empty() => {
            return Err(unusable("an export is not sealed with an empty passphrase"));
        }
        Recipients::Passphrase(passphrase) => {
            let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.as_str().to_owned()));
            recipient.set_work_factor(WORK_FACTOR);
            Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient)).map_err(|_| none())?
        }
        Recipients::Keys(keys) => {
            let keys = keys.iter().map(|key| {
                key.parse::<x25519::Recipient>().map_err(|why| {
                    unusable(format!("`{}` is no recipient of age", crate::exec::clip(key))).because(why)
                })
            });
            let keys: Vec<x25519::Recipient> = keys.collect::<Result<_>>()?;
            Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))
                .map_err(|_| none())?
        }
    };
    let mut text = Vec::new();
    let armour = ArmoredWriter::wrap_output(&mut text, Format::AsciiArmor).map_err(failed)?;
    let mut writer = encryptor.wrap_output(armour).map_err(failed)?;
    writer.write_all(plain).map_err(failed)?;
    writer.finish().and_then(ArmoredWriter::finish).map_err(failed)?;
    String::from_utf8(text).map_err(|error| Error::new(Code::Internal, "armour is not text").because(error))
}

fn open(sealed: &str, opener: &Opener) -> Result<Zeroizing<Vec<u8>>> {
    if sealed.len() > LARGEST_FILE {
        return Err(unusable(format!("it has more than {LARGEST_FILE} bytes")));
    }
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed.as_bytes())).map_err(refused)?;
    let identities: Vec<Box<dyn Identity>> = match opener {
        Opener::Passphrase(passphrase) => {
            if !decryptor.is_scrypt() {
                return Err(
                    unusable("it is sealed for a key, not under a passphrase").hint("`--identity FILE`")
                );
            }
            let mut identity = scrypt::Identity::new(SecretString::from(passphrase.as_str().to_owned()));
            identity.set_max_work_factor(MOST_WORK);
            vec![Box::new(identity)]
        }
        Opener::Identities(text) => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let identities = lines.map(|line| {
                line.parse::<x25519::Identity>()
                    .map(|identity| Box::new(identity) as Box<dyn Identity>)
                    .map_err(|_| unusable("the identity file has a line that is no identity of age"))
            });
            identities.collect::<Result<_>>()?
        }
    };
    let reader = decryptor.decrypt(identities.iter().map(|identity| &**identity)).map_err(refused)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let most = LARGEST_FILE as u64;
    let read = reader.take(most + 1).read_to_end(&mut plain);
    read.map_err(|error| unusable("it is damaged").because(error))?;
    if plain.len() > LARGEST_FILE {
        return Err(unusable(format!("it holds more than {LARGEST_FILE} bytes")));
    }
    Ok(plain)
}

fn unusable(why: impl std::fmt::Display) -> Error {
    Error::new(Code::SecretsTransfer, format!("the secrets cannot be passed on: {why}"))
}

/// The words of the library change with the locale, so the causes that matter are ours.
fn refused(error: DecryptError) -> Error {
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            unusable("the passphrase does not open it")
        }
        DecryptError::NoMatchingKeys => unusable("it is sealed for somebody else"),
        DecryptError::ExcessiveWork { required, .. } => unusable(format!(
            "opening it would take 2^{required} rounds of scrypt, more than the 2^{MOST_WORK} allowed"
        )),
        DecryptError::InvalidMac => unusable("its header was changed after it was sealed"),
        DecryptError::Io(error) => unusable("it is damaged").because(error),
        _ => unusable("it is not in the form of age"),
    }
}
