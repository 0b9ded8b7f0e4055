//! Owns the calls about runs.

use std::collections::BTreeMap;
use std::time::Duration;

use api::v1;
use api::v1::runs_server::Runs;
use async_trait::async_trait;
use effect::Result;
use effect::policy::Grants;
use journal::{Entry, PageOfRuns, Run, RunId};
use tonic::Request;

use super::{Answer, Stream, answer, cause, granted};
use crate::api::fields::{self, key, name, object, text, texts, word, wrong};
use crate::api::gate::Granted;
use crate::api::keys::Keyed;
use crate::api::page::{Question, fill, size};
use crate::api::{Api, convert, watch_run};
use crate::runs::{Submission, Wish};

/// How many words, capabilities, limits and decisions a call has, and how long each is.
const WORDS: (usize, usize) = (1000, 64 << 10);
const CAPABILITIES: (usize, usize) = (1000, 4096);
const LIMITS: (usize, usize) = (32, 64);
const MOST_DOUBTS: usize = 100;
const MOST_MODULES: usize = 1000;
/// A source: more than the compiler takes, which says so itself.
const LARGEST_SOURCE: usize = 1 << 20;

fn doubts(given: &[v1::Doubt]) -> Result<Vec<(Option<String>, String)>> {
    if given.len() > MOST_DOUBTS {
        return Err(wrong("doubts", format!("there are {}, the most is {MOST_DOUBTS}", given.len())));
    }
    let decided = given.iter().map(|doubt| {
        if let Some(effect) = &doubt.effect {
            text("doubts.effect", effect, 4096)?;
        }
        let decision = word("doubts.decision", &doubt.decision, &["redo", "done", "fail"])?;
        Ok((doubt.effect.clone(), decision.to_owned()))
    });
    decided.collect()
}

fn words(field: &str, given: &[String], (most, longest): (usize, usize)) -> Result<()> {
    if given.len() > most {
        return Err(wrong(field, format!("there are {}, the most is {most}", given.len())));
    }
    match given.iter().any(|word| word.len() > longest || word.contains('\0')) {
        true => Err(wrong(field, format!("a word has up to {longest} octets, none of them NUL"))),
        false => Ok(()),
    }
}

fn source(field: &str, given: &str) -> Result<()> {
    match given.len() {
        0 => Err(wrong(field, "it is missing")),
        1..=LARGEST_SOURCE => Ok(()),
        length => Err(wrong(field, format!("it has {length} octets, the most is {LARGEST_SOURCE}"))),
    }
}

/// The modules of a script: names beneath its folder.
fn modules(given: &BTreeMap<String, String>) -> Result<Vec<(String, String)>> {
    if given.len() > MOST_MODULES {
        return Err(wrong("modules", format!("there are {}, the most is {MOST_MODULES}", given.len())));
    }
    let checked = given.iter().map(|(module, text)| {
        name("modules", module)?;
        let is_beneath = !module.starts_with('/')
            && module.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !is_beneath {
            return Err(wrong("modules", format!("`{module}` is no name beneath the script's folder")));
        }
        source("modules", text)?;
        Ok((module.clone(), text.clone()))
    });
    checked.collect()
}

impl Api {
    async fn id_of(&self, given: &str) -> Result<RunId> {
        Ok(fields::run(&self.rooms().journal, given).await?.id)
    }

    async fn submit(&self, request: &Request<v1::SubmitRunRequest>) -> Result<v1::SubmitRunResponse> {
        let message = request.get_ref();
        let key = key(message.key.as_deref())?;
        name("name", &message.name)?;
        if message.name.contains('/') {
            return Err(wrong("name", "it is a file's name, without a folder"));
        }
        source("source", &message.source)?;
        words("args", &message.args, WORDS)?;
        texts("allow", &message.allow, CAPABILITIES)?;
        texts("deny", &message.deny, CAPABILITIES)?;
        texts("limits", &message.limits, LIMITS)?;
        let submission = Submission {
            name: message.name.clone(),
            source: message.source.clone(),
            modules: modules(&message.modules)?,
            args: message.args.clone(),
            params: object("params", &message.params)?,
            allow: message.allow.clone(),
            deny: message.deny.clone(),
            limits: message.limits.clone(),
            cause: cause(request),
            writes: Vec::new(),
        };
        let keyed = key
            .map(|key| Keyed::new("SubmitRun", key, &v1::SubmitRunRequest { key: None, ..message.clone() }));
        let begin = |writes| self.rooms().runs.submit(Submission { writes, ..submission });
        let run = self.0.keys.once(keyed, begin).await?;
        Ok(v1::SubmitRunResponse { run: run.to_string() })
    }

