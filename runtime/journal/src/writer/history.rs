//! Owns how a history is cut and copied.

use rusqlite::{OptionalExtension, named_params, params};
use serde_json::Value;

use super::Writer;
use super::cache::number;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::reader::entries::history;
use crate::run::NewRun;
use crate::schema::{self, key};

/// What an effect may have done that was begun and never ended.
const CANCEL_BEGUN: &str = "
UPDATE entries SET
    key = :key,
    status = 'cancelled',
    changed = kind IN ('ensure', 'act'),
    changes = :changes + (kind IN ('ensure', 'act')),
    ended = :at
WHERE key = :begun
RETURNING changes";

/// No scope of a script begins with `#`, so what is forgotten keeps an identity of its own.
const RENAME_ENTRIES: &str = "
UPDATE entries SET scope = :under || CASE scope WHEN '' THEN '' ELSE '/' || scope END
WHERE key BETWEEN :first AND :last AND substr(scope, 1, 1) <> '#'";

const RENAME_LOGS: &str = "
UPDATE logs SET scope = :under || CASE scope WHEN '' THEN '' ELSE '/' || scope END
WHERE key BETWEEN :first AND :last AND at >= :since AND substr(scope, 1, 1) <> '#'";

const COPY: &str = "
INSERT INTO entries (key, scope, counter, name, kind, hash, file, line, status, blob, result, changed, changes, begun,
    ended, until, before, change, arguments)
SELECT :key, scope, counter, name, kind, hash, file, line, status, blob, result, 0, 0, begun,
    ended, until, NULL, CASE WHEN changed THEN :mark END, arguments
FROM entries WHERE key = :from";

/// The change of an entry that another run made.
const FORKED: &str = r#"{"forked":true}"#;
const PAGE: usize = 1000;

impl Writer {
    pub(super) fn forget(&mut self, run: &RunId, after: u64, at: Timestamp) -> Result<()> {
        let after = u32::try_from(after).unwrap_or(schema::LAST_COMPLETED);
        let number = self.cached(run)?.number;
        self.check_outside_of_checkpoints(number, after)?;
        let generation: u32 = self
            .connection
            .prepare_cached("UPDATE runs SET forgotten = forgotten + 1 WHERE number = ? RETURNING forgotten")?
            .query_row([number], |row| row.get(0))?;
        let under = format!("#{generation}");
        let last = self.cancel_begun(run, at)?;
        self.connection.prepare_cached(RENAME_ENTRIES)?.execute(named_params! {
            ":under": under,
            ":first": key(number, after) + 1,
            ":last": key(number, last),
        })?;
        let logged = schema::logged(number, 0);
        self.connection.prepare_cached(RENAME_LOGS)?.execute(named_params! {
            ":under": under,
            ":first": logged.start(),
            ":last": logged.end(),
            ":since": self.ended(key(number, after))?,
        })?;
        self.connection
            .prepare_cached("DELETE FROM folds WHERE run = ? AND opened >= ?")?
            .execute(params![number, after])?;
        // The history steps over it as over a finished checkpoint.
        self.connection
            .prepare_cached("INSERT INTO folds (run, opened, last, scope, whole) VALUES (?, ?, ?, '', 1)")?
            .execute(params![number, after, last.max(after)])?;
        self.runs.remove(run);
        Ok(())
    }

    /// A finished checkpoint has told its end where it was opened: there is no way back into it.
    fn check_outside_of_checkpoints(&self, number: i64, after: u32) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT scope FROM folds WHERE run = ?1 AND opened <= ?2 AND last > ?2 AND scope <> '' LIMIT 1",
        )?;
        let within: Option<String> = statement.query_row((number, after), |row| row.get(0)).optional()?;
        match within {
            Some(name) => Err(Error::Conflict { kind: "checkpoint".into(), name }),
            None => Ok(()),
        }
    }

    /// Ends what was begun, in its order; the place of the last completed entry then.
    fn cancel_begun(&mut self, run: &RunId, at: Timestamp) -> Result<u32> {
        let cached = self.cached(run)?;
        let (number, mut completed, mut changes) = (cached.number, cached.completed, cached.changes);
        let mut begun: Vec<u32> = cached.open.values().copied().collect();
        begun.sort_unstable();
        let mut statement = self.connection.prepare_cached(CANCEL_BEGUN)?;
        for place in begun {
            completed += 1;
            let parameters = named_params! {
                ":key": key(number, completed),
                ":changes": changes,
                ":at": at.0,
                ":begun": key(number, place),
            };
            changes = statement.query_row(parameters, |row| row.get(0))?;
        }
        Ok(completed)
    }

    fn ended(&self, key: i64) -> Result<i64> {
        let mut statement = self.connection.prepare_cached("SELECT ended FROM entries WHERE key = ?")?;
        let ended: Option<Option<i64>> = statement.query_row([key], |row| row.get(0)).optional()?;
        Ok(ended.flatten().unwrap_or(0))
    }

    pub(super) fn fork(
        &mut self,
        from: &RunId,
        until: u64,
        run: &NewRun,
        origin: &Value,
        at: Timestamp,
    ) -> Result<()> {
        let source = number(&self.connection, from)?;
        self.create_run(run, at)?;
        let number = number(&self.connection, &run.id)?;
        self.connection
            .prepare_cached("UPDATE runs SET origin = ? WHERE number = ?")?
            .execute(params![origin.to_string(), number])?;
        // What was done under a lease goes on under it.
        self.connection
            .prepare_cached(
                "INSERT INTO held (run, node, service) SELECT ?, node, service FROM held WHERE run = ?",
            )?
            .execute([run.id.as_str(), from.as_str()])?;
        let (mut after, mut place) = (0, 0);
        loop {
            let page = history(&self.connection, from, after, PAGE)?;
            for item in page.iter().take_while(|item| item.order <= until) {
                place += 1;
                let order = u32::try_from(item.order).unwrap_or(schema::LAST_COMPLETED);
                self.connection.prepare_cached(COPY)?.execute(named_params! {
                    ":key": key(number, place),
                    ":from": key(source, order),
                    ":mark": FORKED,
                })?;
            }
            match page.last() {
                Some(last) if last.order < until => after = last.order,
                _ => return Ok(()),
            }
        }
    }
}
