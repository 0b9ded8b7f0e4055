//! An archive that somebody else has made, read as a plan of `files.extract` reads it: to its end, without writing anything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use effect::context::Shared;
use effect::policy::Grants;
use effect::session::Decisions;
use effect::{Code, Event, Mode, Observer, Overlay, Policy, Registry, Request, Sealer, Session};
use journal::{Identity, Journal, RunId, SystemClock, Timestamp};
use serde_json::json;
use system::{SecretStore, ServiceLogs};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// So often is the plan begun anew, which remembers what it has planned.
const PLANS: u32 = 500;

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: Event<'_>) {}
}

#[async_trait]
impl ServiceLogs for Nobody {
    async fn last_lines(&self, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

struct Stage {
    _folder: TempDir,
    runtime: Runtime,
    root: PathBuf,
    session: Session,
    counter: u32,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut registry = Registry::default();
        system::register(&mut registry, &system::World::new(&root, Arc::new(Nobody)));
        let clock = Arc::new(SystemClock);
        let grants = Grants { allow: vec!["files".to_owned()], ..Grants::default() };
        let shared = Shared {
            run: RunId::new(Timestamp(1_800_000_000_000), 1),
            node: "here".into(),
            mode: Mode::Plan,
            policy: Policy::new(None, &grants).unwrap(),
            secrets: Arc::new(SecretStore::new(&BTreeMap::new(), &root).unwrap()),
            sealer: Arc::new(Sealer::ephemeral()),
            journal: Journal::open(&root.join("state"), clock.clone()).unwrap(),
            clock,
            root: root.clone(),
            overlay: Overlay::default(),
        };
        let session =
            Session::new(Arc::new(registry), shared, Arc::new(Nobody), Vec::new(), Decisions::default());
        Self { _folder: folder, runtime, root, session, counter: 0 }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.counter += 1;
        std::fs::write(self.root.join("a.tar"), bytes).unwrap();
        let arguments = json!({ "path": format!("out{}", self.counter), "archive": "a.tar" });
        let request = Request {
            identity: Identity { scope: String::new(), counter: self.counter, name: "files.extract".into() },
            arguments: serde_json::value::to_raw_value(&arguments).unwrap(),
            place: None,
        };
        let answer = self.runtime.block_on(self.session.perform(request)).expect("a plan goes on");
        if let Err(error) = answer {
            let known = [Code::ArchiveBroken, Code::ArchiveRefused, Code::TooLarge];
            assert!(known.contains(&error.code), "{error}");
        }
    }
}

/// An archive.
///
/// # Panics
/// When it is neither read nor refused with the code of an archive.
pub fn archive(bytes: &[u8]) {
    STAGE.with_borrow_mut(|stage| {
        if stage.as_ref().is_some_and(|stage| stage.counter == PLANS) {
            *stage = None;
        }
        stage.get_or_insert_with(Stage::new).read(bytes);
    });
}
