//! Owns whether a call may be made: who makes it, what it asks for, what the policy says to that, and that refusals and
//! changes are in the audit.
//!
//! What a caller may not see is answered like what there is not, so that nobody learns names by guessing.

mod denials;

use std::sync::Arc;

use effect::access::{ACTIONS, Decision, Policy, Request, reads};
use effect::{Code, Error, Principal, Result};
use journal::audit::{Kind, New};
use journal::{Journal, Run, RunId};
use serde_json::{Map, Value, json};

pub use self::denials::Denials;
use super::asked::{self, Asked, Object};
use super::{Access, Caller};
use crate::playbooks::history;

/// The rule by which whoever the socket lets in may do everything, where no others are written.
const SHARED: &str = "built in: whoever the socket lets in, while no rules are written";

/// Lets calls through.
pub(crate) struct Gate {
    policy: Access,
    journal: Journal,
    denials: Denials<String>,
}

/// What a call was let through with. It goes along with the call.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(super) principal: Principal,
    policy: Arc<Policy>,
    /// Whether it may do everything, whatever rules say.
    is_free: bool,
    /// What runs that come of the call may do at most.
    pub(super) within: Option<Vec<String>>,
}

impl Granted {
    /// The rules that it was let through by.
    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Whether the caller may do this, too.
    pub(crate) fn may(&self, action: &str, object: &str) -> bool {
        self.is_free || self.policy.decide(&self.principal, &Request::of(action, object)).is_allowed
    }

    /// Whether the caller may do this to an account, or to what is its own.
    pub(super) fn may_to_account(&self, action: &str, name: &str) -> bool {
        self.is_free || self.policy.decide(&self.principal, &about_account(self, action, name)).is_allowed
    }

    /// Whether the caller is the account with this name.
    pub(super) fn is_account(&self, name: &str) -> bool {
        let is_one = matches!(self.principal, Principal::Account { .. } | Principal::System { .. });
        is_one && self.principal.person() == name.to_ascii_lowercase()
    }

    /// Whether the caller may do this to a run.
    pub(super) fn may_to(&self, action: &str, run: &Run) -> bool {
        self.is_free || self.decide(action, run).is_allowed
    }

    fn decide(&self, action: &str, run: &Run) -> Decision {
        let object = object_of(run);
        let is_own = starter(run).is_some_and(|starter| starter == self.principal.to_string());
        let request = Request { action, object: &object, params: None, is_own };
        self.policy.decide(&self.principal, &request)
    }
}

fn about_account<'a>(granted: &Granted, action: &'a str, name: &'a str) -> Request<'a> {
    Request { action, object: name, params: None, is_own: granted.is_account(name) }
}

/// What rules know a run by.
#[must_use]
pub fn object_of(run: &Run) -> String {
    run.object()
}

/// Who started a run, where that was somebody and here.
fn starter(run: &Run) -> Option<&str> {
    let cause = run.cause.as_ref().filter(|_| !run.imported)?;
    cause.get("caller")?.as_str()
}

/// What was decided about a call.
enum Verdict {
    Allowed(Decision),
    Denied(Error, Decision),
    /// There is nothing to decide about.
    Missing(Error),
}

impl Gate {
    pub(crate) fn new(policy: Access, journal: Journal) -> Self {
        Self { policy, journal, denials: Denials::default() }
    }

    /// The rules as they are now.
    pub(super) fn policy(&self) -> Arc<Policy> {
        (self.policy)()
    }

    /// Refuses a token that is not valid.
    pub(super) fn refuse_token(&self, caller: &Caller, call: &str) -> Error {
        let policy = (self.policy)();
        let principal = caller.principal(&policy);
        let granted = Granted { principal, policy, is_free: false, within: None };
        self.deny(caller, &granted, (action_shown(call), ""), "its token is not valid");
        Error::new(Code::ApiUser, "the token is not valid for this daemon")
            .hint("it is one of the service `mcrun`, and expires: sign in again")
    }

    /// Refuses whoever nobody knows, before a word of the call is read.
    ///
    /// # Errors
    /// `MC-V003`.
    pub(super) fn known(&self, caller: &Caller, call: &str) -> Result<()> {
        self.granted(caller, call).map(drop)
    }

    fn granted(&self, caller: &Caller, call: &str) -> Result<Granted> {
        let policy = (self.policy)();
        let principal = caller.principal(&policy);
        let is_shared = matches!(caller, Caller::User { .. }) && !policy.is_written();
        let is_free = principal.is_owner() || is_shared;
        let granted = Granted { principal, policy, is_free, within: None };
        // No rule is about whoever says nothing of themselves, `certificate:*` neither.
        let is_stranger = matches!(caller, Caller::Stranger(_) | Caller::Nobody { .. });
        if !is_stranger && (granted.is_free || granted.policy.knows(&granted.principal)) {
            return Ok(granted);
        }
        let error = unknown_caller(caller, &granted.principal);
        self.deny(caller, &granted, (action_shown(call), ""), "nobody knows the caller");
        Err(error)
    }