    async fn take(&self, message: &v1::TakeRunRequest) -> Result<v1::TakeRunResponse> {
        let doubts = doubts(&message.doubts)?;
        texts("limits", &message.limits, LIMITS)?;
        let patience = message.patience.map(Duration::from_millis);
        let run = self.id_of(&message.run).await?;
        let limits = message.limits.clone();
        let wish = Wish { patience, asks: message.asks, doubts, limits, ..Wish::default() };
        self.rooms().runs.go_on(&run, wish).await?;
        Ok(v1::TakeRunResponse {})
    }

    async fn resume(&self, message: &v1::ResumeRunRequest) -> Result<v1::ResumeRunResponse> {
        texts("limits", &message.limits, LIMITS)?;
        let wish = Wish {
            doubts: doubts(&message.doubts)?,
            limits: message.limits.clone(),
            leave_plan: message.leave_plan,
            ..Wish::default()
        };
        let run = self.id_of(&message.run).await?;
        self.rooms().runs.go_on(&run, wish).await?;
        Ok(v1::ResumeRunResponse {})
    }

    async fn undo(&self, request: &Request<v1::UndoRunRequest>) -> Result<v1::UndoRunResponse> {
        let message = request.get_ref();
        texts("allow", &message.allow, CAPABILITIES)?;
        texts("deny", &message.deny, CAPABILITIES)?;
        let run = self.id_of(&message.run).await?;
        let more = Grants { allow: message.allow.clone(), deny: message.deny.clone(), ..Grants::default() };
        let undoing = self.rooms().runs.undo(&run, message.force, more, cause(request)).await?;
        Ok(v1::UndoRunResponse { run: undoing.to_string() })
    }

    async fn runs(&self, message: &v1::ListRunsRequest, granted: &Granted) -> Result<v1::ListRunsResponse> {
        let state = fields::state(message.state.as_deref())?;
        let playbook = message.playbook.as_deref().map(|playbook| name("playbook", playbook)).transpose()?;
        let about = format!("{} {}", message.state.as_deref().unwrap_or("*"), playbook.unwrap_or("*"));
        let question = Question { call: "ListRuns", about: &about };
        let before = question.position(&message.page_token)?;
        let before = before.map(|before| before.parse::<RunId>()).transpose();
        let before = before.map_err(|error| wrong("page_token", "it is none").because(error))?;
        let most = size(message.page_size);
        let page = PageOfRuns { state, playbook: playbook.map(str::to_owned), before, limit: most + 1 };
        let found = self.seen(page, granted).await?;
        let has_more = found.len() > most;
        let (runs, is_whole) = fill(found.iter().take(most).map(convert::run).collect());
        let next_page_token = match runs.last() {
            Some(last) if has_more || !is_whole => question.token(&last.id),
            _ => String::new(),
        };
        Ok(v1::ListRunsResponse { runs, next_page_token })
    }

    /// As many runs as a page has that the caller may see. Where a page would end is no word about others.
    async fn seen(&self, mut page: PageOfRuns, granted: &Granted) -> Result<Vec<Run>> {
        let mut seen = Vec::new();
        loop {
            let found = self.rooms().journal.page_of_runs(page.clone()).await?;
            let is_last = found.len() < page.limit;
            page.before = found.last().map(|run| run.id);
            seen.extend(found.into_iter().filter(|run| granted.may_to("runs.read", run)));
            if is_last || seen.len() >= page.limit {
                seen.truncate(page.limit);
                return Ok(seen);
            }
        }
    }

