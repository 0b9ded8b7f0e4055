//! Owns how a run that was recorded elsewhere is taken in: all of it or nothing, to be looked at only.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Journal;
use crate::entry::{Entry, Kind, Status};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::run::Run;
use crate::schema::{self, LAST_COMPLETED, key};
use crate::writer::{inlined, put_blob};

/// A part of a run, in the order in which they are written and read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The source of a module.
    Module {
        /// Its name.
        name: String,
        /// Its text.
        text: String,
    },
    /// An entry.
    Entry(Box<Entry>),
    /// What histories step over.
    Fold(Span),
    /// A line of the log.
    Log(Box<Log>),
}

/// A stretch of a history that is not replayed, such as a finished checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The order that it comes after.
    pub opened: u32,
    /// The order of its last entry.
    pub last: u32,
    /// The scope that it lies in.
    pub scope: String,
    /// Whether all entries between belong to it.
    pub whole: bool,
}

impl Journal {
    /// What the histories of a run step over.
    pub async fn spans(&self, run: &crate::RunId) -> Result<Vec<Span>> {
        let run = *run;
        self.read(move |connection| {
            let number = crate::writer::number(connection, &run)?;
            let mut statement = connection.prepare_cached(
                "SELECT opened, last, scope, whole FROM folds WHERE run = ? ORDER BY opened",
            )?;
            let rows = statement.query_map([number], |row| {
                Ok(Span { opened: row.get(0)?, last: row.get(1)?, scope: row.get(2)?, whole: row.get(3)? })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Takes in a run that was recorded elsewhere. An error of `parts` takes it back whole, as does one of the database;
    /// a run with this id that is here already is a conflict.
    pub async fn import<E>(
        &self,
        run: Run,
        planned: Option<String>,
        parts: impl Iterator<Item = std::result::Result<Part, E>> + Send + 'static,
    ) -> std::result::Result<(), E>
    where
        E: From<Error> + Send + 'static,
    {
        self.barrier().await?;
        let journal = self.clone();
        let imported = tokio::task::spawn_blocking(move || import(&journal, &run, planned.as_deref(), parts));
        imported.await.unwrap_or_else(|error| Err(Error::Sqlite(error.to_string()).into()))
    }
}

fn import<E: From<Error>>(
    journal: &Journal,
    run: &Run,
    planned: Option<&str>,
    parts: impl Iterator<Item = std::result::Result<Part, E>>,
) -> std::result::Result<(), E> {
    let sql = |error: rusqlite::Error| E::from(Error::from(error));
    let mut connection = schema::open_for_maintenance(journal.database())?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let mut import = Import {
        number: insert_run(journal, &transaction, run, planned)?,
        begun: LAST_COMPLETED,
        changes: 0,
    };
    for part in parts {
        import.insert(&transaction, part?)?;
    }
    transaction.commit().map_err(sql)?;
    Ok(())
}

const RUN: &str = "
INSERT INTO runs (id, state, created, updated, started, ended, exit_code, outcome, name, script, root, node, seed, source,
    args, params, grants, limits, plan, planned, forgotten, origin, playbook, cause, imported)
VALUES (:id, :state, :created, :updated, :started, :ended, :exit_code, :outcome, :name, :script, :root, :node, :seed,
    :source, :args, :params, :grants, :limits, :plan, :planned, :forgotten, :origin, :playbook, :cause, 1)
RETURNING number";

fn insert_run(journal: &Journal, connection: &Connection, run: &Run, planned: Option<&str>) -> Result<i64> {
    let known = connection.query_row("SELECT 1 FROM runs WHERE id = ?", [run.id.as_str()], |_| Ok(()));
    if known.optional()?.is_some() {
        return Err(Error::Conflict { kind: "run".into(), name: run.id.to_string() });
    }
    let source = put_blob(connection, &run.source)?;
    let planned = planned.map(|steps| put_blob(connection, steps)).transpose()?;
    let number = connection.query_row(
        RUN,
        named_params! {
            ":id": run.id.as_str(),
            ":state": run.state.as_str(),
            ":created": run.created.0,
            // From now on it is kept as long as one that has ended now.
            ":updated": journal.clock().now().0,
            ":started": run.started.map(|at| at.0),
            ":ended": run.ended.map(|at| at.0),
            ":exit_code": run.exit_code,
            ":outcome": run.outcome.as_ref().map(Value::to_string),
            ":name": run.name,
            ":script": run.script,
            ":root": run.root,
            ":node": run.node,
            ":seed": run.seed.cast_signed(),
            ":source": source,
            ":args": Value::from(run.args.as_slice()).to_string(),
            ":params": run.params.to_string(),
            ":grants": run.grants.to_string(),
            ":limits": run.limits.to_string(),
            ":plan": run.plan,
            ":planned": planned,
            ":forgotten": run.forgotten,
            ":origin": run.origin.as_ref().map(Value::to_string),
            ":playbook": run.playbook,
            ":cause": run.cause.as_ref().map(Value::to_string),
        },
        |row| row.get(0),
    )?;
    Ok(number)
}

struct Import {
    number: i64,
    /// The place of the last begun entry.
    begun: u32,
    changes: u32,
}

const ENTRY: &str = "
INSERT INTO entries (key, scope, counter, name, kind, hash, file, line, status, blob, result, changed, changes, begun,
    ended, until, before, change, arguments)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const LOG: &str = "
INSERT INTO logs (key, run, scope, number, level, at, file, line, message, fields)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

impl Import {
    fn insert(&mut self, connection: &Connection, part: Part) -> Result<()> {
        match part {
            Part::Module { name, text } => {
                let blob = put_blob(connection, &text)?;
                connection
                    .prepare_cached("INSERT OR IGNORE INTO sources (run, module, blob) VALUES (?, ?, ?)")?
                    .execute(params![self.number, name, blob])?;
                Ok(())
            }
            Part::Entry(entry) => self.entry(connection, &entry),
            Part::Fold(span) => {
                connection
                    .prepare_cached("INSERT OR IGNORE INTO folds (run, opened, last, scope, whole) VALUES (?, ?, ?, ?, ?)")?
                    .execute(params![self.number, span.opened, span.last, span.scope, span.whole])?;
                Ok(())
            }
            Part::Log(log) => self.log(connection, &log),
        }
    }

    fn entry(&mut self, connection: &Connection, entry: &Entry) -> Result<()> {
        let place = match (entry.status, entry.order.map(u32::try_from)) {
            (Status::Begun, None) => {
                self.begun += 1;
                self.begun
            }
            (status, Some(Ok(order))) if status != Status::Begun && (1..LAST_COMPLETED).contains(&order) => {
                order
            }
            _ => return Err(Error::Unfit(format!("entry {} has no place in its run", entry.identity))),
        };
        let (blob, result) = match (entry.status, entry.result.as_deref()) {
            (Status::Done | Status::Failed, Some(result)) => inlined(connection, result)?,
            (Status::Begun | Status::Cancelled, None) => (None, None),
            _ => return Err(Error::Unfit(format!("entry {} has no fitting result", entry.identity))),
        };
        let changes = matches!(entry.kind, Kind::Ensure | Kind::Act) && entry.changed;
        self.changes += u32::from(changes);
        let stored = connection.prepare_cached(ENTRY)?.execute(params![
            key(self.number, place),
            entry.identity.scope,
            entry.identity.counter,
            entry.identity.name,
            entry.kind.as_str(),
            entry.arguments_hash,
            entry.place.as_ref().map(|place| &place.file),
            entry.place.as_ref().map(|place| place.line),
            entry.status.as_str(),
            blob,
            result,
            entry.changed,
            self.changes,
            entry.begun_at.map(|at| at.0),
            entry.ended_at.map(|at| at.0),
            entry.until.map(|at| at.0),
            entry.before,
            entry.change,
            &*entry.arguments,
        ]);
        unique(stored, &format!("entry {}", entry.identity))
    }

    fn log(&self, connection: &Connection, log: &Log) -> Result<()> {
        let line = &log.line;
        let order = u32::try_from(log.order).map_err(|_| Error::Unfit("a log line has no place".into()))?;
        let stored = connection.prepare_cached(LOG)?.execute(params![
            key(self.number, order),
            self.number,
            line.scope,
            line.number.cast_signed(),
            line.level.as_str(),
            line.at.0,
            line.place.as_ref().map(|place| &place.file),
            line.place.as_ref().map(|place| place.line),
            line.message,
            line.fields,
        ]);
        unique(stored, &format!("line {} of the log", log.order))
    }
}

/// Two parts in one place are a mistake of the file, not of the database.
fn unique(stored: rusqlite::Result<usize>, what: &str) -> Result<()> {
    match stored {
        Err(rusqlite::Error::SqliteFailure(error, _))
            if error.code == rusqlite::ErrorCode::ConstraintViolation =>
        {
            Err(Error::Unfit(format!("{what} comes twice")))
        }
        stored => Ok(stored.map(drop)?),
    }
}

impl Run {
    /// The same run with its source.
    #[must_use]
    pub fn with_source(self, source: &str) -> Self {
        Self { source: Arc::from(source), ..self }
    }
}