    /// Lets a call through, `/mcrun.v1.Runs/CancelRun`, or refuses it. `octets` are its message in its frame, where it has
    /// one.
    ///
    /// # Errors
    /// `MC-V003` where nobody knows the caller, `MC-V004` and `MC-P020` where it may not, what is told of objects that
    /// there are not where it may not even know, and what is wrong with a message that cannot be read.
    pub(crate) async fn pass(&self, caller: &Caller, call: &str, octets: Option<&[u8]>) -> Result<Granted> {
        let granted = self.granted(caller, call)?;
        // What describes the API, and whether it answers, is nobody's secret.
        if call.starts_with("/grpc.") {
            return Ok(granted);
        }
        let Some(action) = asked::action(call) else {
            return match granted.is_free {
                // It is told that there is no such call.
                true => Ok(granted),
                false => Err(self.refuse(caller, &granted, (call, ""), "no such call")),
            };
        };
        if granted.is_free && reads(action) {
            return Ok(granted);
        }
        let asked = match asked::asked(call, octets.unwrap_or_default()) {
            Ok(Some(asked)) => asked,
            Ok(None) => return Err(self.refuse(caller, &granted, (call, ""), "no such call")),
            // The call refuses it itself.
            Err(_) if granted.is_free => return Ok(granted),
            Err(error) => return Err(error),
        };
        self.decide(caller, granted, call, asked).await
    }

    async fn decide(&self, caller: &Caller, granted: Granted, call: &str, asked: Asked) -> Result<Granted> {
        let Asked { action, object, params } = asked;
        if granted.is_free {
            let rule = match granted.principal.is_owner() {
                true => granted.policy.decide(&granted.principal, &Request::of(action, "")).rule,
                false => SHARED.to_owned(),
            };
            let (shown, run) = match object {
                Object::Run(given) => (given.clone(), given.parse().ok()),
                Object::Named(name) => (name, None),
                Object::Only | Object::Several => (String::new(), None),
            };
            self.tell(caller, &granted, (action, &shown, run), &rule);
            return Ok(granted);
        }
        let (shown, run, verdict) = match object {
            Object::Several if granted.policy.may_some(&granted.principal, action) => return Ok(granted),
            Object::Several => {
                let decision = granted.policy.decide(&granted.principal, &Request::of(action, ""));
                (String::new(), None, Verdict::Denied(denied(&granted, call, action, ""), decision))
            }
            // Whoever may do anything may know with whom.
            Object::Only if action == "daemon.read" => return Ok(granted),
            Object::Only => (String::new(), None, judge(&granted, call, (action, ""), None)),
            Object::Named(name) => {
                let verdict = judge(&granted, call, (action, &name), params.as_ref());
                (name, None, verdict)
            }
            Object::Run(given) => {
                let (run, verdict) = self.judge_run(&granted, call, action, &given).await;
                let shown = run.as_ref().map_or_else(|| given.clone(), object_of);
                (shown, run.map(|run| run.id), verdict)
            }
        };
        match verdict {
            Verdict::Allowed(decision) => {
                if !reads(action) {
                    self.tell(caller, &granted, (action, &shown, run), &decision.rule);
                }
                Ok(Granted { within: decision.within, ..granted })
            }
            Verdict::Denied(error, decision) => {
                self.deny(caller, &granted, (action, &shown), &decision.rule);
                Err(error)
            }
            Verdict::Missing(error) => Err(error),
        }
    }

    async fn judge_run(
        &self,
        granted: &Granted,
        call: &str,
        action: &str,
        given: &str,
    ) -> (Option<Run>, Verdict) {
        let none = || Error::from(journal::Error::UnknownRun { given: given.to_owned() });
        let nothing = || Decision { is_allowed: false, rule: "there is no such run".into(), within: None };
        // Which runs a beginning of an id might mean is nobody's business either.
        let Ok(run) = super::fields::run(&self.journal, given).await else {
            // Who may do that to none at all has no reason to try.
            return match granted.policy.may_some(&granted.principal, action) {
                true => (None, Verdict::Missing(none())),
                false => (None, Verdict::Denied(none(), nothing())),
            };
        };
        let decision = granted.decide(action, &run);
        let verdict = match decision.is_allowed {
            true => Verdict::Allowed(decision),
            false if granted.decide("runs.read", &run).is_allowed => {
                Verdict::Denied(denied(granted, call, action, &object_of(&run)), decision)
            }
            false => Verdict::Denied(none(), decision),
        };
        (Some(run), verdict)
    }

