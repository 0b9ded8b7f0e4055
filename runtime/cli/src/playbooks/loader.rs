//! Owns the thread that reads playbooks' files one after another and several at once: its workers are copies of a template,
//! and one helper checks the types of all of them. Both end when nothing has been read for a while.

use std::cell::Cell;
use std::time::Duration;

use async_trait::async_trait;
use daemon::playbooks::{self, Mistake, Parts, Text, names_playbook};
use effect::{Code, Error, Result};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use script::{Limits, Modules, Template, Worker};
use tokio::sync::{Mutex, OnceCell, mpsc, oneshot};

use super::read;
use crate::arguments::Global;
use crate::commands::{Checker, Finding, Sources};
use crate::execute::{PROGRAM, start_worker};
use crate::{stdlib, wiring};

/// So many files are read at once; the others wait.
const AT_ONCE: usize = 8;
/// What nobody has asked for in this time is given back.
const IDLE: Duration = Duration::from_secs(30);
/// More of what a check finds than anybody wants to read.
const MOST_FINDINGS: usize = 20;

struct Wanted {
    text: Text,
    answer: oneshot::Sender<Result<Parts, Mistake>>,
}

/// Whoever reads files. Dropping all copies of it ends the thread.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    wanted: mpsc::Sender<Wanted>,
}

