//! Owns the audit: what was allowed, refused and done, by whom. Records are only ever appended, each with the hash of the one
//! before it, so that one that is removed, changed or moved breaks the chain.
//!
//! Leaves to others: what is worth a record (the daemon and the command line), how it is shown (the cli).

mod file;
mod verify;

pub(crate) use self::file::HeadFile;
pub(crate) use self::verify::verify;
pub use self::verify::{Fault, Place, Verified};

use std::fmt;
use std::str::FromStr;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunId;

/// No text of a record is longer, in octets: what callers say goes in here.
const LONGEST: usize = 1024;
/// No details are longer: what is larger is told by its length alone.
const LONGEST_DETAILS: usize = 8 << 10;

macro_rules! kinds {
    ($($variant:ident $word:literal $doc:literal;)*) => {
        /// What a record tells of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $doc] $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

kinds! {
    Decision "decision" "A call that changes something was allowed.";
    Denial "denial" "A call was refused.";
    Answer "answer" "A question of a run, or an approval, was answered.";
    Policy "policy" "The policy was changed, or could not be.";
    Playbook "playbook" "A playbook was loaded in a version that is new.";
    Run "run" "A run was recorded, given up, gone on with or taken back.";
    Secret "secret" "A secret was used; its name alone is told.";
    Account "account" "An account, its tokens or what proves who it is was changed, or the login policy.";
    SignIn "sign-in" "Somebody signed in, or could not.";
    Export "export" "The audit was written to a file.";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is no kind of an audit record"))
    }
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct New {
    /// What it tells of.
    pub kind: Kind,
    /// Who did it, `user:root`.
    pub principal: String,
    /// From where, where that is known.
    pub address: Option<String>,
    /// What was done, `runs.cancel`.
    pub action: String,
    /// To what.
    pub object: String,
    /// What came of it, `allowed`.
    pub outcome: String,
    /// The run that it is about.
    pub run: Option<RunId>,
    /// Whatever else is known, as JSON; never a secret.
    pub details: Option<serde_json::Value>,
}

impl New {
    /// A record without address, run and details.
    #[must_use]
    pub fn of(kind: Kind, principal: &str, action: &str, object: &str, outcome: &str) -> Self {
        let owned = str::to_owned;
        let (principal, action, object, outcome) =
            (owned(principal), owned(action), owned(object), owned(outcome));
        Self { kind, principal, address: None, action, object, outcome, run: None, details: None }
    }

    /// The same about a run.
    #[must_use]
    pub fn about(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// The same with details.
    #[must_use]
    pub fn with(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }
}

/// The hash of a record, which holds for all before it too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first record follows.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no hash: it has 64 digits of 0 to f");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut octets = [0; 32];
        for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *octet = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(octets))
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it tells of; the word, since a newer version may know more of them.
    pub kind: String,
    /// Who did it.
    pub principal: String,
    /// From where.
    pub address: Option<String>,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// What came of it.
    pub outcome: String,
    /// The run that it is about.
    pub run: Option<String>,
    /// Whatever else is known: JSON as text, since its every letter is hashed.
    pub details: Option<String>,
    /// Its hash.
    pub hash: Hash,
}

/// A record's fields where they lie.
pub(crate) struct Fields<'a> {
    number: i64,
    at: i64,
    kind: &'a str,
    principal: &'a str,
    address: Option<&'a str>,
    action: &'a str,
    object: &'a str,
    outcome: &'a str,
    run: Option<&'a str>,
    details: Option<&'a str>,
}

