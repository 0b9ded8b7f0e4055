//! Owns triggers on files: it watches them, waits until they have settled, and tells the engine which are others than
//! before. What they were is recorded, so that what changes while nobody watches is seen at the next start.

mod scan;
mod watching;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use effect::{Code, Error, Result};
use journal::{Expect, Journal};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::scan::{Print, scan};
use self::watching::Watching;
use super::engine::{Call, Inbox, Verdict};
use super::identity;
use super::occurrence::write;
use super::wake::ended;
use crate::playbooks::{OnFile, Table, Trigger};

/// The kind of the records that say what files were.
pub(super) const KIND: &str = "trigger-files";
/// How many paths a playbook is told.
const MOST_TOLD: usize = 1000;
/// What is quieter than this has not settled: a program writes a file in several steps.
const SHORTEST_SETTLE: Duration = Duration::from_millis(50);
/// Files that keep changing are told of all the same after so many times their settling.
const LONGEST_SETTLE: u32 = 20;
/// Between looks at what cannot be watched, or may have been missed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// Between tries to look at what cannot be looked at.
const BETWEEN_TRIES: Duration = Duration::from_secs(60);
/// After something could not be recorded.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the files of everything that is loaded.
#[derive(Debug)]
pub struct Files {
    journal: Journal,
    node: String,
    table: watch::Receiver<Arc<Table>>,
    inbox: Inbox,
    adopted: Option<Arc<Table>>,
    followed: BTreeMap<String, Followed>,
    /// What could not be looked at, and when it is tried again.
    refused: HashMap<String, Instant>,
}

/// The files of one trigger.
#[derive(Debug)]
struct Followed {
    on: OnFile,
    /// What they were when they were last told of.
    print: Print,
    /// Since when they change, and when they will have settled.
    changing: Option<(Instant, Instant)>,
    /// Whether it was said that they cannot be watched.
    is_told: bool,
}

impl Followed {
    fn changed(&mut self, now: Instant) {
        let settle = self.on.settle.max(SHORTEST_SETTLE);
        let since = self.changing.map_or(now, |(since, _)| since);
        self.changing = Some((since, (now + settle).min(since + settle * LONGEST_SETTLE)));
    }
}

impl Files {
    /// Follows what is loaded.
    #[must_use]
    pub fn new(journal: Journal, node: String, table: watch::Receiver<Arc<Table>>, inbox: Inbox) -> Self {
        Self {
            journal,
            node,
            table,
            inbox,
            adopted: None,
            followed: BTreeMap::new(),
            refused: HashMap::new(),
        }
    }

