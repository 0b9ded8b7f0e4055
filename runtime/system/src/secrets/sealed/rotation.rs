//! Owns changing the keys of the sealed store: a new key that every row is sealed with anew, a batch at a time, and sealing
//! the keys themselves with something else. Killed anywhere, every row stays readable, and the next call goes on.

use effect::{Code, Error, Result};
use journal::{Expect, Write};

use super::record::{self, Head, Row, SealedKey, of_row_name};
use super::{KEY, Settings, VERSION, Vault, broken, removal};

/// How many rows are sealed anew in one commit.
const BATCH: usize = 64;

/// How the keys stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How many keys there are: more than one while a rotation is not finished.
    pub keys: usize,
    /// What opens them; nothing while there are none.
    pub by: Option<&'static str>,
}

impl Vault {
    /// How the keys stand.
    ///
    /// # Errors
    /// `MC-P015` where one cannot be read.
    pub async fn standing(&self) -> Result<Standing> {
        let keys = self.journal.records(KEY, Some(&self.node)).await?;
        let newest = keys.last().map(SealedKey::of).transpose()?;
        Ok(Standing { keys: keys.len(), by: newest.map(|key| key.by()) })
    }

    /// Makes a new key and seals every row with it; one that was cut short before is finished instead. Returns how many
    /// rows were sealed anew.
    ///
    /// # Errors
    /// `MC-P014` and `MC-P015` as opening a secret; rows that are sealed by then stay so.
    pub async fn rotate_key(&self) -> Result<usize> {
        let keys = self.journal.records(KEY, Some(&self.node)).await?;
        let newest = match keys.as_slice() {
            [] => return Ok(0),
            // Whoever seals a row expects its key to be as it was: with the mark of the older one nothing is sealed with it
            // from here on.
            [only] => {
                self.key(&only.name).await?;
                let number = only.name.parse::<u32>().ok().and_then(|number| number.checked_add(1));
                let number =
                    number.ok_or_else(|| Error::new(Code::SecretBroken, "the number of a key is none"))?;
                let write = self.new_key(number).await?;
                let name = write.name.clone();
                let retired = SealedKey { retired: true, ..SealedKey::of(only)? };
                let older = Write {
                    kind: KEY.into(),
                    node: self.node.clone(),
                    name: only.name.clone(),
                    value: Some(record::text(&retired)?),
                    expect: Expect::Value(only.value.as_str().into()),
                };
                match self.write(vec![write, older]).await? {
                    Some(()) => name,
                    None => return Err(beside()),
                }
            }
            [.., newest] => newest.name.clone(),
        };
        journal::reached("secrets:key-made");
        let mut sealed = 0;
        // Once more behind the last row: only where none is left is an older key nobody's.
        while let count @ 1.. = self.seal_all(&newest).await? {
            sealed += count;
        }
        let older = self.journal.records(KEY, Some(&self.node)).await?;
        let older = older.iter().filter(|key| key.name < newest);
        let writes: Vec<Write> = older.map(|key| removal(KEY, &self.node, &key.name)).collect();
        if !writes.is_empty() {
            self.journal.write(writes).await?;
        }
        let mut opened = self.keys.lock().await;
        opened.retain(|name, _| *name == newest);
        Ok(sealed)
    }

    /// Seals every row anew that is sealed with another key than `newest`, and returns how many there were; those that
    /// others changed meanwhile are left for the next time.
    async fn seal_all(&self, newest: &str) -> Result<usize> {
        let key = self.key(newest).await?;
        let heads = self.heads().await?;
        let mut writes = Vec::new();
        let mut count = 0;
        for record in self.journal.records(VERSION, Some(&self.node)).await? {
            let Some((name, version)) = of_row_name(&record.name) else { continue };
            // A row without its secret is nobody's: it is never opened again.
            let Some(head) = heads.get(name).filter(|head| holds(head, version)) else { continue };
            let row = Row::of(&record).ok_or_else(|| broken(name, version, "its row cannot be read"))?;
            if row.key == newest {
                continue;
            }
            let place = record::place(&self.node, name, version, &row.key, &head.to);
            let value = record::open(&*self.key(&row.key).await?, &place, &row.sealed);
            let value = value.ok_or_else(|| broken(name, version, "it was altered, or belongs elsewhere"))?;
            writes.push(self.sealed_row(name, version, (newest, &key), &head.to, &value, &record)?);
            count += 1;
            if writes.len() == BATCH {
                self.write(std::mem::take(&mut writes)).await?;
                journal::reached("secrets:resealed");
            }
        }
        if !writes.is_empty() {
            self.write(writes).await?;
            journal::reached("secrets:resealed");
        }
        Ok(count)
    }

    /// Seals the keys with what the settings name, in one commit; `from` names what opens them now. Returns how many.
    ///
    /// # Errors
    /// `MC-P014` where `from` does not open them, or what is named now cannot be used.
    pub async fn rewrap(&self, from: &Settings) -> Result<usize> {
        let keys = self.journal.records(KEY, Some(&self.node)).await?;
        let mut writes = Vec::new();
        for record in &keys {
            let place = (self.node.as_str(), record.name.as_str());
            let recorded = SealedKey::of(record)?;
            let key = recorded.open(from, &self.sealer, place).await?;
            let sealed = SealedKey::seal(&self.settings, &self.sealer, place, &key).await?;
            let sealed = SealedKey { retired: recorded.retired, ..sealed };
            writes.push(Write {
                kind: KEY.into(),
                node: self.node.clone(),
                name: record.name.clone(),
                value: Some(record::text(&sealed)?),
                expect: Expect::Value(record.value.as_str().into()),
            });
        }
        journal::reached("secrets:rewrapping");
        match self.write(writes).await? {
            Some(()) => Ok(keys.len()),
            None => Err(beside()),
        }
    }
}

fn holds(head: &Head, version: u32) -> bool {
    head.versions.iter().any(|kept| kept.version == version)
}

fn beside() -> Error {
    Error::new(Code::Locked, "somebody else changes the keys of the sealed store")
        .hint("look with `mcrun secrets list`, then try again")
        .retryable()
}