impl Fields<'_> {
    /// The hash of a record behind the one with the hash `before`: SHA-256 of a JSON array without blanks, which every
    /// language can make.
    fn hash(&self, before: &Hash, room: &mut Vec<u8>) -> Hash {
        let Self { number, at, kind, principal, address, action, object, outcome, run, details } = self;
        room.clear();
        room.extend_from_slice(b"[\"");
        for octet in before.0 {
            room.extend([octet >> 4, octet & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        room.push(b'"');
        let told = (number, at, kind, principal, address, action, object, outcome, run, details);
        // A vector takes whatever is written, and texts and numbers are always JSON.
        let begin = room.len();
        let written = serde_json::to_writer(&mut *room, &told);
        debug_assert!(written.is_ok());
        room[begin] = b',';
        Hash(Sha256::digest(&room).into())
    }
}

/// What the columns of a record are called, in the order in which they are read.
pub(crate) const COLUMNS: &str =
    "number, at, kind, principal, address, action, object, outcome, run, details, hash";

/// The record in a row, and its hash as stored; nothing where no record of ours looks like that.
pub(crate) fn fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<Option<(Fields<'a>, Hash)>> {
    let text = |index: usize| -> rusqlite::Result<Option<&'a str>> {
        Ok(match row.get_ref(index)? {
            ValueRef::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        })
    };
    let (ValueRef::Integer(number), ValueRef::Integer(at)) = (row.get_ref(0)?, row.get_ref(1)?) else {
        return Ok(None);
    };
    let ValueRef::Blob(hash) = row.get_ref(10)? else { return Ok(None) };
    let (Some(kind), Some(principal), Some(action), Some(object), Some(outcome), Ok(hash)) =
        (text(2)?, text(3)?, text(5)?, text(6)?, text(7)?, hash.try_into())
    else {
        return Ok(None);
    };
    let (address, run, details) = (text(4)?, text(8)?, text(9)?);
    let fields = Fields { number, at, kind, principal, address, action, object, outcome, run, details };
    Ok(Some((fields, Hash(hash))))
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: i64,
    pub(crate) hash: Hash,
}

impl Head {
    const NONE: Self = Self { number: 0, hash: Hash::NONE };

    /// As it was told when the last record was written. The last record is not asked: if it was taken away, the next one
    /// leaves a gap for good.
    pub(crate) fn told(connection: &Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached("SELECT number, hash FROM audit_head")?;
        let told = statement.query_row([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?))).optional()?;
        match told {
            None => Ok(Self::NONE),
            Some((number, hash)) => {
                let hash = hash.as_slice().try_into().map(Hash);
                let hash = hash.map_err(|_| Error::Corrupt("the head of the audit is no hash".into()))?;
                Ok(Self { number, hash })
            }
        }
    }
}

const APPEND: &str = "
INSERT INTO audit (number, at, kind, principal, address, action, object, outcome, run, details, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Appends a record within the transaction that is open.
pub(crate) fn append(connection: &Connection, new: &New, at: Timestamp) -> Result<Head> {
    let before = Head::told(connection)?;
    let details = new.details.as_ref().map(|details| match details.to_string() {
        text if text.len() <= LONGEST_DETAILS => text,
        text => serde_json::json!({ "octets": text.len() }).to_string(),
    });
    let fields = Fields {
        number: before.number + 1,
        at: at.0,
        kind: new.kind.as_str(),
        principal: cut(&new.principal),
        address: new.address.as_deref().map(cut),
        action: cut(&new.action),
        object: cut(&new.object),
        outcome: cut(&new.outcome),
        run: new.run.as_ref().map(RunId::as_str),
        details: details.as_deref(),
    };
    let hash = fields.hash(&before.hash, &mut Vec::with_capacity(512));
    let Fields { number, at, kind, principal, address, action, object, outcome, run, details } = fields;
    connection.prepare_cached(APPEND)?.execute(params![
        number, at, kind, principal, address, action, object, outcome, run, details, hash.0
    ])?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO audit_head (one, number, hash) VALUES (1, ?, ?)")?
        .execute(params![number, hash.0])?;
    Ok(Head { number, hash })
}

/// A text within its bound.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those written since.
    pub since: Option<Timestamp>,
    /// Only those of this principal.
    pub principal: Option<String>,
}

/// At most `limit` records beyond the number `after`, the first first.
pub(crate) fn records(
    connection: &Connection,
    filter: &Filter,
    after: u64,
    limit: usize,
) -> Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM audit
         WHERE number > ?1 AND (?2 IS NULL OR at >= ?2) AND (?3 IS NULL OR principal = ?3) ORDER BY number LIMIT ?4"
    ))?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let since = filter.since.map(|since| since.0);
    let mut rows = statement.query(params![after, since, filter.principal, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Some((fields, hash)) = fields(row)? else {
            return Err(Error::Corrupt("a record of the audit cannot be read".into()));
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        found.push(Record {
            number: fields.number.unsigned_abs(),
            at: Timestamp(fields.at),
            kind: fields.kind.to_owned(),
            principal: fields.principal.to_owned(),
            address: owned(fields.address),
            action: fields.action.to_owned(),
            object: fields.object.to_owned(),
            outcome: fields.outcome.to_owned(),
            run: owned(fields.run),
            details: owned(fields.details),
            hash,
        });
    }
    Ok(found)
}
