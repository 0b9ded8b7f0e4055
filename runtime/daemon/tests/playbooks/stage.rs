//! Owns a folder of playbooks that is watched, with a reader that knows a few words of Luau.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daemon::playbooks::{
    Broken, CatchUp, Definition, Keeper, Loader, Mistake, Options, Overlap, Parts, Playbook, Settings, Shelf,
    Table, Text,
};
use effect::units::Span;
use effect::{Code, Error};
use journal::{Journal, SystemClock};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest that anything here waits; a test that gets there fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A playbook `name` that says `what` it is for.
pub(crate) fn playbook(name: &str, what: &str) -> String {
    format!("-- {what}\nreturn playbook {{\n    name = \"{name}\",\n    run = function() end,\n}}\n")
}

/// The same with a module.
pub(crate) fn requiring(name: &str, module: &str) -> String {
    format!("local module = require(\"{module}\")\n{}", playbook(name, "with a module"))
}

/// Reads files as the worker does, as far as these tests know the language.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// How many files it was given.
    pub(crate) reads: AtomicUsize,
    /// Every text that it has accepted.
    pub(crate) accepted: Mutex<Vec<Arc<str>>>,
    /// Files with this text are read only when it is taken away.
    pub(crate) held: watch::Sender<Option<&'static str>>,
}

#[async_trait]
impl Loader for Reader {
    async fn load(&self, text: &Text) -> Result<Parts, Mistake> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let holds = |held: &Option<&str>| held.is_some_and(|held| text.source.contains(held));
        let _ = self.held.subscribe().wait_for(|held| !holds(held)).await;
        let mut modules = BTreeMap::new();
        required(&text.root, &text.source, &text.modules, &mut modules)?;
        let said = text.source.split_once("return playbook {").ok_or_else(|| Mistake {
            is_other: true,
            ..Error::new(Code::Syntax, format!("`{}` returns no playbook", text.name)).into()
        })?;
        if let Some(at) = text.source.lines().position(|line| line.contains("((")) {
            let line = u32::try_from(at + 1).ok();
            let error = Error::new(Code::Syntax, format!("`{}` does not compile", text.name));
            return Err(Mistake { error, line, is_other: false });
        }
        let name = quoted(said.1, "name = \"").filter(|_| said.1.trim_end().ends_with('}'));
        let name = name.ok_or_else(|| Error::new(Code::Syntax, format!("`{}` ends too early", text.name)))?;
        self.accepted.lock().unwrap().push(text.source.clone());
        let definition = Definition {
            name: name.to_owned(),
            description: None,
            allow: None,
            on: Vec::new(),
            params: BTreeMap::new(),
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            timeout: None,
        };
        Ok(Parts { definition, modules })
    }
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once('"').map(|(quoted, _)| quoted)
}

fn required(
    root: &Path,
    source: &str,
    pinned: &BTreeMap<String, Arc<str>>,
    found: &mut BTreeMap<String, Arc<str>>,
) -> Result<(), Mistake> {
    for line in source.lines() {
        let Some(base) = quoted(line, "require(\"./") else { continue };
        let mut tried =
            [".luau", ".lua", "/init.luau", "/init.lua"].iter().map(|ending| format!("{base}{ending}"));
        let module = tried.find_map(|name| match pinned.get(&name) {
            Some(text) => Some((name, text.clone())),
            None => fs::read_to_string(root.join(&name)).ok().map(|text| (name, Arc::from(text))),
        });
        let (name, text) =
            module.ok_or_else(|| Error::new(Code::ModuleNotFound, format!("no module `./{base}`")))?;
        if text.contains("((") {
            return Err(Error::new(Code::Syntax, format!("`{name}` does not compile")).into());
        }
        if found.insert(name, text.clone()).is_none() {
            required(root, &text, pinned, found)?;
        }
    }
    Ok(())
}

/// Folders and a state directory.
pub(crate) struct Stage {
    base: TempDir,
    pub(crate) settings: Settings,
    pub(crate) program: String,
    pub(crate) reader: Arc<Reader>,
}

