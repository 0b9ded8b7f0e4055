//! Owns how stored words and blobs become values again.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::entry::Place;
use crate::error::{Error, Result};

/// The word in a column as the value it stands for.
pub(super) fn word<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    let index = row.as_ref().column_index(column)?;
    row.get_ref(index)?.as_str()?.parse().map_err(|error: T::Err| unreadable(index, &error))
}

/// The JSON in a column.
pub(super) fn json(row: &Row<'_>, column: &str) -> rusqlite::Result<Value> {
    let index = row.as_ref().column_index(column)?;
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| unreadable(index, &error))
}

/// The JSON in a column that may be empty.
pub(super) fn optional_json(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Value>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => json(row, column).map(Some),
    }
}

/// The place in the columns `file` and `line`.
pub(super) fn place(row: &Row<'_>) -> rusqlite::Result<Option<Place>> {
    let file: Option<String> = row.get("file")?;
    file.map(|file| Ok(Place { file, line: row.get("line")? })).transpose()
}

/// The moment in a column that may be empty.
pub(super) fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

/// The text that is stored under a hash.
pub(super) fn blob(connection: &Connection, hash: &[u8]) -> Result<String> {
    let mut statement = connection.prepare_cached("SELECT data FROM blobs WHERE hash = ?")?;
    let data: Vec<u8> = statement.query_row([hash], |row| row.get(0))?;
    String::from_utf8(data).map_err(|error| Error::Corrupt(error.to_string()))
}

fn unreadable(index: usize, cause: &dyn Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, cause.to_string().into())
}