    fn refuse(&self, caller: &Caller, granted: &Granted, (call, object): (&str, &str), rule: &str) -> Error {
        let action = action_shown(call);
        self.deny(caller, granted, (action, object), rule);
        denied(granted, call, action, object)
    }

    /// Records that a change was allowed, in the commit of that change.
    fn tell(
        &self,
        caller: &Caller,
        granted: &Granted,
        (action, object, run): (&str, &str, Option<RunId>),
        rule: &str,
    ) {
        let kind = if action == "runs.answer" { Kind::Answer } else { Kind::Decision };
        let new = New::of(kind, &granted.principal.to_string(), action, object, "allowed");
        // What cannot be recorded is told in the log by whoever writes.
        drop(self.journal.audit(New { address: caller.address(), run, ..new.with(json!({ "rule": rule })) }));
    }

    /// Records that a call came to nothing because what it is about is for others.
    pub(super) fn denied_by_request(
        &self,
        caller: &Caller,
        granted: &Granted,
        asked: (&str, &str),
        why: &str,
    ) {
        self.deny(caller, granted, asked, why);
    }

    fn deny(&self, caller: &Caller, granted: &Granted, (action, object): (&str, &str), rule: &str) {
        let principal = granted.principal.to_string();
        let now = self.journal.clock().now();
        let Some(more) = self.denials.counts(Some(principal.clone()), now) else { return };
        let mut details = json!({ "rule": rule });
        if more > 0 {
            details["not_recorded_before"] = json!(more);
        }
        let new = New::of(Kind::Denial, &principal, action, object, "denied").with(details);
        drop(self.journal.audit(New { address: caller.address(), ..new }));
    }
}

fn action_shown(call: &str) -> &str {
    asked::action(call).unwrap_or(call)
}

/// Decides about what is known by its name.
fn judge(
    granted: &Granted,
    call: &str,
    (action, object): (&str, &str),
    params: Option<&Map<String, Value>>,
) -> Verdict {
    let room = action.split('.').next().unwrap_or_default();
    let request = match room {
        "accounts" | "tokens" => about_account(granted, action, object),
        _ => Request { action, object, params, is_own: false },
    };
    let decision = granted.policy.decide(&granted.principal, &request);
    if decision.is_allowed {
        return Verdict::Allowed(decision);
    }
    let hidden = match room {
        // What a token is for is a service, and those are named by whoever asks.
        "accounts" | "tokens"
            if action != "tokens.read" && !granted.may_to_account("accounts.read", object) =>
        {
            Some(unknown_account(object))
        }
        "playbooks" if !granted.may("playbooks.read", object) => Some(history::unknown(object)),
        "docs" if !granted.may("docs.read", object) => Some(system::documents::unknown(object)),
        "services" if !granted.may("services.read", object) => Some(unknown_service(object)),
        _ => None,
    };
    Verdict::Denied(hidden.unwrap_or_else(|| denied(granted, call, action, object)), decision)
}

/// What is told of an account that there is not.
pub(super) fn unknown_account(name: &str) -> Error {
    Error::new(Code::AccountUnknown, format!("there is no account `{}`", name.to_ascii_lowercase()))
}

/// What is told of a service that there is not.
pub(super) fn unknown_service(name: &str) -> Error {
    Error::new(Code::ServiceUnknown, format!("there is no service `{name}`"))
}

fn unknown_caller(caller: &Caller, principal: &Principal) -> Error {
    let message = match (caller, principal) {
        (Caller::User { .. } | Caller::Stranger(_), Principal::User { name, .. }) => {
            format!("the user {name} may not call this daemon")
        }
        (Caller::Nobody { .. }, _) => {
            "nobody calls this daemon from afar without a certificate or a token".to_owned()
        }
        (_, Principal::Certificate { name }) => {
            format!("no certificate with the name `{name}` may call this daemon")
        }
        (_, other) => format!("`{other}` may not call this daemon"),
    };
    Error::new(Code::ApiUser, message)
}

fn denied(granted: &Granted, call: &str, action: &str, object: &str) -> Error {
    let Granted { principal, policy, .. } = granted;
    let may_change =
        || ACTIONS.iter().any(|(action, _)| !reads(action) && policy.may_some(principal, action));
    if !reads(action) && !may_change() {
        let call = call.rsplit('/').next().unwrap_or_default();
        let message = format!("`{principal}` may read only, and `{call}` changes something");
        return Error::new(Code::ApiRole, message);
    }
    let to = if object.is_empty() { String::new() } else { format!(" to `{object}`") };
    Error::new(Code::AccessDenied, format!("`{principal}` may not do `{action}`{to}"))
}
