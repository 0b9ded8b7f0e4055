//! Owns the calls about playbooks.

use std::sync::Arc;

use api::v1;
use api::v1::playbooks_server::Playbooks;
use async_trait::async_trait;
use effect::{Error, Result, Timestamp};
use journal::Write;
use serde_json::{Value, json};
use tonic::Request;

use super::{Answer, answer, caller, failure, granted, within};
use crate::api::Api;
use crate::api::fields::{key, name, object, wrong};
use crate::api::gate::Granted;
use crate::api::keys::Keyed;
use crate::api::page::{Question, size};
use crate::playbooks::history::{self, History};
use crate::playbooks::{CatchUp, Overlap, Playbook, Table, params};
use crate::runs::{By, Cause, Order};
use crate::triggers::schedule::{self, Next};
use crate::triggers::{self, Occurrence, occurrence};

/// Occurrences that are told of each trigger, and of what was.
const MOST_NEXT: u32 = 100;
const MOST_LAST: usize = 200;

fn parameters(playbook: &Playbook) -> Vec<v1::PlaybookParameter> {
    let described = playbook.definition.params.iter().map(|(name, parameter)| v1::PlaybookParameter {
        name: name.clone(),
        r#type: parameter.kind.word().into(),
        description: parameter.description.clone(),
        default: parameter.default.as_ref().map(Value::to_string),
        choices: parameter.choices.iter().map(params::plain).collect(),
        required: parameter.default.is_none(),
    });
    described.collect()
}

fn playbook(playbook: &Playbook, table: &Table, next: Option<Timestamp>) -> v1::Playbook {
    let definition = &playbook.definition;
    let broken = (table.broken.values()).find(|broken| broken.playbook.as_deref() == Some(&definition.name));
    v1::Playbook {
        name: definition.name.clone(),
        description: definition.description.clone(),
        file: playbook.file.display().to_string(),
        version: playbook.version.clone(),
        number: playbook.number,
        loaded: playbook.loaded.0,
        triggers: definition.on.iter().map(triggers::text).collect(),
        params: parameters(playbook),
        allow: definition.allow.clone().unwrap_or_default(),
        overlap: match definition.overlap {
            Overlap::Skip => "skip",
            Overlap::Queue => "queue",
            Overlap::Replace => "replace",
        }
        .into(),
        catch_up: match definition.catch_up {
            CatchUp::Skip => "skip",
            CatchUp::Once => "once",
            CatchUp::All => "all",
        }
        .into(),
        timeout_millis: definition.timeout.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        broken: broken.map(|broken| failure(&broken.error)),
        next: next.map(|at| at.0),
    }
}

fn went_off(one: Occurrence) -> v1::Occurrence {
    v1::Occurrence {
        playbook: one.playbook,
        trigger: one.trigger,
        at: one.at.0,
        outcome: one.outcome.as_str().into(),
        run: one.run.map(|run| run.to_string()),
        reason: one.reason,
    }
}

fn due(one: Next) -> impl Iterator<Item = v1::Occurrence> {
    let Next { playbook, trigger, times, .. } = one;
    times.into_iter().map(move |(_, goes_off)| v1::Occurrence {
        playbook: playbook.clone(),
        trigger: trigger.clone(),
        at: goes_off.0,
        outcome: "due".into(),
        run: None,
        reason: None,
    })
}

fn unknown(name: &str, table: &Table) -> Error {
    let error = history::unknown(name);
    let is_of_that_name = |path: &&std::path::PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    match table.broken.keys().find(is_of_that_name) {
        Some(file) => {
            error.hint(format!("`{}` cannot be loaded: `mcrun playbooks` shows why", file.display()))
        }
        None => error,
    }
}

/// Why a playbook is started by hand, and what it is told.
fn manual<T>(request: &Request<T>) -> Cause {
    let by = By::Caller { caller: caller(request) };
    Cause { by, event: json!({ "kind": "manual" }), within: within(request) }
}

impl Api {
    fn table(&self) -> Arc<Table> {
        self.rooms().playbooks.borrow().clone()
    }

    fn loaded(&self, wanted: &str) -> Result<(Arc<Playbook>, Arc<Table>)> {
        let table = self.table();
        let found = table.playbooks.get(name("name", wanted)?).cloned();
        Ok((found.ok_or_else(|| unknown(wanted, &table))?, table))
    }

    fn shown(&self, one: &Playbook, table: &Table) -> v1::Playbook {
        let rooms = self.rooms();
        let next = schedule::soonest(one, rooms.journal.clock().now(), &rooms.zone);
        playbook(one, table, next)
    }

    fn history(&self) -> History {
        History::new(self.rooms().journal.clone(), self.rooms().node.clone())
    }

    async fn start(&self, request: &Request<v1::StartPlaybookRequest>) -> Result<v1::StartPlaybookResponse> {
        let message = request.get_ref();
        let given = object("params", &message.params)?;
        let keyed = key(message.key.as_deref())?;
        let keyed = keyed.map(|key| {
            Keyed::new("StartPlaybook", key, &v1::StartPlaybookRequest { key: None, ..message.clone() })
        });
        let begin = |mut writes: Vec<Write>| async {
            let (playbook, _) = self.loaded(&message.name)?;
            let params = params::check(&playbook.definition.params, &given)?;
            let rooms = self.rooms();
            let (cause, now) = (manual(request), rooms.journal.clock().now());
            // Two starts in the same millisecond are two.
            let unique = rooms.journal.next_id()?.to_string();
            writes.push(occurrence::manual(&rooms.node, &message.name, &caller(request), now, &unique));
            rooms.runs.start(Order { playbook, params, cause, writes }).await
        };
        let run = self.0.keys.once(keyed, begin).await?;
        Ok(v1::StartPlaybookResponse { run: run.to_string() })
    }

