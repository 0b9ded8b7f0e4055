//! Owns the calls about playbooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::v1;
use api::v1::playbooks_server::Playbooks;
use async_trait::async_trait;
use effect::{Code, Error, Result, Timestamp};
use journal::Write;
use serde_json::Value;
use tonic::Request;

use super::{Answer, answer, cause, failure, lacks};
use crate::api::fields::{key, name, object, wrong};
use crate::api::keys::Keyed;
use crate::api::page::{Question, size};
use crate::api::{Api, Occurrence, Rooms, Versions};
use crate::playbooks::{CatchUp, Overlap, ParameterKind, Playbook, Table};
use crate::runs::{By, Order};
use crate::triggers;

/// Occurrences that are told of each trigger, and of what was.
const MOST_NEXT: u32 = 100;
const MOST_LAST: usize = 200;

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn parameters(playbook: &Playbook) -> Vec<v1::PlaybookParameter> {
    let described = playbook.definition.params.iter().map(|(name, parameter)| v1::PlaybookParameter {
        name: name.clone(),
        r#type: match parameter.kind {
            ParameterKind::String => "string",
            ParameterKind::Number => "number",
            ParameterKind::Integer => "integer",
            ParameterKind::Boolean => "boolean",
            ParameterKind::Duration => "duration",
            ParameterKind::Size => "size",
        }
        .into(),
        description: parameter.description.clone(),
        default: parameter.default.as_ref().map(Value::to_string),
        choices: parameter.choices.iter().map(text_of).collect(),
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

fn occurrence(one: Occurrence) -> v1::Occurrence {
    v1::Occurrence {
        playbook: one.playbook,
        trigger: one.trigger,
        at: one.at.0,
        outcome: one.outcome.into(),
        run: one.run.map(|run| run.to_string()),
        reason: one.reason,
    }
}

fn unknown(name: &str, table: &Table) -> Error {
    let error = Error::new(Code::PlaybookUnknown, format!("there is no playbook `{name}`"));
    let is_of_that_name = |path: &&std::path::PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    match table.broken.keys().find(is_of_that_name) {
        Some(file) => {
            error.hint(format!("`{}` cannot be loaded: `mcrun playbooks` shows why", file.display()))
        }
        None => error,
    }
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

    /// When playbooks go off next, by name.
    async fn soonest(&self, playbook: Option<&str>) -> Result<BTreeMap<String, Timestamp>> {
        let Some(schedule) = &self.rooms().schedule else { return Ok(BTreeMap::new()) };
        let mut soonest = BTreeMap::new();
        for one in schedule.next(playbook, 1).await? {
            let at = soonest.entry(one.playbook).or_insert(one.at);
            *at = one.at.min(*at);
        }
        Ok(soonest)
    }

    fn versions(&self) -> Result<&dyn Versions> {
        lacks(self.rooms().versions.as_deref(), "keeps no versions of playbooks")
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
            let params = self.rooms().parameters.check(&playbook, given)?;
            let cause = cause(request);
            let Rooms { journal, node, .. } = self.rooms();
            if let By::Caller { caller } = &cause.by {
                let unique = journal.next_id()?;
                let now = journal.clock().now();
                writes.push(triggers::manual(node, &message.name, caller, now, unique.as_str()));
            }
            let order = Order { playbook, params, cause, writes };
            self.rooms().runs.start(order).await
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
        let mut found = self.versions()?.list(wanted, below, most + 1).await?;
        if found.is_empty() && below.is_none() {
            return Err(unknown(wanted, &self.table()));
        }
        let has_more = found.len() > most;
        found.truncate(most);
        let next_page_token = match found.last() {
            Some(last) if has_more => question.token(&last.number.to_string()),
            _ => String::new(),
        };
        let version = |one: crate::api::Version| v1::PlaybookVersion {
            number: one.number,
            version: one.version,
            file: one.file,
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
            None if request.number == 0 => return Err(unknown(wanted, &self.table())),
            None => {
                let found = self.versions()?.sources(wanted, request.number).await?;
                let unknown = || {
                    let message = format!("there is no version {} of a playbook `{wanted}`", request.number);
                    Error::new(Code::PlaybookUnknown, message)
                };
                found.ok_or_else(unknown)?.into_iter().map(source).collect()
            }
        };
        Ok(v1::GetSourcesResponse { sources })
    }

    async fn occurrences(&self, request: &v1::ListOccurrencesRequest) -> Result<v1::ListOccurrencesResponse> {
        let schedule = lacks(self.rooms().schedule.as_deref(), "starts no playbooks by itself")?;
        if request.next > MOST_NEXT {
            return Err(wrong("next", format!("it is {MOST_NEXT} at most")));
        }
        let wanted = request.name.as_deref();
        if let Some(wanted) = wanted {
            self.loaded(wanted)?;
        }
        let next = schedule.next(wanted, request.next.max(1) as usize).await?;
        let last = schedule.last(wanted, MOST_LAST).await?;
        let told = |found: Vec<Occurrence>| found.into_iter().map(occurrence).collect();
        Ok(v1::ListOccurrencesResponse { next: told(next), last: told(last) })
    }
}

#[async_trait]
impl Playbooks for Api {
    async fn list_playbooks(
        &self,
        _: Request<v1::ListPlaybooksRequest>,
    ) -> Answer<v1::ListPlaybooksResponse> {
        let listed = async {
            let (table, soonest) = (self.table(), self.soonest(None).await?);
            let shown =
                |one: &Arc<Playbook>| playbook(one, &table, soonest.get(&one.definition.name).copied());
            let broken = table.broken.iter().map(|(file, broken)| v1::BrokenPlaybook {
                file: file.display().to_string(),
                failure: Some(failure(&broken.error)),
                line: broken.line,
                since: broken.since.0,
            });
            Ok(v1::ListPlaybooksResponse {
                playbooks: table.playbooks.values().map(shown).collect(),
                broken: broken.collect(),
            })
        };
        answer(listed.await)
    }

    async fn get_playbook(
        &self,
        request: Request<v1::GetPlaybookRequest>,
    ) -> Answer<v1::GetPlaybookResponse> {
        let found = async {
            let wanted = &request.get_ref().name;
            let (found, table) = self.loaded(wanted)?;
            let next = self.soonest(Some(wanted)).await?.get(wanted).copied();
            Ok(v1::GetPlaybookResponse { playbook: Some(playbook(&found, &table, next)) })
        };
        answer(found.await)
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
        answer(self.occurrences(request.get_ref()).await)
    }
}
