//! Owns how what is watched stood when it was last looked at: records, which change in one commit with what is told.

use std::collections::BTreeMap;

use effect::Result;
use journal::{Expect, Journal, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Parts;
use crate::metrics::Metrics;

const KIND: &str = "monitor";

/// What is remembered.
pub(super) struct Memory {
    journal: Journal,
    node: String,
    metrics: Metrics,
    known: Option<BTreeMap<String, String>>,
}

/// What a look changes and tells.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) events: Vec<(&'static str, Value)>,
    pub(super) values: Vec<(String, Option<String>)>,
}

impl Changes {
    pub(super) fn tell(&mut self, event: &'static str, data: Value) {
        self.events.push((event, data));
    }

    pub(super) fn keep(&mut self, name: String, value: &impl Serialize) {
        self.values.push((name, serde_json::to_string(value).ok()));
    }

    pub(super) fn forget(&mut self, name: String) {
        self.values.push((name, None));
    }
}

impl Memory {
    pub(super) fn new(parts: &Parts<'_>) -> Self {
        Self {
            journal: parts.journal.clone(),
            node: parts.node.to_owned(),
            metrics: parts.metrics.clone(),
            known: None,
        }
    }

    /// Everything that is remembered, by name.
    pub(super) async fn all(&mut self) -> Result<&BTreeMap<String, String>> {
        if self.known.is_none() {
            let records = self.journal.records(KIND, Some(&self.node)).await?;
            self.known = Some(records.into_iter().map(|record| (record.name, record.value)).collect());
        }
        Ok(self.known.get_or_insert_default())
    }

    /// What is remembered of `name`. What another version wrote is as good as nothing.
    pub(super) async fn of<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        Ok(self.all().await?.get(name).and_then(|value| serde_json::from_str(value).ok()))
    }

    /// Writes down what changed, and tells it.
    pub(super) async fn settle(&mut self, changes: Changes) -> Result<()> {
        let known = self.all().await?;
        let values: Vec<(String, Option<String>)> =
            changes.values.into_iter().filter(|(name, value)| known.get(name) != value.as_ref()).collect();
        if values.is_empty() && changes.events.is_empty() {
            return Ok(());
        }
        let write = |(name, value): &(String, Option<String>)| Write {
            kind: KIND.to_owned(),
            node: self.node.clone(),
            name: name.clone(),
            value: value.clone(),
            expect: Expect::Any,
        };
        let writes = values.iter().map(write).collect();
        let events =
            changes.events.iter().map(|(name, data)| ((*name).to_owned(), data.to_string())).collect();
        self.journal.tell(events, writes).await?;
        for (name, _) in &changes.events {
            self.metrics.event(name);
        }
        let known = self.known.get_or_insert_default();
        for (name, value) in values {
            match value {
                Some(value) => drop(known.insert(name, value)),
                None => drop(known.remove(&name)),
            }
        }
        Ok(())
    }
}