    /// Watches until `shutdown` becomes true, or its sender is gone.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            () = ended(&mut shutdown) => {}
            () = self.work() => {}
        }
    }

    async fn work(mut self) {
        let mut table = self.table.clone();
        let mut watching = Watching::start();
        let mut look = Instant::now();
        loop {
            let adopted = self.adopt().await;
            if let Err(error) = &adopted {
                tracing::warn!(%error, "the files of triggers cannot be followed yet");
            }
            self.settle(&mut watching).await;
            if look <= Instant::now() {
                self.look_again(&mut watching);
                look = Instant::now() + BETWEEN_LOOKS;
            }
            let settled = self.followed.values().filter_map(|followed| Some(followed.changing?.1)).min();
            let is_idle = self.followed.is_empty() && self.refused.is_empty() && adopted.is_ok();
            let wake = if is_idle { None } else { Some(settled.map_or(look, |at| at.min(look))) };
            tokio::select! {
                biased;
                Ok(()) = table.changed() => look = Instant::now(),
                paths = watching.changed() => self.hear(&paths),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Takes over what is loaded now. What is new begins with what its files are now.
    async fn adopt(&mut self) -> Result<()> {
        let table = self.table.borrow().clone();
        let is_adopted = self.adopted.as_ref().is_some_and(|adopted| Arc::ptr_eq(adopted, &table));
        if is_adopted && self.refused.is_empty() {
            return Ok(());
        }
        let mut wanted: HashMap<String, OnFile> = HashMap::new();
        for playbook in table.playbooks.values() {
            for trigger in &playbook.definition.on {
                if let Trigger::File(on) = trigger {
                    wanted.insert(identity::name(&playbook.definition.name, trigger), on.clone());
                }
            }
        }
        self.followed.retain(|name, _| wanted.contains_key(name));
        self.refused.retain(|name, _| wanted.contains_key(name));
        for (name, on) in wanted {
            if let Some(followed) = self.followed.get_mut(&name) {
                followed.on = on;
                continue;
            }
            let now = Instant::now();
            if self.refused.get(&name).is_some_and(|again| *again > now) {
                continue;
            }
            let recorded = self.journal.record(KIND, &self.node, &name).await?;
            let print = match recorded.and_then(|record| serde_json::from_str(&record.value).ok()) {
                Some(print) => print,
                None => match scan(&on).await {
                    Ok(print) => {
                        self.journal.write(vec![self.record(&name, &print)]).await?;
                        print
                    }
                    Err(error) => {
                        tracing::warn!(%error, path = %on.path.display(), "files of a trigger are not followed");
                        self.refused.insert(name, now + BETWEEN_TRIES);
                        continue;
                    }
                },
            };
            self.refused.remove(&name);
            // What changed while nobody watched is seen at once.
            self.followed.insert(name, Followed { on, print, changing: Some((now, now)), is_told: false });
        }
        self.adopted = Some(table);
        Ok(())
    }

    fn record(&self, name: &str, print: &Print) -> journal::Write {
        let value = serde_json::to_string(print).expect("names and numbers are plain data");
        write(KIND, &self.node, name, Some(value), Expect::Any)
    }

    fn hear(&mut self, paths: &[PathBuf]) {
        let now = Instant::now();
        for followed in self.followed.values_mut() {
            // Without paths it is not known what has changed.
            if paths.is_empty() || paths.iter().any(|path| scan::concerns(&followed.on, path)) {
                followed.changed(now);
            }
        }
    }

    /// Looks at what has settled.
    async fn settle(&mut self, watching: &mut Watching) {
        let now = Instant::now();
        let is_settled = |followed: &Followed| followed.changing.is_some_and(|(_, settled)| settled <= now);
        let settled: Vec<String> =
            self.followed.iter().filter(|(_, one)| is_settled(one)).map(|(name, _)| name.clone()).collect();
        for name in settled {
            let Some(followed) = self.followed.get_mut(&name) else { continue };
            followed.changing = None;
            // Before it is looked, so that nothing changes in between without being seen.
            watching.cover(&followed.on, &mut followed.is_told);
            let on = followed.on.clone();
            if let Err(error) = self.tell(&name, &on).await {
                tracing::warn!(%error, path = %on.path.display(), "a change of files cannot be told of yet");
                let pause = if error.code == Code::FileWatch { BETWEEN_TRIES } else { PAUSE };
                if let Some(followed) = self.followed.get_mut(&name) {
                    let again = Instant::now() + pause;
                    followed.changing = Some((again, again));
                }
            }
        }
    }

    /// Tells the engine which files are others than before.
    async fn tell(&mut self, name: &str, on: &OnFile) -> Result<()> {
        let print = scan(on).await?;
        let Some(followed) = self.followed.get(name) else { return Ok(()) };
        if print == followed.print {
            return Ok(());
        }
        let at = self.journal.clock().now();
        let mut paths = print.differences(&followed.print);
        paths.truncate(MOST_TOLD);
        let event: Value = json!({ "kind": "file", "paths": paths, "at": at.to_string() });
        let (answer, answered) = oneshot::channel();
        let call = Call {
            trigger: name.to_owned(),
            // What they are now belongs to it: a clock that is set back shows the same time twice.
            moment: format!("{:014}-{}", at.0, print.mark()),
            at,
            event,
            beside: vec![self.record(name, &print)],
            answer,
        };
        let ended = || Error::new(Code::FileWatch, "the engine of triggers has ended").retryable();
        if !self.inbox.tell(call).await {
            return Err(ended());
        }
        match answered.await.map_err(|_| ended())?? {
            // The engine has not taken over yet what is loaded, or the playbook is gone.
            Verdict::Gone => Ok(()),
            Verdict::Recorded { .. } | Verdict::Known | Verdict::TooOften(_) => {
                if let Some(followed) = self.followed.get_mut(name) {
                    followed.print = print;
                }
                Ok(())
            }
        }
    }

    /// Looks at what is not watched, and watches what has come to be.
    fn look_again(&mut self, watching: &mut Watching) {
        let now = Instant::now();
        for followed in self.followed.values_mut() {
            if !watching.cover(&followed.on, &mut followed.is_told) && followed.changing.is_none() {
                followed.changing = Some((now, now));
            }
        }
    }
}
