//! Owns how runs and their sources are read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::text::{blob, json, moment, optional_json, word};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::journal::LastLease;
use crate::run::{Filter, PageOfRuns, Run, RunState};
use crate::schema;
use crate::writer::{KIND_OF_PLANS, number};

/// How many of the runs that an ambiguous prefix could mean are named.
const MATCHES: usize = 10;

/// The run whose id begins with `prefix`.
pub(crate) fn run(connection: &Connection, prefix: &str) -> Result<Run> {
    let given = prefix.to_ascii_lowercase();
    let mut statement = connection
        .prepare_cached("SELECT * FROM runs WHERE id >= ?1 AND id < ?1 || '~' ORDER BY id DESC LIMIT ?2")?;
    let rows = statement.query_map(params![given, MATCHES as i64], Found::read)?;
    let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    match found.len() {
        1 if !given.is_empty() => found.remove(0).complete(connection, &mut HashMap::new()),
        0 | 1 => Err(Error::UnknownRun { given: prefix.to_owned() }),
        _ => {
            let matches = found.into_iter().map(|found| found.run.id).collect();
            Err(Error::AmbiguousRun { given: prefix.to_owned(), matches })
        }
    }
}

/// The runs that `filter` lets through, newest first.
pub(crate) fn runs(connection: &Connection, filter: &Filter) -> Result<Vec<Run>> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM runs WHERE ?1 IS NULL OR state = ?1 ORDER BY number DESC LIMIT ?2")?;
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![filter.state.map(|state| state.as_str()), limit], Found::read)?;
    let mut sources = HashMap::new();
    rows.map(|found| found?.complete(connection, &mut sources)).collect()
}

const PAGE: &str = "
SELECT * FROM runs
WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR playbook = ?2)
    AND (?3 IS NULL OR number < (SELECT number FROM runs WHERE id = ?3))
ORDER BY number DESC LIMIT ?4";

/// One page of runs, newest first. Nothing lies behind a run that is gone.
pub(crate) fn page(connection: &Connection, page: &PageOfRuns) -> Result<Vec<Run>> {
    let mut statement = connection.prepare_cached(PAGE)?;
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let state = page.state.map(RunState::as_str);
    let before = page.before.as_ref().map(RunId::as_str);
    let rows = statement.query_map(params![state, page.playbook, before, limit], Found::read)?;
    let mut sources = HashMap::new();
    rows.map(|found| found?.complete(connection, &mut sources)).collect()
}

/// The runs in one of `states`, the first first.
pub(crate) fn in_states(connection: &Connection, states: &[RunState]) -> Result<Vec<(RunId, RunState)>> {
    let mut found = Vec::new();
    for state in states {
        let mut statement = connection
            .prepare_cached("SELECT number, id FROM runs WHERE state = ? AND imported = 0 ORDER BY number")?;
        let mut rows = statement.query([state.as_str()])?;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let id = id.parse().map_err(|_| Error::Corrupt(format!("a run has the id `{id}`")))?;
            found.push((row.get::<_, i64>(0)?, id, *state));
        }
    }
    found.sort_by_key(|(number, ..)| *number);
    Ok(found.into_iter().map(|(_, id, state)| (id, state)).collect())
}

/// The runs of a playbook that are not over, the first first.
pub(crate) fn unfinished_of(connection: &Connection, playbook: &str) -> Result<Vec<RunId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM runs WHERE playbook = ? AND state NOT IN ('done', 'failed', 'cancelled') AND imported = 0
         ORDER BY number",
    )?;
    let rows = statement.query_map([playbook], |row| word(row, "id"))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether somebody asked for the end of a run.
pub(crate) fn cancel_requested(connection: &Connection, run: &RunId) -> Result<bool> {
    let number = number(connection, run)?;
    let mut statement = connection.prepare_cached("SELECT cancel FROM runs WHERE number = ?")?;
    Ok(statement.query_row([number], |row| row.get(0))?)
}

/// The pinned sources of a run's modules.
pub(crate) fn sources(connection: &Connection, run: &RunId) -> Result<BTreeMap<String, String>> {
    let number = number(connection, run)?;
    let mut statement = connection.prepare_cached("SELECT module, blob FROM sources WHERE run = ?")?;
    let rows = statement.query_map([number], |row| Ok((row.get(0)?, row.get::<_, [u8; 32]>(1)?)))?;
    rows.map(|row| {
        let (module, hash) = row?;
        Ok((module, blob(connection, &hash)?))
    })
    .collect()
}

/// The run that has taken a saved plan, if one has.
pub(crate) fn taker_of_plan(connection: &Connection, name: &str) -> Result<Option<RunId>> {
    let mut statement = connection.prepare_cached(
        "SELECT run FROM records WHERE kind = ? AND node = '' AND name = ? AND run IS NOT NULL",
    )?;
    let mut rows = statement.query([KIND_OF_PLANS, name])?;
    Ok(rows.next()?.map(|row| word(row, "run")).transpose()?)
}