    async fn list_of_versions(&self, request: &v1::ListVersionsRequest) -> Result<v1::ListVersionsResponse> {
        let wanted = name("name", &request.name)?;
        let question = Question { call: "ListVersions", about: wanted };
        let below = question.position(&request.page_token)?;
        let below = below.map(|below| below.parse::<u64>()).transpose();
        let below = below.map_err(|error| wrong("page_token", "it is none").because(error))?;
        let most = size(request.page_size);
        let versions = self.history().versions(wanted).await?.into_iter();
        let mut found: Vec<_> =
            versions.filter(|one| below.is_none_or(|below| one.number < below)).take(most + 1).collect();
        let has_more = found.len() > most;
        found.truncate(most);
        let next_page_token = match found.last() {
            Some(last) if has_more => question.token(&last.number.to_string()),
            _ => String::new(),
        };
        let version = |one: history::Version| v1::PlaybookVersion {
            number: one.number,
            version: one.version,
            file: one.file.display().to_string(),
            loaded: one.loaded.0,
        };
        Ok(v1::ListVersionsResponse { versions: found.into_iter().map(version).collect(), next_page_token })
    }

    async fn sources(&self, request: &v1::GetSourcesRequest) -> Result<v1::GetSourcesResponse> {
        let wanted = name("name", &request.name)?;
        let source = |(name, text): (String, String)| v1::PlaybookSource { name, text };
        let active = self.table().playbooks.get(wanted).cloned();
        let sources = match active.filter(|active| [0, active.number].contains(&request.number)) {
            Some(active) => {
                let file = active.file.file_name().map(|file| file.to_string_lossy().into_owned());
                let own = (file.unwrap_or_else(|| wanted.to_owned()), active.source.to_string());
                let modules = active.modules.iter().map(|(name, text)| (name.clone(), text.to_string()));
                std::iter::once(own).chain(modules).map(source).collect()
            }
            None => {
                let history = self.history();
                let number = (request.number > 0).then_some(request.number);
                let version = history.version(wanted, number).await?;
                history.sources(&version).await?.into_iter().map(source).collect()
            }
        };
        Ok(v1::GetSourcesResponse { sources })
    }

    async fn occurrences(
        &self,
        request: &v1::ListOccurrencesRequest,
        granted: &Granted,
    ) -> Result<v1::ListOccurrencesResponse> {
        if request.next > MOST_NEXT {
            return Err(wrong("next", format!("it is {MOST_NEXT} at most")));
        }
        let wanted = request.name.as_deref();
        if let Some(wanted) = wanted {
            self.loaded(wanted)?;
        }
        let (rooms, count) = (self.rooms(), request.next.max(1) as usize);
        let now = rooms.journal.clock().now();
        let next = schedule::next(&self.table(), wanted, now, &rooms.zone, count);
        let mut next: Vec<v1::Occurrence> = next.into_iter().flat_map(due).collect();
        let is_seen = |playbook: &str| granted.may("playbooks.read", playbook);
        next.retain(|one| is_seen(&one.playbook));
        next.sort_by_key(|one| one.at);
        let last = occurrence::last(&rooms.journal, &rooms.node, wanted, MOST_LAST).await?;
        let last = last.into_iter().filter(|one| is_seen(&one.playbook)).map(went_off).collect();
        Ok(v1::ListOccurrencesResponse { next, last })
    }
}

#[async_trait]
impl Playbooks for Api {
    async fn list_playbooks(
        &self,
        request: Request<v1::ListPlaybooksRequest>,
    ) -> Answer<v1::ListPlaybooksResponse> {
        let listed = || {
            let (table, granted) = (self.table(), granted(&request)?);
            let is_seen = |playbook: &str| granted.may("playbooks.read", playbook);
            // Which playbook a file was to be is told by its name alone.
            let of_file = |file: &std::path::Path| {
                file.file_stem().is_some_and(|stem| is_seen(&stem.to_string_lossy()))
            };
            let broken = table.broken.iter().filter(|(file, _)| of_file(file)).map(|(file, broken)| {
                v1::BrokenPlaybook {
                    file: file.display().to_string(),
                    failure: Some(failure(&broken.error)),
                    line: broken.line,
                    since: broken.since.0,
                }
            });
            Ok(v1::ListPlaybooksResponse {
                playbooks: (table.playbooks.values().filter(|one| is_seen(&one.definition.name)))
                    .map(|one| self.shown(one, &table))
                    .collect(),
                broken: broken.collect(),
            })
        };
        answer(listed())
    }

    async fn get_playbook(
        &self,
        request: Request<v1::GetPlaybookRequest>,
    ) -> Answer<v1::GetPlaybookResponse> {
        let found = self.loaded(&request.get_ref().name);
        answer(
            found
                .map(|(found, table)| v1::GetPlaybookResponse { playbook: Some(self.shown(&found, &table)) }),
        )
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Answer<v1::ListVersionsResponse> {
        answer(self.list_of_versions(request.get_ref()).await)
    }

    async fn get_sources(&self, request: Request<v1::GetSourcesRequest>) -> Answer<v1::GetSourcesResponse> {
        answer(self.sources(request.get_ref()).await)
    }

    async fn start_playbook(
        &self,
        request: Request<v1::StartPlaybookRequest>,
    ) -> Answer<v1::StartPlaybookResponse> {
        answer(self.start(&request).await)
    }

    async fn list_occurrences(
        &self,
        request: Request<v1::ListOccurrencesRequest>,
    ) -> Answer<v1::ListOccurrencesResponse> {
        let listed = async { self.occurrences(request.get_ref(), granted(&request)?).await };
        answer(listed.await)
    }
}
