//! Owns triggers on files: it watches them, waits until they have settled, and tells the engine which are others than
//! before. What they were is recorded, so that what changes while nobody watches is seen at the next start.

mod followed;
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
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use self::followed::Followed;
use self::scan::{Print, scan};
use self::watching::{Cover, Heard, Watching};
use super::engine::{Call, Inbox, Told, Verdict};
use super::identity;
use super::occurrence::write;
use super::wake::ended;
use crate::playbooks::{OnFile, Table, Trigger};

/// The kind of the records that say what files were.
pub(super) const KIND: &str = "trigger-files";
/// How many paths a playbook is told.
const MOST_TOLD: usize = 1000;
/// Between looks at what cannot be watched, or may have been missed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// Between looks at all files, whatever is watched: not every change is told of.
const BETWEEN_WHOLE_LOOKS: Duration = Duration::from_secs(60);
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
    heard: Arc<Heard>,
    /// None while it is at work, and before it has begun.
    watching: Option<Watching>,
    /// What could not be looked at, and when it is tried again.
    refused: HashMap<String, Instant>,
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
            heard: Arc::default(),
            watching: None,
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
        let (mut table, heard) = (self.table.clone(), self.heard.clone());
        let (mut look, mut whole) = (Instant::now(), Instant::now() + BETWEEN_WHOLE_LOOKS);
        loop {
            let adopted = self.adopt().await;
            if let Err(error) = &adopted {
                tracing::warn!(%error, "the files of triggers cannot be followed yet");
            }
            self.settle().await;
            if look <= Instant::now() {
                let is_whole = whole <= Instant::now();
                if is_whole {
                    whole = Instant::now() + BETWEEN_WHOLE_LOOKS;
                }
                self.look_again(is_whole).await;
                look = Instant::now() + BETWEEN_LOOKS;
            }
            let settled = self.followed.values().filter_map(|followed| Some(followed.changing?.1)).min();
            let is_idle = self.followed.is_empty() && self.refused.is_empty() && adopted.is_ok();
            let wake = if is_idle { None } else { Some(settled.map_or(look, |at| at.min(look))) };
            tokio::select! {
                biased;
                Ok(()) = table.changed() => look = Instant::now(),
                paths = heard.changed() => self.hear(&paths),
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
            self.followed.insert(name, Followed::new(on, print, now));
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
    async fn settle(&mut self) {
        let now = Instant::now();
        let is_settled = |followed: &Followed| followed.changing.is_some_and(|(_, settled)| settled <= now);
        let settled: Vec<String> =
            self.followed.iter().filter(|(_, one)| is_settled(one)).map(|(name, _)| name.clone()).collect();
        for name in &settled {
            if let Some(followed) = self.followed.get_mut(name) {
                followed.changing = None;
            }
        }
        // Before it is looked, so that nothing changes in between without being seen.
        self.cover(&settled).await;
        for name in settled {
            let Some(on) = self.followed.get(&name).map(|followed| followed.on.clone()) else { continue };
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
        let told = Told {
            trigger: name.to_owned(),
            // What they are now belongs to it: a clock that is set back shows the same time twice.
            moment: format!("{:014}-{}", at.0, print.mark()),
            at,
            event,
            beside: vec![self.record(name, &print)],
            marks: Vec::new(),
            is_ignored: false,
        };
        let ended = || Error::new(Code::FileWatch, "the engine of triggers has ended").retryable();
        if !self.inbox.tell(Call { told, answer }).await {
            return Err(ended());
        }
        match answered.await.map_err(|_| ended())?? {
            // The engine has not taken over yet what is loaded, or the playbook is gone.
            Verdict::Gone => Ok(()),
            Verdict::Recorded { .. } | Verdict::Known | Verdict::Ignored | Verdict::TooOften(_) => {
                if let Some(followed) = self.followed.get_mut(name) {
                    followed.print = print;
                }
                Ok(())
            }
        }
    }

    /// Looks at what is not watched, or only from now on, and watches what has come to be; at all of it, where `is_whole`.
    async fn look_again(&mut self, is_whole: bool) {
        let names: Vec<String> = self.followed.keys().cloned().collect();
        let covers = self.cover(&names).await;
        let now = Instant::now();
        for (name, followed) in &mut self.followed {
            if is_whole || covers.get(name) != Some(&Cover::Same) {
                followed.changing.get_or_insert((now, now));
            }
        }
    }

    /// Has the files of these triggers watched, on a thread of its own: a disk may take its time. Says how they are.
    async fn cover(&mut self, names: &[String]) -> HashMap<String, Cover> {
        let on = |name: &String| Some((name.clone(), self.followed.get(name)?.on.clone()));
        let wanted: Vec<(String, OnFile)> = names.iter().filter_map(on).collect();
        if wanted.is_empty() {
            return HashMap::new();
        }
        let mut watching = self.watching.take().unwrap_or_else(|| Watching::start(self.heard.clone()));
        let covering = spawn_blocking(move || {
            let covered = wanted.into_iter().map(|(name, on)| (name, watching.cover(&on)));
            let covered: Vec<_> = covered.collect();
            (watching, covered)
        });
        let covered = match covering.await {
            Ok((watching, covered)) => {
                self.watching = Some(watching);
                covered
            }
            Err(error) => {
                tracing::error!(%error, "files of triggers are watched anew: watching them has failed");
                return HashMap::new();
            }
        };
        let covers = covered.into_iter().filter_map(|(name, covered)| {
            let cover = self.followed.get_mut(&name)?.covered(covered);
            Some((name, cover))
        });
        covers.collect()
    }
}
