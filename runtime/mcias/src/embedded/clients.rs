//! Owns clients of single sign-on, and their secrets: each is made here, kept sealed for whoever takes it to the client, and
//! compared by its hash.

use aws_lc_rs::constant_time;
use effect::{Code, Error, Hidden, Result, Secret};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Embedded;
use crate::name::Name;
use crate::random;
use crate::secrets;
use crate::sso::{Client, Type};
use crate::store::{CLIENT, CODE, Row, expected};
use crate::witness::Event;

const MOST_CLIENTS: usize = 1000;

/// A client as it is recorded.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    client: Client,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
}

/// The secret of a client.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// SHA-256: 256 random bits need no slow hash.
    hash: String,
    sealed: Hidden,
}

impl Record {
    fn shown(self) -> Client {
        let handle = |kept: Kept| {
            let name = secrets::of_client(&self.client.id);
            Secret::of_version(&name, Some(self.client.secret_version), kept.sealed.tag().to_owned())
        };
        Client { secret: self.kept.map(handle), ..self.client }
    }
}

impl Embedded {
    pub(super) async fn client(&self, id: &Name) -> Result<Option<Client>> {
        Ok(self.store.read::<Record>(CLIENT, id.as_str()).await?.map(|row| row.value.shown()))
    }

    pub(super) async fn every_client(&self) -> Result<Vec<Client>> {
        let records: Vec<Record> = self.store.all(CLIENT).await?;
        let mut clients: Vec<Client> = records.into_iter().map(Record::shown).collect();
        clients.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(clients)
    }

    pub(super) async fn put_client(
        &self,
        before: Option<&Client>,
        after: Option<&Client>,
    ) -> Result<Option<Client>> {
        let Some(id) = after.or(before).map(|client| &client.id) else { return Ok(None) };
        if let Some(after) = after {
            after.check()?;
            if before.is_none() && self.store.all::<Record>(CLIENT).await?.len() >= MOST_CLIENTS {
                let message = format!("there are {MOST_CLIENTS} clients, and that is the most");
                return Err(Error::new(Code::SsoClient, message));
            }
        }
        let changed = || {
            let message = format!("the client `{id}` was changed by somebody else meanwhile");
            Error::new(Code::AccountChanged, message).retryable()
        };
        let found: Option<Row<Record>> = self.store.read(CLIENT, id.as_str()).await?;
        let expect = expected(found.as_ref());
        let kept = found.as_ref().and_then(|row| row.value.kept.clone());
        let found = found.map(|row| row.value.shown());
        if found.as_ref() != before {
            return Err(changed());
        }
        let record = match after {
            Some(after) => Some(self.recorded(before, after, kept)?),
            None => None,
        };
        let mut writes = match &record {
            Some(record) => vec![self.store.write(CLIENT, id.as_str(), record, expect)?],
            None => vec![self.store.removal(CLIENT, id.as_str(), expect)],
        };
        // Codes of one that is gone, or that is another by now, are none.
        writes.extend(self.removals_of_codes(id).await?);
        if !self.store.commit(writes).await? {
            return Err(changed());
        }
        let what = match (before, after) {
            (None, _) => "created",
            (_, None) => "removed",
            _ => "changed",
        };
        self.tell(Event::ClientChanged { client: id.clone(), what }).await?;
        Ok(record.map(Record::shown))
    }

    fn recorded(&self, before: Option<&Client>, after: &Client, kept: Option<Kept>) -> Result<Record> {
        let is_same = before.is_some_and(|before| before.secret_version == after.secret_version);
        let kept = match (after.kind, kept.filter(|_| is_same)) {
            (Type::Public, _) => None,
            (Type::Confidential, Some(kept)) => Some(kept),
            (Type::Confidential, None) => {
                let secret = Zeroizing::new(random::token::<32>()?);
                let hash = random::encoded(&random::sha256(secret.as_bytes()));
                Some(Kept { hash, sealed: self.sealer.hide(secret.as_bytes()) })
            }
        };
        Ok(Record { client: Client { secret: None, ..after.clone() }, kept })
    }

    async fn removals_of_codes(&self, client: &Name) -> Result<Vec<Write>> {
        let prefix = format!("{client}/");
        let names = self.code_names(&prefix).await?;
        Ok(names.iter().map(|name| self.store.removal(CODE, name, Expect::Any)).collect())
    }

    pub(super) async fn secret_of_client(&self, id: &Name) -> Result<(u32, Zeroizing<Vec<u8>>)> {
        let none = || Error::new(Code::SsoClient, format!("there is no client `{id}` with a secret"));
        let row: Option<Row<Record>> = self.store.read(CLIENT, id.as_str()).await?;
        let record = row.map(|row| row.value).ok_or_else(none)?;
        let kept = record.kept.ok_or_else(none)?;
        Ok((record.client.secret_version, self.sealer.open_hidden(&kept.sealed)?))
    }

    /// The client, where it proves that it is the one. A public client has nothing to prove it by.
    pub(super) async fn proven_client(&self, id: &str, secret: Option<&str>) -> Result<Option<Client>> {
        let Some(name) = id.parse::<Name>().ok().filter(|name| name.as_str() == id) else { return Ok(None) };
        let Some(row) = self.store.read::<Record>(CLIENT, name.as_str()).await? else { return Ok(None) };
        let is_it = match (&row.value.kept, secret) {
            (Some(kept), Some(secret)) => {
                let hash = random::encoded(&random::sha256(secret.as_bytes()));
                constant_time::verify_slices_are_equal(kept.hash.as_bytes(), hash.as_bytes()).is_ok()
            }
            (None, None) => row.value.client.kind == Type::Public,
            _ => false,
        };
        Ok(is_it.then(|| row.value.shown()))
    }
}