/// The steps of the saved plan that a run carries out.
pub(crate) fn planned(connection: &Connection, run: &RunId) -> Result<Option<String>> {
    let number = number(connection, run)?;
    let mut statement = connection.prepare_cached("SELECT planned FROM runs WHERE number = ?")?;
    let hash: Option<[u8; 32]> = statement.query_row([number], |row| row.get(0))?;
    hash.map(|hash| blob(connection, &hash)).transpose()
}

/// The services of which a run has ever held the lease.
pub(crate) fn held(connection: &Connection, run: &RunId) -> Result<Vec<(String, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT node, service FROM held WHERE run = ? ORDER BY node, service")?;
    let rows = statement.query_map([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A row of the runs, without what lies in other tables.
struct Found {
    number: i64,
    source: [u8; 32],
    run: Run,
}

impl Found {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let args = json(row, "args")?;
        let run = Run {
            id: word(row, "id")?,
            name: row.get("name")?,
            script: row.get("script")?,
            args: serde_json::from_value(args).unwrap_or_default(),
            params: json(row, "params")?,
            grants: json(row, "grants")?,
            limits: json(row, "limits")?,
            seed: row.get::<_, i64>("seed")?.cast_unsigned(),
            node: row.get("node")?,
            source: Arc::from(""),
            root: row.get("root")?,
            plan: row.get("plan")?,
            forgotten: row.get("forgotten")?,
            origin: optional_json(row, "origin")?,
            playbook: row.get("playbook")?,
            cause: optional_json(row, "cause")?,
            wish: optional_json(row, "wish")?,
            imported: row.get("imported")?,
            state: word(row, "state")?,
            outcome: optional_json(row, "outcome")?,
            exit_code: row.get("exit_code")?,
            cancel_requested: row.get("cancel")?,
            created: Timestamp(row.get("created")?),
            updated: Timestamp(row.get("updated")?),
            started: moment(row, "started")?,
            ended: moment(row, "ended")?,
            effects: 0,
            changed: 0,
        };
        Ok(Self { number: row.get("number")?, source: row.get("source")?, run })
    }

    fn complete(self, connection: &Connection, sources: &mut HashMap<[u8; 32], Arc<str>>) -> Result<Run> {
        let Self { number, source, mut run } = self;
        if let Some((effects, changed, at)) = last_entry(connection, number)? {
            (run.effects, run.changed) = (effects, changed);
            run.updated = run.updated.max(at);
        }
        run.source = match sources.get(&source) {
            Some(known) => known.clone(),
            None => {
                let text: Arc<str> = blob(connection, &source)?.into();
                sources.insert(source, text.clone());
                text
            }
        };
        Ok(run)
    }
}

/// How many effects of a run have completed and changed something, and when the last one did.
fn last_entry(connection: &Connection, number: i64) -> Result<Option<(u64, u64, Timestamp)>> {
    let keys = schema::completed(number, 0);
    let mut statement = connection.prepare_cached(
        "SELECT key, changes, ended FROM entries WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1",
    )?;
    let mut rows = statement.query([keys.start(), keys.end()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let place = schema::place(row.get(0)?);
    Ok(Some((u64::from(place), row.get::<_, u32>(1)?.into(), Timestamp(row.get(2)?))))
}

/// How many runs there are in each state.
pub(crate) fn count(connection: &Connection) -> Result<Vec<(RunState, u64)>> {
    let mut statement = connection
        .prepare_cached("SELECT state, count(*) AS found FROM runs WHERE imported = 0 GROUP BY state")?;
    let rows = statement
        .query_map([], |row| Ok((word(row, "state")?, row.get::<_, i64>("found")?.unsigned_abs())))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The runs that ended after the moment and run given, by the time of their end.
pub(crate) fn ended_after(
    connection: &Connection,
    moment: Timestamp,
    run: Option<&RunId>,
    limit: usize,
) -> Result<Vec<(RunId, Timestamp)>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, ended FROM runs WHERE ended >= ?1 AND (ended > ?1 OR id > ?2) AND imported = 0
         ORDER BY ended, id LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let run = run.map_or("", RunId::as_str);
    let rows = statement.query_map(params![moment.0, run, limit], |row| {
        Ok((word(row, "id")?, Timestamp(row.get("ended")?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Who took the lease of each service of a node last.
pub(crate) fn last_leases(connection: &Connection, node: &str) -> Result<Vec<(String, LastLease)>> {
    let mut statement = connection
        .prepare_cached("SELECT service, epoch, run, at FROM leases WHERE node = ? ORDER BY service")?;
    let rows = statement.query_map([node], |row| {
        let epoch = row.get::<_, i64>("epoch")?.unsigned_abs();
        let lease = LastLease { epoch, run: row.get("run")?, at: Timestamp(row.get("at")?) };
        Ok((row.get("service")?, lease))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
