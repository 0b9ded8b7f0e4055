//! Owns one daemon's API of a test, with a journal, playbooks and sockets of its own, and clients of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daemon::api::client::{Client, Heard, Watch};
use daemon::api::{Accounts, Api, Reload, Rooms, Settings, open_socket, serve_socket};
use daemon::feed::Feed;
use daemon::playbooks::{
    Broken, CatchUp, Cron, Definition, Overlap, Parameter, ParameterKind, Playbook, Table, Trigger, history,
};
use effect::access::{Policy, Rule};
use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Journal, SystemClock, Write};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::accounts::Ledger;
use crate::executor::Executor;
use crate::leaving::Issuer;

pub(crate) const NODE: &str = "here";
/// Whatever takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

struct Reloads;

#[async_trait]
impl Reload for Reloads {
    async fn reload(&self) -> Result<Vec<String>> {
        Ok(vec!["daemon.api.socket".into()])
    }
}

fn nightly() -> Playbook {
    let force = Parameter {
        kind: ParameterKind::Boolean,
        description: Some("even where nothing is due".into()),
        default: Some(json!(false)),
        choices: Vec::new(),
    };
    let cron = Cron { expression: "17 3 * * *".into(), zone: None, jitter: Duration::ZERO };
    Playbook {
        definition: Definition {
            name: "nightly".into(),
            description: Some("looks after things".into()),
            allow: Some(vec!["certs".into()]),
            on: vec![Trigger::Cron(cron), Trigger::Boot],
            params: BTreeMap::from([("force".to_owned(), force)]),
            overlap: Overlap::Skip,
            catch_up: CatchUp::Once,
            timeout: Some(Duration::from_secs(60)),
        },
        version: "0123456789abcdef".into(),
        number: 2,
        file: "/etc/mcrun/playbooks/nightly.lua".into(),
        root: "/etc/mcrun/playbooks".into(),
        source: "return playbook {}".into(),
        modules: BTreeMap::from([("./lib".to_owned(), Arc::from("return 1"))]),
        loaded: Timestamp(1_760_000_000_000),
    }
}

fn table() -> Table {
    let broken = Broken {
        playbook: None,
        error: Error::new(Code::Syntax, "`broken.lua` does not compile"),
        line: Some(3),
        since: Timestamp(1_760_000_000_000),
    };
    Table {
        playbooks: BTreeMap::from([("nightly".to_owned(), Arc::new(nightly()))]),
        broken: BTreeMap::from([(PathBuf::from("/etc/mcrun/playbooks/broken.lua"), broken)]),
    }
}

/// What was recorded before the daemon began.
async fn record(journal: &Journal) {
    let put = |kind: &str, name: &str, value: String| Write {
        kind: kind.into(),
        node: NODE.into(),
        name: name.into(),
        value: Some(value),
        expect: Expect::Any,
    };
    let version = history::Version {
        number: 1,
        version: "fedcba9876543210".into(),
        file: "/etc/mcrun/playbooks/nightly.lua".into(),
        loaded: Timestamp(1_750_000_000_000),
        sources: vec![history::Source { name: "nightly.lua".into(), hash: "abc".into() }],
    };
    let services = ["mcq", "mcr", "web"];
    let services =
        services.map(|name| put("service", name, json!({ "version": "v1", "image": "x" }).to_string()));
    let mut writes = services.to_vec();
    writes.push(put("playbook-version", "nightly/000000000001", serde_json::to_string(&version).unwrap()));
    writes.push(put("playbook-source", "abc", json!("return playbook {} -- the first").to_string()));
    journal.write(writes).await.unwrap();
    journal.emit("db.restored", "{\"from\":\"nightly\"}").await.unwrap();
}

/// A daemon's API.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) journal: Journal,
    pub(crate) executor: Arc<Executor>,
    pub(crate) api: Api,
    pub(crate) settings: Settings,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) accounts: Arc<Ledger>,
    access: Arc<Mutex<Arc<Policy>>>,
    over: watch::Sender<bool>,
    playbooks: watch::Sender<Arc<Table>>,
}

impl Stage {
    /// One that does not listen yet.
    pub(crate) async fn new(settings: Settings) -> Self {
        Self::with(settings, true).await
    }

    /// One that listens, and keeps no accounts.
    pub(crate) async fn without_accounts() -> Self {
        let stage = Self::with(Settings::default(), false).await;
        stage.listen().await;
        stage
    }

    async fn with(settings: Settings, keeps_accounts: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        record(&journal).await;
        let executor = Arc::new(Executor::new(journal.clone()));
        let playbooks = watch::Sender::new(Arc::new(table()));
        let over = watch::Sender::new(false);
        let access = Arc::new(Mutex::new(Arc::new(Policy::new(&[], settings.rules()).unwrap())));
        let (issuer, accounts) = (Arc::new(Issuer::default()), Arc::new(Ledger::default()));
        let api = Api::new(Rooms {
            runs: executor.clone(),
            journal: journal.clone(),
            feed: Feed::start(journal.clone(), over.subscribe()),
            playbooks: playbooks.subscribe(),
            zone: jiff::tz::TimeZone::UTC,
            access: {
                let access = access.clone();
                Arc::new(move || access.lock().unwrap().clone())
            },
            accounts: keeps_accounts.then(|| accounts.clone() as Arc<dyn Accounts>),
            tokens: Some(issuer.clone()),
            reload: Some(Arc::new(Reloads)),
            node: NODE.into(),
            started: Timestamp(1_770_000_000_000),
        });
        Self { folder, journal, executor, api, settings, issuer, accounts, access, over, playbooks }
    }

    /// One that listens at its socket.
    pub(crate) async fn open() -> Self {
        let stage = Self::new(Settings::default()).await;
        stage.listen().await;
        stage
    }

    pub(crate) async fn listen(&self) -> tokio::task::JoinHandle<()> {
        let opened = open_socket(&self.settings, self.folder.path()).await.unwrap();
        tokio::spawn(serve_socket(opened, self.api.clone(), self.over()))
    }

    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.settings.socket_in(self.folder.path())
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }

    /// Has these rules count from now on.
    pub(crate) fn rule(&self, rules: serde_json::Value) {
        let rules: Vec<Rule> = serde_json::from_value(rules).unwrap();
        let policy = Policy::new(&rules, self.settings.rules()).unwrap();
        *self.access.lock().unwrap() = Arc::new(policy);
    }

    /// What was asked of whoever keeps accounts.
    pub(crate) fn asked_of_accounts(&self) -> Vec<String> {
        self.accounts.asked.lock().unwrap().iter().map(|(_, asked)| asked.clone()).collect()
    }

    pub(crate) fn forget_playbooks(&self) {
        self.playbooks.send_replace(Arc::default());
    }

    /// Waits until a run has so many watchers.
    pub(crate) async fn watched_by(&self, run: &journal::RunId, count: usize) {
        let there = async {
            while self.executor.watchers(run) < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, there).await.unwrap();
    }
}

/// What is told next.
pub(crate) async fn next(watch: &mut Watch) -> Option<Heard> {
    timeout(PATIENCE, watch.next()).await.unwrap().unwrap()
}

/// The Python of the peers, with grpcio: `tests/install.sh` makes it.
pub(crate) fn python() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/bin/python3")
}
