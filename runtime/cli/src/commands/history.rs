//! Owns where a history is cut: which step is meant, and what is done again from there on.

use std::collections::BTreeSet;

use effect::runs::Restore;
use effect::{Code, Error, Result};
use journal::{Entry, Kind, Recorded, Run, Status};

use super::runs::{entry_subject, is_forgotten};
use super::services::confirm;
use crate::app::App;
use crate::render;

const PAGE: usize = 1000;
/// How many steps or acts are listed.
const MOST_LISTED: usize = 20;
/// How many changes of later runs are looked through.
const MOST_LATER: usize = 1_000_000;

/// A place in a recorded history.
pub(super) struct Cut {
    /// The order of the last entry before it.
    pub(super) after: u64,
    /// What comes after it.
    again: Again,
}

/// What lies beyond a cut and is done again.
#[derive(Default)]
struct Again {
    effects: u64,
    acts: u64,
    shown: Vec<String>,
}

/// How somebody names a place: `migrate`, the name of a step, or `deploy#3`, an effect as `mcrun show` prints it.
enum Wanted<'a> {
    Step(&'a str),
    Effect(&'a str, u32),
}

impl<'a> Wanted<'a> {
    fn parse(text: &'a str) -> Self {
        let effect = text.rsplit_once('#').and_then(|(scope, counter)| Some((scope, counter.parse().ok()?)));
        match effect {
            Some((scope, counter)) => Self::Effect(scope, counter),
            None => Self::Step(text),
        }
    }

    /// The path of what is meant, when something in `scope` is part of it.
    fn path<'s>(&self, scope: &'s str, counter: u32) -> Option<&'s str> {
        match self {
            Self::Effect(wanted, number) => (*wanted == scope && *number == counter).then_some(scope),
            Self::Step(name) => ends_of_parts(scope)
                .map(|end| &scope[..end])
                .find(|path| path == name || path.rsplit('/').next() == Some(name)),
        }
    }
}

/// Where each part of a scope path ends.
fn ends_of_parts(scope: &str) -> impl Iterator<Item = usize> {
    let separators = scope.match_indices('/').map(|(at, _)| at);
    let whole = (!scope.is_empty()).then_some(scope.len());
    separators.chain(whole)
}