impl Loader {
    /// Starts the thread; workers and the helper come with the first file.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(crate) fn start(global: &Global) -> Result<Self> {
        let (wanted, files) = mpsc::channel(AT_ONCE);
        let global = global.clone();
        let failed = |error: std::io::Error| {
            Error::new(Code::Internal, "there is no thread to read playbooks with").because(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name("mcrun-playbooks".to_owned())
            .spawn(move || runtime.block_on(serve(global, files)))
            .map_err(failed)?;
        Ok(Self { wanted })
    }
}

#[async_trait]
impl playbooks::Loader for Loader {
    /// Reads a file and checks its types.
    async fn load(&self, text: &Text) -> Result<Parts, Mistake> {
        let gone = || Error::new(Code::Internal, "nobody reads playbooks any more");
        let (answer, answered) = oneshot::channel();
        self.wanted.send(Wanted { text: text.clone(), answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn serve(global: Global, mut files: mpsc::Receiver<Wanted>) {
    let mut desk = Desk::new(global.clone());
    loop {
        let Some(first) = next(&mut files, &mut desk, &global).await else { return };
        let mut open = FuturesUnordered::new();
        open.push(desk.answer(first));
        loop {
            tokio::select! {
                more = files.recv(), if open.len() < AT_ONCE => match more {
                    Some(wanted) => open.push(desk.answer(wanted)),
                    None if open.is_empty() => return,
                    None => while open.next().await.is_some() {},
                },
                Some(()) = open.next() => if open.is_empty() && files.is_empty() { break },
                else => break,
            }
        }
    }
}

/// The next file; what is not needed meanwhile is given back.
async fn next(files: &mut mpsc::Receiver<Wanted>, desk: &mut Desk, global: &Global) -> Option<Wanted> {
    match tokio::time::timeout(IDLE, files.recv()).await {
        Ok(next) => next,
        Err(_) => {
            *desk = Desk { warned: Cell::new(desk.warned.get()), ..Desk::new(global.clone()) };
            files.recv().await
        }
    }
}

/// The helper that checks types.
enum Checking {
    /// It was not started yet.
    Unknown,
    Ready(Box<Checker>),
    /// It cannot be started.
    Missing,
}

/// What the thread works with.
struct Desk {
    global: Global,
    effects: OnceCell<Vec<String>>,
    template: OnceCell<Template>,
    checker: Mutex<Checking>,
    /// Whether somebody was told that types are not checked.
    warned: Cell<bool>,
}

impl Desk {
    fn new(global: Global) -> Self {
        Self {
            global,
            effects: OnceCell::new(),
            template: OnceCell::new(),
            checker: Mutex::new(Checking::Unknown),
            warned: Cell::new(false),
        }
    }

    async fn answer(&self, wanted: Wanted) {
        let read = self.load(&wanted.text).await;
        // Nobody may want to know any more.
        let _ = wanted.answer.send(read);
    }

    async fn load(&self, text: &Text) -> Result<Parts, Mistake> {
        let name = text.name.as_str();
        if !names_playbook(&text.source) {
            let message = format!("`{name}` is a script, not a playbook: it does not return one");
            return Err(Mistake { is_other: true, ..Error::new(Code::NotPlaybook, message).into() });
        }
        let limit = Limits::default().source;
        let pinned = text.modules.iter().map(|(name, text)| (name.clone(), text.to_string())).collect();
        let modules = Modules::open(&text.root, stdlib::source, limit)?.with_pinned(pinned);
        let effects = self.effects.get_or_try_init(|| async {
            Ok::<_, Error>(
                wiring::declarations(&self.global)?.names().map(|(name, _)| name.to_owned()).collect(),
            )
        });
        let effects: Vec<String> = effects.await?.clone();
        let mut parts =
            read(self.worker().await?, effects.clone(), &modules, (name, &text.source), limit).await;
        // A worker that died says nothing of the file.
        if parts.as_ref().is_err_and(|mistake| mistake.error.code == Code::WorkerLost) {
            parts = read(start_worker()?, effects, &modules, (name, &text.source), limit).await;
        }
        let parts = parts?;
        self.check(text, &parts).await?;
        Ok(parts)
    }

    async fn worker(&self) -> Result<Worker> {
        let template = self.template.get_or_try_init(|| Template::start(PROGRAM.as_ref())).await;
        match template {
            Ok(template) => match template.worker().await {
                Ok(worker) => Ok(worker),
                Err(_) => start_worker(),
            },
            Err(_) => start_worker(),
        }
    }

    /// Checks the types. A check that cannot be made is told of, once, and keeps nothing from being loaded.
    async fn check(&self, text: &Text, parts: &Parts) -> Result<(), Mistake> {
        let sources = Sources::taken(&text.root, (&text.name, &text.source), &parts.modules);
        let findings = match self.findings(&mut *self.checker.lock().await, &sources).await {
            Ok(findings) => findings,
            Err(error) => {
                if !self.warned.replace(true) {
                    let hint = error.advice().unwrap_or_default();
                    tracing::warn!(%error, hint, "the types of playbooks are not checked");
                }
                return Ok(());
            }
        };
        let own = text.root.join(&text.name).display().to_string();
        match type_errors(text, &own, findings) {
            Some(mistake) => Err(mistake),
            None => Ok(()),
        }
    }

    async fn findings(&self, checking: &mut Checking, sources: &Sources) -> Result<Vec<Finding>> {
        if let Checking::Unknown = checking {
            *checking = Checking::Missing;
            let declared = wiring::declarations(&self.global)?;
            let definitions = script::types::definitions(declared.declarations());
            *checking = Checking::Ready(Box::new(Checker::start(&definitions).await?));
        }
        let Checking::Ready(checker) = checking else { return Ok(Vec::new()) };
        let findings = checker.check(sources).await;
        if findings.is_err() {
            *checking = Checking::Unknown;
        }
        findings
    }
}

/// What a check found, as one mistake; warnings are none.
fn type_errors(text: &Text, own: &str, findings: Vec<Finding>) -> Option<Mistake> {
    let place = |finding: &Finding| {
        let module = std::path::Path::new(&finding.module);
        let name = module.strip_prefix(&text.root).unwrap_or(module).display();
        format!("{name}:{}:{}: {}", finding.line, finding.column, finding.message.replace('\n', " "))
    };
    let mut wrong = findings.into_iter().filter(|finding| !finding.warning);
    let first = wrong.next()?;
    let message = format!("`{}` does not pass the type check", text.name);
    let mut error = Error::new(Code::TypeErrors, message).because(place(&first));
    for finding in wrong.take(MOST_FINDINGS) {
        error = error.detail(place(&finding));
    }
    Some(Mistake { error, line: (first.module == own).then_some(first.line), is_other: false })
}
