//! Owns the way of an `act`: begin, do it once, end; and the question what became of one that was cut.

use journal::Open;
use serde_json::Value;

use super::records::driven;
use super::{Before, Decision, Ending, Request, Session, Stop};
use crate::erased::ActCall;
use crate::session::Answer;
use crate::{Action, Code, Context, Doubt, Error, Kind, OnDoubt};

impl Session {
    pub(super) async fn act(
        &self,
        request: &Request,
        act: &dyn ActCall,
        context: &Context,
        open: Option<Open>,
    ) -> Result<Answer, Stop> {
        let key = self.idempotency_key(request);
        if open.is_none()
            && let Err(refused) = act.admit(context)
        {
            return self.end(request, Kind::Act, Ending::unchanged(Err(refused))).await;
        }
        if open.is_none() {
            self.hold_to_plan(request, Action::Act, &[])?;
        } else {
            match self.doubt(request, act, context, &key).await? {
                Verdict::Again => {}
                Verdict::Ended(result) => return self.end(request, Kind::Act, ending(act, result)).await,
            }
        }
        // Also when it was begun before: every end that the script has seen meanwhile becomes durable first.
        self.begin(request, Kind::Act, Before::default()).await?;
        let result = driven(("act:before", "act:after"), act.act(context, &key)).await;
        self.end(request, Kind::Act, ending(act, result)).await
    }

    /// Decides about an act that was begun and not ended.
    async fn doubt(
        &self,
        request: &Request,
        act: &dyn ActCall,
        context: &Context,
        key: &str,
    ) -> Result<Verdict, Stop> {
        match driven(("ask:before", "ask:after"), act.ask(context, key)).await {
            Ok(Doubt::Done(result)) => return Ok(Verdict::Ended(Ok(result))),
            Ok(Doubt::NotDone) => return Ok(Verdict::Again),
            Ok(Doubt::Unknown) => {}
            Err(error) => tracing::debug!(%error, "the driver cannot say what became of the act"),
        }
        let decision = match (act.on_doubt(), self.decisions.on(&request.identity)) {
            (OnDoubt::Redo, _) => Decision::Redo,
            (OnDoubt::Fail, _) => Decision::Fail,
            (OnDoubt::Ask, Some(decision)) => decision,
            (OnDoubt::Ask, None) => return Err(Stop::Pause(self.question(request))),
        };
        Ok(match decision {
            Decision::Redo => Verdict::Again,
            // The result is lost with the process that had it; `assume` is the script's own word for it.
            Decision::Done => match act.result_of_done() {
                Some(result) => Verdict::Ended(Ok(result)),
                None => {
                    let hint = "its result is lost: only `redo` or `fail`, or `assume = { … }` in the script for the next time";
                    return Err(Stop::Pause(in_doubt(request).hint(hint)));
                }
            },
            Decision::Fail => {
                let hint = "look whether it took place before the script is run again";
                Verdict::Ended(Err(in_doubt(request).hint(hint)))
            }
        })
    }

    /// What the operator is asked, with every other act that is in doubt as well.
    fn question(&self, request: &Request) -> Error {
        let run = &self.shared.run;
        let progress = self.progress();
        let others: Vec<_> = progress.open.values().filter(|open| open.kind == Kind::Act).collect();
        let mut question = in_doubt(request);
        question.details.extend(others.iter().map(|open| format!("effect {} as well", open.identity)));
        question.hint(if others.is_empty() {
            format!("look, then say `mcrun resume {run} --doubt redo`, `--doubt done` or `--doubt fail`")
        } else {
            let identity = format!("{}#{}", request.identity.scope, request.identity.counter);
            format!("look, then say for each `mcrun resume {run} --doubt {identity}=redo` (or done, or fail)")
        })
    }

    /// The same for every attempt at this very act, and for nothing else.
    fn idempotency_key(&self, request: &Request) -> String {
        let mut text = format!("{}\n{}", self.shared.run, request.identity);
        if self.generation > 0 {
            text.push_str(&format!("\n{}", self.generation));
        }
        blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
    }
}

enum Verdict {
    Again,
    Ended(crate::Result<Value>),
}

fn in_doubt(request: &Request) -> Error {
    let at =
        request.place.as_ref().map(|place| format!(" at {}:{}", place.file, place.line)).unwrap_or_default();
    let identity = &request.identity;
    let message = format!("`{}`{at} was begun and cut: it is unknown whether it took place", identity.name);
    Error::new(Code::InDoubt, message).detail(format!("effect {identity}"))
}

fn ending(act: &dyn ActCall, result: crate::Result<Value>) -> Ending {
    Ending { changed: result.is_ok(), at_once: !act.askable(), ..Ending::unchanged(result) }
}