/// The place in a run's history just before `step`.
pub(super) async fn cut(app: &App, run: &Run, step: &str) -> Result<Cut> {
    let wanted = Wanted::parse(step);
    let mut found = Search::default();
    let mut after = 0;
    loop {
        let page = app.journal.history(&run.id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        let end = last.order;
        page.iter().for_each(|item| found.look(&wanted, item, after_of(&page, item, after)));
        after = end;
    }
    for open in app.journal.open_entries(&run.id).await? {
        found.see(&wanted, &open.identity.scope, open.identity.counter, after);
    }
    let after = found.only(run, step)?;
    Ok(Cut { after, again: again(app, run, after).await? })
}

/// The order of what comes before `item` in its page, or of the last of the page before.
fn after_of(page: &[Recorded], item: &Recorded, before: u64) -> u64 {
    let index = page.partition_point(|other| other.order < item.order);
    index.checked_sub(1).map_or(before, |index| page[index].order)
}

/// What a history has of the step that is looked for.
#[derive(Default)]
struct Search {
    first: Option<u64>,
    paths: BTreeSet<String>,
    /// The steps that there are.
    known: BTreeSet<String>,
}

impl Search {
    fn look(&mut self, wanted: &Wanted<'_>, item: &Recorded, before: u64) {
        self.see(wanted, &item.identity.scope, item.identity.counter, before);
    }

    fn see(&mut self, wanted: &Wanted<'_>, scope: &str, counter: u32, before: u64) {
        if let Some(path) = wanted.path(scope, counter) {
            self.first.get_or_insert(before);
            if !self.paths.contains(path) {
                self.paths.insert(path.to_owned());
            }
        }
        if self.known.len() < MOST_LISTED && !scope.is_empty() && !self.known.contains(scope) {
            self.known.insert(scope.to_owned());
        }
    }

    fn only(self, run: &Run, step: &str) -> Result<u64> {
        let wrong = |message: String, paths: BTreeSet<String>| {
            let mut error = Error::new(Code::Usage, message);
            error.details = paths.into_iter().take(MOST_LISTED).collect();
            error
        };
        match (self.first, self.paths.len()) {
            (Some(first), 1) => Ok(first),
            (Some(_), _) => Err(wrong(format!("`{step}` could be any of these"), self.paths)
                .hint("name one by its whole path")),
            (None, _) => Err(wrong(format!("run {} has recorded no step `{step}`", run.id), self.known)
                .hint(format!("`mcrun show {}` lists its effects: `--from SCOPE#N` names one", run.id))),
        }
    }
}

async fn again(app: &App, run: &Run, after: u64) -> Result<Again> {
    let mut again = Again::default();
    let mut after = after;
    loop {
        let page = app.journal.entries(&run.id, after, PAGE).await?;
        page.iter().filter(|entry| !is_forgotten(entry)).for_each(|entry| again.add(entry));
        match page.last().and_then(|entry| entry.order) {
            Some(last) => after = last,
            None => return Ok(again),
        }
    }
}

impl Again {
    fn add(&mut self, entry: &Entry) {
        self.effects += 1;
        if entry.kind != Kind::Act {
            return;
        }
        self.acts += 1;
        if self.shown.len() < MOST_LISTED {
            let place = entry.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            let became = match entry.status {
                Status::Begun => "in doubt",
                status => status.as_str(),
            };
            let subject = render::printable(&entry_subject(entry));
            self.shown.push(format!("{} {subject}{place}: {became}", entry.identity));
        }
    }
}

impl Cut {
    /// Says what is done again, and asks where that is more than looking and comparing.
    pub(super) fn confirm(&self, app: &App, step: &str) -> Result<()> {
        let Again { effects, acts, shown } = &self.again;
        render::note(format_args!("from `{step}` on: {} once more", render::count(*effects, "effect")));
        if *acts == 0 {
            return Ok(());
        }
        shown.iter().for_each(|line| render::note(format_args!("  ! {line}")));
        if *acts > shown.len() as u64 {
            render::note(format_args!("  and {} more", acts - shown.len() as u64));
        }
        confirm(app, &format!("Do {} again?", render::count(*acts, "act")))
    }
}

/// A history that was undone tells of things that are not there any more.
pub(super) async fn check_not_undone(app: &App, run: &Run) -> Result<()> {
    let id = run.id.to_string();
    for later in app.journal.later_changes(&run.id, MOST_LATER).await? {
        let restored = (later.identity.name == "runs.restore")
            .then(|| serde_json::from_str::<Restore>(&later.arguments).ok())
            .flatten();
        if restored.is_some_and(|restored| restored.run.as_deref() == Some(&id)) {
            return Err(Error::new(Code::RunState, format!("run {id} was undone by run {}", later.run))
                .because("its history tells of what is not there any more")
                .hint("run the script again"));
        }
    }
    Ok(())
}

/// What was recorded elsewhere says nothing about this machine.
pub(super) fn check_own(run: &Run) -> Result<()> {
    if !run.imported {
        return Ok(());
    }
    Err(Error::new(Code::RunState, format!("run {} was imported", run.id))
        .because("what it did was done elsewhere")
        .hint(format!("look at it: `mcrun show {0}`, `mcrun replay {0} --against FILE`", run.id)))
}

/// The refusal of a cut inside a finished checkpoint, in our words.
pub(super) fn cut_refused(error: journal::Error, step: &str) -> Error {
    match error {
        journal::Error::Conflict { name, .. } => {
            Error::new(Code::Usage, format!("`{step}` lies within the finished checkpoint `{name}`"))
                .because("how it went inside is not replayed any more")
                .hint("go back to a step before it")
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_its_name_or_its_path() {
        let path = |wanted: &str, scope: &str| Wanted::parse(wanted).path(scope, 3).map(str::to_owned);
        assert_eq!(path("migrate", "deploy/migrate/retry/1").as_deref(), Some("deploy/migrate"));
        assert_eq!(path("deploy/migrate", "deploy/migrate").as_deref(), Some("deploy/migrate"));
        assert_eq!(path("migrate", "deploy/migrate2"), None);
        assert_eq!(path("deploy/migrate#3", "deploy/migrate").as_deref(), Some("deploy/migrate"));
        assert_eq!(path("deploy/migrate#4", "deploy/migrate"), None);
        assert_eq!(path("#3", "").as_deref(), Some(""));
        assert_eq!(path("migrate", ""), None);
    }
}
