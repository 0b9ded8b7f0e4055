//! Owns walking the chain: whether every record is there, in its place and as it was written.

use std::fmt;

use rusqlite::Connection;
use serde::Serialize;

use super::{COLUMNS, Hash, Head, fields};
use crate::error::Result;

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, in a few words.
    pub what: String,
}

/// Where the first fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "at", content = "number")]
pub enum Place {
    /// At the record with this number.
    Record(u64),
    /// Behind the record with this number, which is the last that is there.
    Behind(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(number) => write!(f, "record {number}"),
            Self::Behind(number) => write!(f, "behind record {number}"),
        }
    }
}

/// What came of a walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many records are whole, from the first on.
    pub records: u64,
    /// The hash of the last of them, which stands for all.
    pub head: Hash,
    /// The first fault.
    pub fault: Option<Fault>,
}

/// Walks the chain. It ends where the database and `beside` say, and goes through `earlier` where that is given.
pub(crate) fn verify(
    connection: &Connection,
    beside: Option<Head>,
    earlier: Option<Hash>,
) -> Result<Verified> {
    // One moment: what is appended meanwhile does not count.
    let moment = connection.unchecked_transaction()?;
    let mut statement = moment.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY number"))?;
    let mut rows = statement.query([])?;
    let (mut last, mut room) = (Head::NONE, Vec::with_capacity(1024));
    let mut meets_earlier = earlier.is_none_or(|earlier| earlier == Hash::NONE);
    let mut meets_beside = beside.is_none_or(|beside| beside == Head::NONE);
    let mut found = None;
    while let Some(row) = rows.next()? {
        let expected = last.number + 1;
        let fault = |number: i64, what: &str| {
            Some(Fault { place: Place::Record(number.unsigned_abs()), what: what.to_owned() })
        };
        let Some((record, stored)) = fields(row)? else {
            found = fault(expected, "it is no record that mcrun wrote");
            break;
        };
        if record.number != expected {
            found = fault(expected, "it is missing");
            break;
        }
        if record.hash(&last.hash, &mut room) != stored {
            found = fault(expected, "it was changed, or does not follow the one before it");
            break;
        }
        last = Head { number: expected, hash: stored };
        meets_earlier |= earlier == Some(stored);
        meets_beside |= beside == Some(last);
    }
    drop(rows);
    let told = Head::told(&moment)?;
    let behind = |what: String| Some(Fault { place: Place::Behind(last.number.unsigned_abs()), what });
    let fault = found.or_else(|| match (told.number - last.number, told == last) {
        (1.., _) => behind(format!("the records up to {} are missing", told.number)),
        (..0, _) => Some(Fault {
            place: Place::Record(told.number.unsigned_abs() + 1),
            what: "it was appended by something else than mcrun".to_owned(),
        }),
        (0, false) => behind("the end is not the one that mcrun wrote".to_owned()),
        (0, true) => None,
    });
    let fault = fault.or_else(|| match beside {
        Some(beside) if !meets_beside && beside.number > last.number => {
            behind(format!("the records up to {} are missing, of which `audit.head` tells", beside.number))
        }
        Some(beside) if !meets_beside => Some(Fault {
            place: Place::Record(beside.number.unsigned_abs()),
            what: "it is another one than `audit.head` tells of: the chain was written anew".to_owned(),
        }),
        _ => None,
    });
    let fault = fault.or_else(|| {
        (!meets_earlier)
            .then(|| {
                behind(
                    "the earlier end that was given is not in it: the chain was cut or written anew"
                        .to_owned(),
                )
            })
            .flatten()
    });
    Ok(Verified { records: last.number.unsigned_abs(), head: last.hash, fault })
}
