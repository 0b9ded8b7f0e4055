//! Owns the sealed store: secrets that lie in the database, each version encrypted by itself and bound to its place. Leaves
//! where its key comes from to [`key`], changing keys to [`rotation`], leaving the machine to [`transfer`], and what runs
//! ask for to the store of secrets around it.

mod key;
mod record;
mod rotation;
mod transfer;
mod uses;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex as Lock, PoisonError};

use effect::{Code, Error, Result, Sealer};
use globset::GlobMatcher;
use journal::{Expect, Journal, Record, Write};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

pub use key::Settings;
pub use record::{Head, Version};
pub use rotation::Standing;
pub use transfer::{Opener, Recipients};
pub use uses::Use;

use key::DataKey;
use record::{HEAD, KEY, Row, SealedKey, VERSION, row_name};

/// A larger secret is a mistake.
pub(super) const LARGEST: usize = 64 * 1024;
/// More secrets are a mistake, too.
const MOST_SECRETS: usize = 10_000;
/// How many destinations one may list, and how long each may be.
const MOST_DESTINATIONS: usize = 64;
const LONGEST_DESTINATION: usize = 1024;
const LONGEST_NAME: usize = 128;
/// No secret keeps more versions.
pub(super) const MOST_VERSIONS: u32 = 100;
/// How often a change is tried while others change the same rows.
const ATTEMPTS: usize = 64;

/// The sealed store of one node.
pub struct Vault {
    journal: Journal,
    node: String,
    sealer: Arc<Sealer>,
    settings: Settings,
    /// What is recorded of each secret, as it was last looked at.
    index: Lock<BTreeMap<String, Known>>,
    /// The keys that were opened, by their name.
    keys: Mutex<BTreeMap<String, Arc<DataKey>>>,
}

/// What was last seen of a secret.
struct Known {
    destinations: Vec<GlobMatcher>,
}

/// A value that was opened.
pub struct Opened {
    /// Which version it is.
    pub version: u32,
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
}

/// How a value is put into the store.
#[derive(Debug, Clone)]
pub struct Put {
    /// Where it may go from now on; as before unless given, and nowhere where it is new.
    pub to: Option<Vec<String>>,
    /// Who puts it there, `user:root`.
    pub by: String,
    /// How many versions are kept, this one among them; as configured unless given.
    pub keep: Option<u32>,
    /// Whether it must be there already.
    pub is_there: bool,
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vault").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Vault {
    /// The store of `node`. Nothing is read and no key opened before it is needed.
    #[must_use]
    pub fn new(journal: Journal, node: &str, sealer: Arc<Sealer>, settings: Settings) -> Self {
        let (index, keys) = (Lock::default(), Mutex::default());
        Self { journal, node: node.to_owned(), sealer, settings, index, keys }
    }

    /// Every secret, by name. What it says of them is known to [`Vault::may_go`] from then on.
    ///
    /// # Errors
    /// `MC-P015` where one is damaged, and what reading the journal brings.
    pub async fn heads(&self) -> Result<BTreeMap<String, Head>> {
        let mut heads = BTreeMap::new();
        for record in self.journal.records(HEAD, Some(&self.node)).await? {
            heads.insert(record.name.clone(), Head::of(&record)?);
        }
        let known = heads.iter().map(|(name, head)| Ok((name.clone(), Known::of(name, head)?)));
        *self.lock() = known.collect::<Result<_>>()?;
        Ok(heads)
    }

    /// Looks again at every secret. One that is damaged is an error where it is used.
    ///
    /// # Errors
    /// What reading the journal brings.
    pub async fn refresh(&self) -> Result<()> {
        let records = self.journal.records(HEAD, Some(&self.node)).await?;
        let known = records.iter().filter_map(|record| {
            let known = Head::of(record).and_then(|head| Known::of(&record.name, &head));
            Some((record.name.clone(), known.ok()?))
        });
        *self.lock() = known.collect();
        Ok(())
    }

    /// Looks again at one secret; nothing where it is not there.
    pub(super) async fn look(&self, name: &str) -> Result<Option<Head>> {
        Ok(self.head(name).await?.map(|(head, _)| head))
    }

    async fn head(&self, name: &str) -> Result<Option<(Head, Record)>> {
        let Some(record) = self.journal.committed_record(HEAD, &self.node, name).await? else {
            self.lock().remove(name);
            return Ok(None);
        };
        let head = Head::of(&record)?;
        self.lock().insert(name.to_owned(), Known::of(name, &head)?);
        Ok(Some((head, record)))
    }