/// A keeper at work.
pub(crate) struct Kept {
    pub(crate) shelf: Shelf,
    pub(crate) journal: Journal,
    over: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let stage = Self {
            base: tempfile::tempdir().unwrap(),
            settings: Settings::default(),
            program: "one".to_owned(),
            reader: Arc::default(),
        };
        fs::create_dir(stage.folder()).unwrap();
        // What is heard must be enough; the look from time to time has a test of its own.
        Self {
            settings: Settings {
                folders: vec![stage.folder()],
                poll: Span::seconds(3600),
                ..Settings::default()
            },
            ..stage
        }
    }

    /// The folder of playbooks.
    pub(crate) fn folder(&self) -> PathBuf {
        self.base.path().join("playbooks")
    }

    /// A path beneath the folder of playbooks.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A path beside it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Writes a file in place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::open(&self.beside("state"), Arc::new(SystemClock)).unwrap()
    }

    /// Keeps playbooks until it is told to stop; every folder was looked at once.
    pub(crate) async fn keep(&self) -> Kept {
        let kept = self.keep_without_waiting().await;
        tokio::time::timeout(PATIENCE, kept.shelf.loaded()).await.expect("it is loaded");
        kept
    }

    pub(crate) async fn keep_without_waiting(&self) -> Kept {
        let journal = self.journal();
        let options = Options {
            settings: self.settings.clone(),
            journal: journal.clone(),
            node: "here".to_owned(),
            loader: self.reader.clone(),
            program: self.program.clone(),
        };
        let (shelf, keeper): (Shelf, Keeper) = Shelf::open(options).await.unwrap();
        let (over, is_over) = watch::channel(false);
        Kept { shelf, journal, over, keeper: tokio::spawn(keeper.keep(is_over)) }
    }
}

impl Kept {
    /// Waits until the table is so.
    #[track_caller]
    pub(crate) fn until<T>(
        &self,
        what: impl Into<String>,
        is_so: impl Fn(&Table) -> Option<T>,
    ) -> impl Future<Output = T> {
        let (mut table, what) = (self.shelf.table(), what.into());
        let caller = std::panic::Location::caller();
        async move {
            let waiting = async {
                loop {
                    let found = is_so(&table.borrow_and_update());
                    if let Some(found) = found {
                        return found;
                    }
                    table.changed().await.expect("the keeper is at work");
                }
            };
            match tokio::time::timeout(PATIENCE, waiting).await {
                Ok(found) => found,
                Err(_) => panic!("never: {what} ({caller})\n{:#?}", table.borrow()),
            }
        }
    }

    /// Waits until a playbook has a text.
    #[track_caller]
    pub(crate) fn until_text(&self, name: &str, part: &str) -> impl Future<Output = Arc<Playbook>> {
        let (name, part) = (name.to_owned(), part.to_owned());
        self.until(format!("`{name}` says {part}"), move |table| {
            table.playbooks.get(&name).filter(|playbook| playbook.source.contains(&part)).cloned()
        })
    }

    /// Waits until a file is broken by an error of a code.
    #[track_caller]
    pub(crate) fn until_broken(&self, file: &Path, code: Code) -> impl Future<Output = Broken> {
        let file = file.to_owned();
        self.until(format!("{} is broken", file.display()), move |table| {
            table.broken.get(&file).filter(|broken| broken.error.code == code).cloned()
        })
    }

    /// Waits until nothing is broken.
    #[track_caller]
    pub(crate) fn until_whole(&self) -> impl Future<Output = ()> {
        self.until("nothing is broken", |table| table.broken.is_empty().then_some(()))
    }

    /// The names of what is loaded.
    pub(crate) fn names(&self) -> Vec<String> {
        self.shelf.table().borrow().playbooks.keys().cloned().collect()
    }

    /// How often it was told that a playbook is broken.
    pub(crate) async fn told(&self) -> usize {
        let events = self.journal.events(0, 1000).await.unwrap();
        events.iter().filter(|event| event.name == "playbook.broken").count()
    }

    pub(crate) async fn stop(self) {
        self.over.send_replace(true);
        self.keeper.await.unwrap();
    }
}