    async fn run_with_effects(&self, message: &v1::GetRunRequest) -> Result<v1::GetRunResponse> {
        let run = fields::run(&self.rooms().journal, &message.run).await?;
        let question = Question { call: "GetRun", about: run.id.as_str() };
        let after = question.position(&message.page_token)?.map(|after| after.parse::<u64>()).transpose();
        let after = after.map_err(|error| wrong("page_token", "it is none").because(error))?.unwrap_or(0);
        let found = self.rooms().journal.entries(&run.id, after, size(message.page_size)).await?;
        let (effects, _) = fill(found.iter().map(convert::effect).collect());
        // Behind the last that is over come those that are not, in a page of their own.
        let last =
            effects.len().checked_sub(1).and_then(|last| found.get(last)).map(|entry: &Entry| entry.order);
        let next_page_token = match last {
            Some(Some(order)) => question.token(&order.to_string()),
            _ => String::new(),
        };
        Ok(v1::GetRunResponse { run: Some(convert::run(&run)), effects, next_page_token })
    }

    async fn follow(&self, request: &Request<v1::WatchRunRequest>) -> Result<Stream<v1::WatchRunResponse>> {
        let message = request.get_ref();
        let found = fields::run(&self.rooms().journal, &message.run).await?;
        let (run, may_answer) = (found.id, granted(request)?.may_to("runs.answer", &found));
        let place = self.place(request)?;
        let over = request.extensions().get().cloned();
        let wish = watch_run::Wish {
            run,
            history: message.history,
            until_over: message.until_over,
            looks_on: message.looks_on || !may_answer,
        };
        watch_run::follow(self.rooms().runs.clone(), self.rooms().journal.clone(), wish, over, place).await
    }
}

#[async_trait]
impl Runs for Api {
    type WatchRunStream = Stream<v1::WatchRunResponse>;

    async fn submit_run(&self, request: Request<v1::SubmitRunRequest>) -> Answer<v1::SubmitRunResponse> {
        answer(self.submit(&request).await)
    }

    async fn take_run(&self, request: Request<v1::TakeRunRequest>) -> Answer<v1::TakeRunResponse> {
        answer(self.take(request.get_ref()).await)
    }

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        answer(self.follow(&request).await)
    }

    async fn list_runs(&self, request: Request<v1::ListRunsRequest>) -> Answer<v1::ListRunsResponse> {
        let listed = async { self.runs(request.get_ref(), granted(&request)?).await };
        answer(listed.await)
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::GetRunResponse> {
        answer(self.run_with_effects(request.get_ref()).await)
    }

    async fn cancel_run(&self, request: Request<v1::CancelRunRequest>) -> Answer<v1::CancelRunResponse> {
        let cancelled = async {
            let run = self.id_of(&request.get_ref().run).await?;
            self.rooms().runs.cancel(&run).await.map(|()| v1::CancelRunResponse {})
        };
        answer(cancelled.await)
    }

    async fn interrupt_run(
        &self,
        request: Request<v1::InterruptRunRequest>,
    ) -> Answer<v1::InterruptRunResponse> {
        let interrupted = async {
            let message = request.get_ref();
            let run = self.id_of(&message.run).await?;
            self.rooms().runs.interrupt(&run, message.hard).await.map(|()| v1::InterruptRunResponse {})
        };
        answer(interrupted.await)
    }

    async fn answer_run(&self, request: Request<v1::AnswerRunRequest>) -> Answer<v1::AnswerRunResponse> {
        let answered = async {
            let v1::AnswerRunRequest { run, question, granted } = request.get_ref();
            let run = self.id_of(run).await?;
            self.rooms().runs.answer(&run, *question, *granted).await.map(|()| v1::AnswerRunResponse {})
        };
        answer(answered.await)
    }

    async fn resume_run(&self, request: Request<v1::ResumeRunRequest>) -> Answer<v1::ResumeRunResponse> {
        answer(self.resume(request.get_ref()).await)
    }

    async fn undo_run(&self, request: Request<v1::UndoRunRequest>) -> Answer<v1::UndoRunResponse> {
        answer(self.undo(&request).await)
    }
}
