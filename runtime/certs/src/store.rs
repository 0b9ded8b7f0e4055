//! Owns the records of certificates with their keys, and of orders under way.

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Journal, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::certificate::Certificate;

const CERTIFICATE: &str = "certificate";
const ORDER: &str = "certificate-order";

/// An order under way: its key is kept before any authority hears of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    /// The same whenever this order is tried again.
    pub(crate) token: String,
    /// What it is carried out for, where that has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<String>,
    /// What was ordered: another request begins another order.
    pub(crate) request: String,
    /// The key, sealed.
    pub(crate) key: effect::Hidden,
    /// How far it is, in the driver's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noted: Option<String>,
    /// When it was opened.
    pub(crate) at: Timestamp,
}

/// The certificate called `id`.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn certificate(journal: &Journal, node: &str, id: &str) -> Result<Option<Certificate>> {
    let record = journal.record(CERTIFICATE, node, id).await?;
    record.map(|record| decode(&record.value)).transpose()
}

/// Every certificate with a key on this node, sorted by id.
///
/// # Errors
/// Where the journal cannot be read.
pub async fn certificates(journal: &Journal, node: &str) -> Result<Vec<Certificate>> {
    let records = journal.records(CERTIFICATE, Some(node)).await?;
    records.iter().map(|record| decode(&record.value)).collect()
}

/// The order under way for the certificate called `id`.
pub(crate) async fn order(journal: &Journal, node: &str, id: &str) -> Result<Option<Open>> {
    let record = journal.record(ORDER, node, id).await?;
    record.map(|record| decode(&record.value)).transpose()
}

/// What records an order.
pub(crate) fn order_write(node: &str, id: &str, order: &Open) -> Write {
    write(ORDER, node, id, Some(json!(order).to_string()))
}

/// What puts `certificate` in the place of the one before it and ends its order.
pub(crate) fn certificate_writes(node: &str, certificate: &Certificate) -> [Write; 2] {
    let value = Some(json!(certificate).to_string());
    [write(CERTIFICATE, node, &certificate.id, value), write(ORDER, node, &certificate.id, None)]
}

/// What forgets the certificate called `id`.
pub(crate) fn removal_writes(node: &str, id: &str) -> [Write; 2] {
    [write(CERTIFICATE, node, id, None), write(ORDER, node, id, None)]
}

fn write(kind: &str, node: &str, name: &str, value: Option<String>) -> Write {
    Write { kind: kind.into(), node: node.into(), name: name.into(), value, expect: Expect::Any }
}

fn decode<T: serde::de::DeserializeOwned>(value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|error| {
        Error::new(Code::JournalBroken, "a recorded certificate cannot be decoded").because(error)
    })
}
