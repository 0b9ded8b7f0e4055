//! Owns how a whole authority is carried to another machine: one file, sealed with a passphrase.

use effect::{Code, Error, Result};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::Authority;
use super::hierarchy::{ACTIVE, ACTIVE_NAME, INTERMEDIATE, Intermediate, ROOT, Root};
use super::ledger::{self, ISSUED, Issuance};
use crate::key::Key;
use crate::transfer;

const FORMAT: u32 = 1;
/// How many records are written at once.
const AT_ONCE: usize = 1000;

/// An authority in the clear. Roots stay sealed under their own passphrases.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Portable {
    format: u32,
    active: String,
    roots: Vec<Root>,
    intermediates: Vec<WithKey>,
    issued: Vec<Issuance>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithKey {
    intermediate: Intermediate,
    key: String,
}

/// What came with an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// How many roots.
    pub roots: u64,
    /// How many intermediates.
    pub intermediates: u64,
    /// How many certificates it had signed.
    pub issued: u64,
}

impl Authority {
    /// The whole authority, sealed with `passphrase` (age, armoured). The roots within stay sealed under their own.
    ///
    /// # Errors
    /// Where its records cannot be read.
    pub async fn export(&self, passphrase: Zeroizing<String>) -> Result<String> {
        let standing = self.standing().await?;
        let with_key = |intermediate: Intermediate| {
            let key = intermediate.key(&self.sealer)?.to_pem().to_string();
            Ok(WithKey { intermediate, key })
        };
        let issued = self.journal.records(ISSUED, Some(&self.node)).await?;
        let portable = Portable {
            format: FORMAT,
            active: standing.active.id,
            roots: standing.roots,
            intermediates: standing.intermediates.into_iter().map(with_key).collect::<Result<_>>()?,
            issued: issued.iter().map(|record| ledger::decode(&record.value)).collect::<Result<_>>()?,
        };
        let plain = Zeroizing::new(json!(portable).to_string());
        in_background(move || transfer::seal(plain.as_bytes(), &passphrase, None)).await
    }

    /// Takes over an authority that was exported, where there is none.
    ///
    /// # Errors
    /// `MC-E006` for a wrong passphrase; `MC-E009` where the file does not fit or there is an authority already.
    pub async fn import(&self, sealed: String, passphrase: Zeroizing<String>) -> Result<Imported> {
        if self.exists().await? {
            return Err(Error::new(Code::AuthorityTransfer, "there is an authority here already"));
        }
        let plain = in_background(move || transfer::open(&sealed, &passphrase)).await?;
        let portable: Portable = serde_json::from_slice(&plain)
            .map_err(|error| unfit("it is no export of an authority").because(shape_of(&error)))?;
        if portable.format != FORMAT {
            return Err(unfit("it was written by another version of mcrun"));
        }
        let imported = Imported {
            roots: portable.roots.len() as u64,
            intermediates: portable.intermediates.len() as u64,
            issued: portable.issued.len() as u64,
        };
        self.take_over(portable).await?;
        Ok(imported)
    }

    /// Issued certificates come first and which one signs last: an import that was cut is no authority yet, and begins
    /// anew.
    async fn take_over(&self, portable: Portable) -> Result<()> {
        for part in portable.issued.chunks(AT_ONCE) {
            let writes = part
                .iter()
                .flat_map(|issued| issued.taken_over(&self.node))
                .map(|write| Write { expect: Expect::Any, ..write });
            self.journal.write(writes.collect()).await?;
        }
        if !portable.intermediates.iter().any(|each| each.intermediate.id == portable.active) {
            return Err(unfit("the intermediate that signs is missing"));
        }
        let mut writes =
            vec![self.write(ACTIVE, ACTIVE_NAME, json!(portable.active).to_string(), Expect::Absent)];
        for WithKey { mut intermediate, key } in portable.intermediates {
            let key = Key::from_pem(&Zeroizing::new(key))?;
            let facts = crate::certificate::Facts::of(&intermediate.certificate()?)?;
            if facts.public != key.public() || !facts.is_authority {
                return Err(unfit("an intermediate does not fit its key"));
            }
            intermediate.key = self.sealer.hide(key.to_pem().as_bytes());
            writes.push(self.write(
                INTERMEDIATE,
                &intermediate.id,
                json!(intermediate).to_string(),
                Expect::Any,
            ));
        }
        for root in portable.roots {
            writes.push(self.write(ROOT, &root.id, json!(root).to_string(), Expect::Any));
        }
        match self.journal.write(writes).await {
            Err(journal::Error::Conflict { .. }) => {
                Err(Error::new(Code::AuthorityTransfer, "an authority was made here meanwhile"))
            }
            written => Ok(written?),
        }
    }
}

fn unfit(why: &str) -> Error {
    Error::new(Code::AuthorityTransfer, format!("the file cannot be taken in: {why}"))
}

/// Where the text broke off, without a piece of it.
fn shape_of(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::ended("sealing ended early", &error))?
}