    /// Whether `name` was there when it was last looked at.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// The known name that is nearest to `name`.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let index = self.lock();
        effect::policy::nearest(name, index.keys().map(String::as_str)).map(str::to_owned)
    }

    /// Whether `name` may go to `destination`, as far as was last looked at.
    pub(super) fn may_go(&self, name: &str, destination: &str) -> bool {
        let index = self.lock();
        index.get(name).is_some_and(|known| known.destinations.iter().any(|glob| glob.is_match(destination)))
    }

    /// Opens the newest version, or the one that is asked for.
    ///
    /// # Errors
    /// `MC-P010` where there is none, `MC-P014` where the key is missing or wrong, `MC-P015` where the row is damaged or
    /// does not belong where it is.
    pub async fn open(&self, name: &str, version: Option<u32>) -> Result<Opened> {
        // A rotation may take a row or a key away between two looks: then everything is looked at once more.
        let mut attempt = self.open_once(name, version).await;
        if matches!(&attempt, Err(error) if matches!(error.code, Code::SecretBroken | Code::SecretsSealed)) {
            attempt = self.open_once(name, version).await;
        }
        attempt
    }

    async fn open_once(&self, name: &str, version: Option<u32>) -> Result<Opened> {
        let Some((head, _)) = self.head(name).await? else { return Err(unknown(name)) };
        let version = version.unwrap_or(head.latest);
        if !head.versions.iter().any(|kept| kept.version == version) {
            let message = format!("version {version} of secret `{name}` is not kept any more");
            let hint = format!("`mcrun secrets list` tells which are; the newest is {}", head.latest);
            return Err(Error::new(Code::SecretUnknown, message).hint(hint));
        }
        let (_, value) = self.open_row(name, &head, version).await?;
        Ok(Opened { version, value })
    }

    /// The row of one version as it is recorded, and the value in it.
    async fn open_row(&self, name: &str, head: &Head, version: u32) -> Result<(Record, Zeroizing<Vec<u8>>)> {
        let record = self.journal.committed_record(VERSION, &self.node, &row_name(name, version)).await?;
        let record = record.ok_or_else(|| broken(name, version, "its row is not there"))?;
        let row = Row::of(&record).ok_or_else(|| broken(name, version, "its row cannot be read"))?;
        let key = self.key(&row.key).await?;
        let place = record::place(&self.node, name, version, &row.key, &head.to);
        let value = record::open(&key, &place, &row.sealed);
        let value = value.ok_or_else(|| broken(name, version, "it was altered, or belongs elsewhere"))?;
        Ok((record, value))
    }

    /// Puts a value into the store, as the newest version of `name`. Durable on return.
    ///
    /// # Errors
    /// `MC-A001` for a name, value or destination that makes no sense, `MC-P010` where it must be there and is not,
    /// `MC-P014` and `MC-P015` as [`Vault::open`].
    pub async fn put(&self, name: &str, value: &[u8], put: &Put) -> Result<u32> {
        check_name(name)?;
        check_value(value)?;
        put.to.iter().try_for_each(|to| check_destinations(name, to))?;
        for _ in 0..ATTEMPTS {
            if let Some(version) = self.put_once(name, value, put).await? {
                return Ok(version);
            }
        }
        Err(contended())
    }

    /// Nothing where others changed the same rows meanwhile.
    async fn put_once(&self, name: &str, value: &[u8], put: &Put) -> Result<Option<u32>> {
        let keep = put.keep.unwrap_or_else(|| self.settings.keep());
        let found = self.head(name).await?;
        if found.is_none() {
            self.check_new(name, put.is_there).await?;
        }
        let (key_name, guard) = self.active_key().await?;
        let key = self.key(&key_name).await?;
        let mut writes = vec![guard];
        let mut head = found.as_ref().map_or_else(Head::default, |(head, _)| head.clone());
        let to = put.to.clone().unwrap_or_else(|| head.to.clone());
        if to != head.to {
            // Where a value may go is sealed with it.
            for kept in &head.versions {
                let (record, value) = self.open_row(name, &head, kept.version).await?;
                writes.push(self.sealed_row(name, kept.version, (&key_name, &key), &to, &value, &record)?);
            }
        }
        head.to = to;
        head.latest =
            head.latest.checked_add(1).ok_or_else(|| broken(name, head.latest, "it is the last"))?;
        head.versions.push(Version {
            version: head.latest,
            at: self.journal.clock().now(),
            by: put.by.clone(),
            tag: self.sealer.tag(value),
        });
        writes.push(self.new_row(name, head.latest, (&key_name, &key), &head.to, value)?);
        let gone = head.versions.len().saturating_sub(keep as usize);
        for gone in head.versions.drain(..gone) {
            writes.retain(|write| write.name != row_name(name, gone.version));
            writes.push(removal(VERSION, &self.node, &row_name(name, gone.version)));
        }
        writes.push(Write {
            kind: HEAD.into(),
            node: self.node.clone(),
            name: name.to_owned(),
            value: Some(record::text(&head)?),
            expect: found.map_or(Expect::Absent, |(_, record)| Expect::Value(record.value.into())),
        });
        self.write(writes).await.map(|written| written.map(|()| head.latest))
    }

    /// Refuses a new secret where one must be there, or where there are too many.
    async fn check_new(&self, name: &str, is_there: bool) -> Result<()> {
        let heads = self.heads().await?;
        if is_there {
            let near = effect::policy::nearest(name, heads.keys().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`mcrun secrets set {name}` makes it"),
            };
            return Err(Error::new(Code::SecretUnknown, format!("there is no secret `{name}`")).hint(hint));
        }
        if heads.len() >= MOST_SECRETS {
            let message = format!("the sealed store holds {MOST_SECRETS} secrets, and no more");
            return Err(
                Error::new(Code::Argument, message).hint("take some away with `mcrun secrets remove`")
            );
        }
        Ok(())
    }

    /// Takes a secret away with every version and what is recorded of its use.
    ///
    /// # Errors
    /// `MC-P010` where it is not there.
    pub async fn remove(&self, name: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some((head, record)) = self.head(name).await? else {
                return self.check_new(name, true).await;
            };
            let rows = head.versions.iter().map(|kept| row_name(name, kept.version));
            let mut writes: Vec<Write> = rows.map(|row| removal(VERSION, &self.node, &row)).collect();
            writes.push(removal(uses::USE, &self.node, name));
            let expect = Expect::Value(record.value.into());
            writes.push(Write { expect, ..removal(HEAD, &self.node, name) });
            if self.write(writes).await?.is_some() {
                self.lock().remove(name);
                return Ok(());
            }
        }
        Err(contended())
    }

    fn new_row(
        &self,
        name: &str,
        version: u32,
        (key_name, key): (&str, &DataKey),
        to: &[String],
        value: &[u8],
    ) -> Result<Write> {
        let place = record::place(&self.node, name, version, key_name, to);
        let row = Row { key: key_name.to_owned(), sealed: record::seal(key, &place, value) };
        Ok(Write {
            kind: VERSION.into(),
            node: self.node.clone(),
            name: row_name(name, version),
            value: Some(record::text(&row)?),
            expect: Expect::Absent,
        })
    }

    /// The same in the place of a row that is there.
    fn sealed_row(
        &self,
        name: &str,
        version: u32,
        key: (&str, &DataKey),
        to: &[String],
        value: &[u8],
        there: &Record,
    ) -> Result<Write> {
        let expect = Expect::Value(there.value.as_str().into());
        Ok(Write { expect, ..self.new_row(name, version, key, to, value)? })
    }

    /// Makes the writes; nothing where others changed the same rows meanwhile.
    async fn write(&self, writes: Vec<Write>) -> Result<Option<()>> {
        match self.journal.write(writes).await {
            Ok(()) => Ok(Some(())),
            Err(journal::Error::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(name: &str, head: &Head) -> Result<Self> {
        let patterns = head.to.iter().map(|pattern| super::source::destination(pattern));
        let destinations = patterns.collect::<Result<_, _>>().map_err(|error| {
            broken(name, head.latest, &format!("where it may go makes no sense: {error}"))
        })?;
        Ok(Self { destinations })
    }
}

fn removal(kind: &str, node: &str, name: &str) -> Write {
    Write {
        kind: kind.to_owned(),
        node: node.to_owned(),
        name: name.to_owned(),
        value: None,
        expect: Expect::Any,
    }
}

/// Others were in the way of a change again and again.
fn contended() -> Error {
    let message = "the sealed store is being changed by somebody else all the time";
    Error::new(Code::Locked, message).hint("try again in a moment").retryable()
}

fn unknown(name: &str) -> Error {
    Error::new(
        Code::SecretUnknown,
        format!("there is no secret `{}` in the sealed store", crate::exec::clip(name)),
    )
}

fn broken(name: &str, version: u32, cause: &str) -> Error {
    Error::new(Code::SecretBroken, format!("secret `{name}` in version {version} cannot be opened"))
        .because(cause)
        .hint(format!(
            "`mcrun secrets rotate {name} --keep 1` gives it a value again; a backup of the state directory has the old one"
        ))
}

/// Refuses what is no name of a secret: it is typed, matched by patterns and part of file names elsewhere.
///
/// # Errors
/// `MC-A001`.
pub fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if begins && name.len() <= LONGEST_NAME && name.bytes().all(is_plain) {
        return Ok(());
    }
    let shown = crate::exec::clip(name);
    Err(Error::new(Code::Argument, format!("`{shown}` is no name of a secret")).hint(format!(
        "letters, digits and `.`, `_`, `-`, `/`, the first a letter or digit, {LONGEST_NAME} at most: `mcq/db`"
    )))
}

fn check_value(value: &[u8]) -> Result<()> {
    match value.len() {
        0 => Err(Error::new(Code::Argument, "a secret is not empty")),
        1..=LARGEST => Ok(()),
        _ => Err(Error::new(Code::Argument, format!("a secret has at most {LARGEST} bytes"))),
    }
}

fn check_destinations(name: &str, to: &[String]) -> Result<()> {
    let wrong = |why: String| Error::new(Code::Argument, format!("where secret `{name}` may go: {why}"));
    if to.len() > MOST_DESTINATIONS {
        return Err(wrong(format!("{} destinations, at most {MOST_DESTINATIONS}", to.len())));
    }
    for pattern in to {
        if pattern.is_empty() || pattern.len() > LONGEST_DESTINATION {
            return Err(wrong(format!("a pattern has 1 to {LONGEST_DESTINATION} bytes")));
        }
        super::source::destination(pattern).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(())
}

/// Keys.
impl Vault {
    /// The name of the key that rows are sealed with, and the write that is refused once it is not that any more. The first
    /// one is made here.
    async fn active_key(&self) -> Result<(String, Write)> {
        if let Some(found) = self.newest_key().await? {
            return Ok(found);
        }
        let first = self.new_key(1).await?;
        // Somebody else may have made it at the same time.
        self.write(vec![first]).await?;
        let missing = || Error::new(Code::Internal, "the key of the sealed store is gone again");
        self.newest_key().await?.ok_or_else(missing)
    }

    async fn newest_key(&self) -> Result<Option<(String, Write)>> {
        let keys = self.journal.records(KEY, Some(&self.node)).await?;
        let Some(newest) = keys.into_iter().next_back() else { return Ok(None) };
        let guard = Write {
            kind: KEY.into(),
            node: self.node.clone(),
            name: newest.name.clone(),
            expect: Expect::Value(newest.value.as_str().into()),
            value: Some(newest.value),
        };
        Ok(Some((newest.name, guard)))
    }

    /// A key that is about to be made.
    async fn new_key(&self, number: u32) -> Result<Write> {
        let mut key: DataKey = Zeroizing::new([0; 32]);
        effect::secret::fill_random(&mut *key);
        let name = format!("{number:010}");
        let sealed = SealedKey::seal(&self.settings, &self.sealer, (&self.node, &name), &key).await?;
        Ok(Write {
            kind: KEY.into(),
            node: self.node.clone(),
            name,
            value: Some(record::text(&sealed)?),
            expect: Expect::Absent,
        })
    }

    /// Opens the key with a name, once.
    async fn key(&self, name: &str) -> Result<Arc<DataKey>> {
        // Held while it is opened: what stretches a passphrase takes memory, and the others wait for it anyway.
        let mut keys = self.keys.lock().await;
        if let Some(key) = keys.get(name) {
            return Ok(key.clone());
        }
        let record = self.journal.committed_record(KEY, &self.node, name).await?;
        let record = record.ok_or_else(|| {
            Error::new(
                Code::SecretsSealed,
                format!("the key {name} of the sealed store is not there any more"),
            )
        })?;
        let sealed = SealedKey::of(&record)?;
        let key = Arc::new(sealed.open(&self.settings, &self.sealer, (&self.node, name)).await?);
        keys.insert(name.to_owned(), key.clone());
        Ok(key)
    }
}
