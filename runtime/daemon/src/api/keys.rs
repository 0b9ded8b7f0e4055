//! Owns keys that make calls safe to repeat: one is recorded together with the run that its call began, or not at all.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Journal, Record, RunId, Write};
use prost::Message;
use serde::{Deserialize, Serialize};

const KIND: &str = "api-key";
/// How long a key gives its run.
const KEPT: Duration = Duration::from_secs(7 * 86_400);
/// Between looks for older ones.
const BETWEEN: Duration = Duration::from_secs(3600);

/// What is known of the keys of a node.
pub(super) struct Keys {
    journal: Journal,
    node: String,
    /// When older ones were last taken out.
    pruned: AtomicI64,
}

/// A call that has a key.
pub(super) struct Keyed {
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct Value {
    call: String,
    hash: String,
}

impl Keyed {
    /// The call `call` with `message`, in which the key was left out.
    pub(super) fn new(call: &str, key: &str, message: &impl Message) -> Self {
        let hash = blake3::hash(&message.encode_to_vec()).to_hex().to_string();
        let value = serde_json::json!(Value { call: call.to_owned(), hash }).to_string();
        Self { name: key.to_owned(), value }
    }
}

impl Keys {
    pub(super) fn new(journal: Journal, node: String) -> Self {
        Self { journal, node, pruned: AtomicI64::new(0) }
    }

    /// Begins a run by `begin`, or finds the one that the same call began before.
    pub(super) async fn once<F>(
        &self,
        keyed: Option<Keyed>,
        begin: impl FnOnce(Vec<Write>) -> F,
    ) -> Result<RunId>
    where
        F: Future<Output = Result<RunId>>,
    {
        let Some(keyed) = keyed else { return begin(Vec::new()).await };
        if let Some(run) = self.known(&keyed).await? {
            return Ok(run);
        }
        self.prune().await?;
        let write = Write {
            kind: KIND.into(),
            node: self.node.clone(),
            name: keyed.name.clone(),
            value: Some(keyed.value.clone()),
            expect: Expect::Absent,
        };
        match begin(vec![write]).await {
            Ok(run) => Ok(run),
            // The same call may have come twice at the same time: then the other one has begun the run.
            Err(error) => self.known(&keyed).await?.ok_or(error),
        }
    }

    async fn known(&self, keyed: &Keyed) -> Result<Option<RunId>> {
        let found = self.journal.record(KIND, &self.node, &keyed.name).await?;
        let Some(Record { value, run: Some(run), .. }) = found else { return Ok(None) };
        match value == keyed.value {
            true => Ok(Some(run)),
            false => {
                let before =
                    serde_json::from_str::<Value>(&value).map_or_else(|_| "call".into(), |value| value.call);
                let message = format!("the key `{}` was given with another `{before}`", keyed.name);
                Err(Error::new(Code::ApiKeyTaken, message).detail(format!("that began the run {run}")))
            }
        }
    }

    /// Takes out what is too old, now and then.
    async fn prune(&self) -> Result<()> {
        let now = self.journal.clock().now();
        let last = self.pruned.load(Ordering::Relaxed);
        // A clock that was set back must not stop this for good.
        if last != 0 && last <= now.0 && now.since(Timestamp(last)) < BETWEEN {
            return Ok(());
        }
        self.pruned.store(now.0, Ordering::Relaxed);
        let records = self.journal.records(KIND, Some(&self.node)).await?;
        let old = records.into_iter().filter(|record| now.since(record.at) > KEPT);
        let writes: Vec<Write> = old
            .map(|record| Write {
                kind: KIND.into(),
                node: record.node,
                name: record.name,
                value: None,
                expect: Expect::Any,
            })
            .collect();
        match writes.is_empty() {
            true => Ok(()),
            false => Ok(self.journal.write(writes).await?),
        }
    }
}
