//! Owns how begins, ends and log lines are written.

use rusqlite::{Connection, named_params, params};

use super::Writer;
use crate::clock::Timestamp;
use crate::entry::{Begin, Begun, End, Status};
use crate::error::Result;
use crate::id::RunId;
use crate::log::LogLine;
use crate::schema::key;

/// Results beyond this go to the blobs, so that a page of entries holds more than one of them.
const LONGEST_INLINE: usize = 8 * 1024;

// By position, not by name: these run once for every step, and names are looked up each time.

const BEGIN: &str = "
INSERT INTO entries (key, scope, counter, name, kind, hash, file, line, status, begun, until, before, change, arguments)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const END: &str = "
INSERT INTO entries (key, scope, counter, name, kind, hash, file, line, status, blob, result, changed, changes, ended,
    before, arguments)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const END_BEGUN: &str = "
UPDATE entries SET key = ?, status = ?, blob = ?, result = ?, changed = ?, changes = ?, ended = ?
WHERE key = ?";

const LOG: &str = "
INSERT OR IGNORE INTO logs (key, run, scope, number, level, at, file, line, message, fields)
VALUES (:key, :run, :scope, :number, :level, :at, :file, :line, :message, :fields)";

impl Writer {
    pub(super) fn begin(&mut self, run: &RunId, begin: &Begin, at: Timestamp) -> Result<Begun> {
        self.lost.check(run)?;
        self.check_fence(begin.fence.as_ref())?;
        let cached = self.cached(run)?;
        if let Some(&place) = cached.open.get(&begin.identity) {
            let key = key(cached.number, place);
            return first_begin(&self.connection, key);
        }
        cached.begun += 1;
        cached.open.insert(begin.identity.clone(), cached.begun);
        let key = key(cached.number, cached.begun);
        let Begin { identity, kind, arguments, arguments_hash, place, before, change, until, fence: _ } =
            begin;
        self.connection.prepare_cached(BEGIN)?.execute(params![
            key,
            identity.scope,
            identity.counter,
            identity.name,
            kind.as_str(),
            arguments_hash,
            place.as_ref().map(|place| &place.file),
            place.as_ref().map(|place| place.line),
            Status::Begun.as_str(),
            at.0,
            until.map(|until| until.0),
            before,
            change,
            &**arguments,
        ])?;
        Ok(Begun {
            first: true,
            begun_at: at,
            before: begin.before.clone(),
            change: begin.change.clone(),
            until: begin.until,
        })
    }

    pub(super) fn end(&mut self, run: &RunId, end: &End, at: Timestamp) -> Result<()> {
        self.lost.check_end(run, &end.identity)?;
        self.cached(run)?;
        if !end.writes.is_empty() {
            self.check_fence(end.fence.as_ref())?;
        }
        self.write_records(&end.writes, Some(run), at)?;
        self.write_end(run, end, at)?;
        self.lost.recovered(run, &end.identity);
        Ok(())
    }

    fn write_end(&mut self, run: &RunId, end: &End, at: Timestamp) -> Result<()> {
        let (blob, result) = match end.outcome.text() {
            Some(text) => inlined(&self.connection, text)?,
            None => (None, None),
        };
        let cached = self.cached(run)?;
        cached.completed += 1;
        cached.changes += u32::from(end.changed);
        let key_of_end = key(cached.number, cached.completed);
        let changes = cached.changes;
        let key_of_begin = cached.open.remove(&end.identity).map(|place| key(cached.number, place));
        let status = end.outcome.status().as_str();
        match key_of_begin {
            Some(begun) => {
                let mut statement = self.connection.prepare_cached(END_BEGUN)?;
                statement.execute(params![
                    key_of_end,
                    status,
                    blob,
                    result,
                    end.changed,
                    changes,
                    at.0,
                    begun
                ])?
            }
            None => self.connection.prepare_cached(END)?.execute(params![
                key_of_end,
                end.identity.scope,
                end.identity.counter,
                end.identity.name,
                end.kind.as_str(),
                end.arguments_hash,
                end.place.as_ref().map(|place| &place.file),
                end.place.as_ref().map(|place| place.line),
                status,
                blob,
                result,
                end.changed,
                changes,
                at.0,
                end.before,
                &*end.arguments,
            ])?,
        };
        Ok(())
    }

    pub(super) fn log(&mut self, run: &RunId, line: &LogLine) -> Result<()> {
        let cached = self.cached(run)?;
        let (number, place) = (cached.number, cached.logged + 1);
        let stored = self.connection.prepare_cached(LOG)?.execute(named_params! {
            ":key": key(number, place),
            ":run": number,
            ":scope": line.scope,
            // Numbers beyond what SQLite holds never come; wrapped, they would still be told apart.
            ":number": line.number.cast_signed(),
            ":level": line.level.as_str(),
            ":at": line.at.0,
            ":file": line.place.as_ref().map(|place| &place.file),
            ":line": line.place.as_ref().map(|place| place.line),
            ":message": line.message,
            ":fields": line.fields,
        })?;
        if stored == 1 {
            self.cached(run)?.logged = place;
        }
        Ok(())
    }
}

/// A result as an entry holds it: long ones as the hash of a blob.
pub(crate) fn inlined<'a>(
    connection: &Connection,
    text: &'a str,
) -> Result<(Option<[u8; 32]>, Option<&'a str>)> {
    match text.len() > LONGEST_INLINE {
        true => Ok((Some(put_blob(connection, text)?), None)),
        false => Ok((None, Some(text))),
    }
}

/// Stores `text` under its hash, once.
pub(crate) fn put_blob(connection: &Connection, text: &str) -> Result<[u8; 32]> {
    let hash = *blake3::hash(text.as_bytes()).as_bytes();
    connection
        .prepare_cached("INSERT OR IGNORE INTO blobs (hash, data) VALUES (?, ?)")?
        .execute(params![hash, text.as_bytes()])?;
    Ok(hash)
}

fn first_begin(connection: &Connection, key: i64) -> Result<Begun> {
    let mut statement =
        connection.prepare_cached("SELECT begun, before, change, until FROM entries WHERE key = ?")?;
    Ok(statement.query_row([key], |row| {
        Ok(Begun {
            first: false,
            begun_at: Timestamp(row.get(0)?),
            before: row.get(1)?,
            change: row.get(2)?,
            until: row.get::<_, Option<i64>>(3)?.map(Timestamp),
        })
    })?)
}
