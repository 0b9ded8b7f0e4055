//! Owns which action on which object each call is. A call that is missing here is refused to all but the daemon's owner; a
//! test walks through the descriptors, so that none is.

use api::v1;
use effect::{Code, Error, Result};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::routes;

/// To what a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// There is only one.
    Only,
    /// What has this name.
    Named(String),
    /// The run that is named so, by its id or the beginning of it.
    Run(String),
    /// Several: which ones is decided one by one.
    Several,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) action: &'static str,
    pub(super) object: Object,
    pub(super) params: Option<Map<String, Value>>,
}

type Reading = fn(&[u8]) -> Result<(Object, Option<Map<String, Value>>), prost::DecodeError>;

/// A call of this module, by the message that it takes and what that says.
macro_rules! read {
    ($message:ident, $of:expr) => {
        |octets| {
            let of: fn(v1::$message) -> (Object, Option<Map<String, Value>>) = $of;
            v1::$message::decode(octets).map(of)
        }
    };
}

fn named(name: String) -> (Object, Option<Map<String, Value>>) {
    (Object::Named(name), None)
}

fn run(run: String) -> (Object, Option<Map<String, Value>>) {
    (Object::Run(run), None)
}

/// What a run asks for is decided as the run is.
fn approval(id: &str) -> (Object, Option<Map<String, Value>>) {
    run(system::approvals::run_of(id).to_owned())
}

/// An account, or what is recorded under its name. Capital letters are small ones there.
fn account(name: &str) -> (Object, Option<Map<String, Value>>) {
    named(name.to_ascii_lowercase())
}

fn several(_: &[u8]) -> Result<(Object, Option<Map<String, Value>>), prost::DecodeError> {
    Ok((Object::Several, None))
}

fn only(_: &[u8]) -> Result<(Object, Option<Map<String, Value>>), prost::DecodeError> {
    Ok((Object::Only, None))
}

fn route(key: Option<v1::Key>) -> (Object, Option<Map<String, Value>>) {
    let v1::Key { listen, hostname, path } = key.unwrap_or_default();
    let path = if path.is_empty() { "/" } else { &path };
    let text = format!("{hostname}:{listen}{path}");
    // In the spelling that it is kept in; what is no route the call refuses itself.
    named(text.parse().map_or(text, |key| routes::object(&key)))
}

fn standing(standing: Option<v1::Standing>) -> (Object, Option<Map<String, Value>>) {
    route(standing.and_then(|standing| standing.route).and_then(|route| route.key))
}

/// The parameters that a playbook is started with; what is no JSON object the call itself refuses.
fn parameters(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

/// Every call of ours.
const CALLS: &[(&str, &str, Reading)] = &[
    (
        "Approvals/DecideApproval",
        "approvals.decide",
        read!(DecideApprovalRequest, |message| approval(&message.approval)),
    ),
    (
        "Approvals/GetApproval",
        "approvals.read",
        read!(GetApprovalRequest, |message| approval(&message.approval)),
    ),
    ("Approvals/ListApprovals", "approvals.read", several),
    ("Daemon/Handshake", "daemon.read", only),
    ("Daemon/Reload", "daemon.reload", only),
    ("Documents/DeleteDocument", "docs.delete", read!(DeleteDocumentRequest, |message| named(message.slug))),
    ("Documents/GetDocument", "docs.read", read!(GetDocumentRequest, |message| named(message.slug))),
    ("Documents/ListDocuments", "docs.read", several),
    ("Documents/MarkDocument", "docs.mark", read!(MarkDocumentRequest, |message| named(message.slug))),
    ("Events/EmitEvent", "events.emit", read!(EmitEventRequest, |message| named(message.name))),
    ("Events/WatchEvents", "events.read", several),
    (
        "Identity/DisableAccount",
        "accounts.write",
        read!(DisableAccountRequest, |message| account(&message.account)),
    ),
    (
        "Identity/EnsureAccount",
        "accounts.write",
        read!(EnsureAccountRequest, |message| account(&message.account)),
    ),
    ("Identity/EnsureRules", "login.write", read!(EnsureRulesRequest, |message| account(&message.set))),
    (
        "Identity/ExplainSignIn",
        "login.read",
        read!(ExplainSignInRequest, |message| account(&message.account)),
    ),
    ("Identity/GetAccount", "accounts.read", read!(GetAccountRequest, |message| account(&message.account))),
    ("Identity/GetRules", "login.read", read!(GetRulesRequest, |message| account(&message.set))),
    ("Identity/IssueToken", "tokens.issue", read!(IssueTokenRequest, |message| account(&message.account))),
    ("Identity/ListAccounts", "accounts.read", several),
    ("Identity/ListTokens", "accounts.read", read!(ListTokensRequest, |message| account(&message.account))),
    ("Identity/RevokeToken", "tokens.revoke", read!(RevokeTokenRequest, |message| account(&message.account))),
    ("Identity/SetRole", "accounts.write", read!(SetRoleRequest, |message| account(&message.account))),
    (
        "Identity/ValidateToken",
        "tokens.read",
        read!(ValidateTokenRequest, |message| account(&message.service)),
    ),
    ("Playbooks/GetPlaybook", "playbooks.read", read!(GetPlaybookRequest, |message| named(message.name))),
    ("Playbooks/GetSources", "playbooks.read", read!(GetSourcesRequest, |message| named(message.name))),
    (
        "Playbooks/ListOccurrences",
        "playbooks.read",
        read!(ListOccurrencesRequest, |message| match message.name {
            Some(name) => named(name),
            None => (Object::Several, None),
        }),
    ),
    ("Playbooks/ListPlaybooks", "playbooks.read", several),
    ("Playbooks/ListVersions", "playbooks.read", read!(ListVersionsRequest, |message| named(message.name))),
    (
        "Playbooks/StartPlaybook",
        "playbooks.start",
        read!(StartPlaybookRequest, |message| (Object::Named(message.name), parameters(&message.params))),
    ),
    ("Routes/AddRoute", "routes.write", read!(AddRouteRequest, |message| standing(message.standing))),
    ("Routes/CheckRoute", "routes.read", read!(CheckRouteRequest, |message| standing(message.standing))),
    ("Routes/Drain", "routes.write", read!(DrainRequest, |message| route(message.key))),
    ("Routes/GetFigures", "routes.read", several),
    ("Routes/GetRoute", "routes.read", read!(GetRouteRequest, |message| route(message.key))),
    ("Routes/GetVersion", "routes.read", several),
    ("Routes/ListRoutes", "routes.read", several),
    ("Routes/RemoveRoute", "routes.write", read!(RemoveRouteRequest, |message| route(message.key))),
    ("Routes/SetPaused", "routes.write", read!(SetPausedRequest, |message| route(message.key))),
    ("Routes/Watch", "routes.read", several),
    ("Runs/AnswerRun", "runs.answer", read!(AnswerRunRequest, |message| run(message.run))),
    ("Runs/CancelRun", "runs.cancel", read!(CancelRunRequest, |message| run(message.run))),
    ("Runs/GetRun", "runs.read", read!(GetRunRequest, |message| run(message.run))),
    ("Runs/InterruptRun", "runs.interrupt", read!(InterruptRunRequest, |message| run(message.run))),
    ("Runs/ListRuns", "runs.read", several),
    ("Runs/ResumeRun", "runs.resume", read!(ResumeRunRequest, |message| run(message.run))),
    ("Runs/SubmitRun", "runs.submit", read!(SubmitRunRequest, |message| named(message.name))),
    ("Runs/TakeRun", "runs.resume", read!(TakeRunRequest, |message| run(message.run))),
    ("Runs/UndoRun", "runs.undo", read!(UndoRunRequest, |message| run(message.run))),
    ("Runs/WatchRun", "runs.read", read!(WatchRunRequest, |message| run(message.run))),
    ("Services/GetService", "services.read", read!(GetServiceRequest, |message| named(message.name))),
    ("Services/ListServices", "services.read", several),
    (
        "Services/OperateService",
        "services.operate",
        read!(OperateServiceRequest, |message| {
            let params = json!({ "operation": message.operation });
            (Object::Named(message.name), params.as_object().cloned())
        }),
    ),
];

/// The action that `call`, `/mcrun.v1.Runs/CancelRun`, is; nothing where there is no such call.
pub(super) fn action(call: &str) -> Option<&'static str> {
    find(call).map(|(_, action, _)| *action)
}

fn find(call: &str) -> Option<&'static (&'static str, &'static str, Reading)> {
    let name = call.strip_prefix("/mcrun.v1.")?;
    CALLS.iter().find(|(known, _, _)| *known == name)
}

/// What a call asks for whose octets are these: one message in its frame.
///
/// # Errors
/// `MC-V005` and `MC-V006` where it cannot be read; the call itself refuses it likewise.
pub(super) fn asked(call: &str, octets: &[u8]) -> Result<Option<Asked>> {
    let Some((_, action, read)) = find(call) else { return Ok(None) };
    let broken =
        |why: String| Error::new(Code::ApiRequest, "the message of the call cannot be read").because(why);
    let (frame, message) = octets.split_at_checked(5).ok_or_else(|| broken("it has no frame".into()))?;
    if frame[0] != 0 {
        let message = format!("the daemon does not know how the message of `{call}` is packed");
        return Err(Error::new(Code::ApiVersion, message));
    }
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
    let message = message.get(..length).ok_or_else(|| broken("it breaks off".into()))?;
    let (object, params) = read(message).map_err(|error| broken(error.to_string()))?;
    Ok(Some(Asked { action, object, params }))
}

#[cfg(test)]
mod tests {
    use effect::access::{ACTIONS, reads};

    use super::*;

    fn described() -> Vec<String> {
        let set = prost_types::FileDescriptorSet::decode(api::DESCRIPTORS).unwrap();
        let services = set.file.iter().flat_map(|file| &file.service);
        let mut calls: Vec<String> = services
            .flat_map(|service| {
                service.method.iter().map(move |method| format!("{}/{}", service.name(), method.name()))
            })
            .collect();
        calls.sort();
        calls
    }

    #[test]
    fn every_call_is_an_action_and_none_is_made_up() {
        let known: Vec<String> = CALLS.iter().map(|(call, _, _)| (*call).to_owned()).collect();
        assert_eq!(known, described(), "a call without an action would be refused to everybody");
    }

    #[test]
    fn what_changes_something_is_no_reading_and_every_action_is_a_call() {
        for (call, action, _) in CALLS {
            let verb = call.rsplit('/').next().unwrap();
            let is_reading = ["List", "Get", "Watch", "Handshake", "CheckRoute", "Explain", "Validate"]
                .iter()
                .any(|begin| verb.starts_with(begin));
            assert_eq!(reads(action), is_reading, "{call}");
            assert!(ACTIONS.iter().any(|(known, _)| known == action), "{call}: {action}");
        }
        for (action, _) in ACTIONS {
            assert!(CALLS.iter().any(|(_, used, _)| used == action), "{action} is no call");
        }
    }

    #[test]
    fn a_message_says_what_it_is_about() {
        let framed = |message: &[u8]| {
            [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
        };
        let start = v1::StartPlaybookRequest {
            name: "deploy".into(),
            params: "{\"env\":\"staging\"}".into(),
            key: None,
        };
        let found =
            asked("/mcrun.v1.Playbooks/StartPlaybook", &framed(&start.encode_to_vec())).unwrap().unwrap();
        assert_eq!((found.action, found.object), ("playbooks.start", Object::Named("deploy".into())));
        assert_eq!(found.params.unwrap()["env"], "staging");
        assert_eq!(asked("/mcrun.v1.Playbooks/DropPlaybook", b"").unwrap(), None);
        for broken in [&b""[..], &[0, 0, 0, 0, 9, 1], &framed(b"\xff\xff")] {
            let error = asked("/mcrun.v1.Runs/CancelRun", broken).unwrap_err();
            assert_eq!(error.code, Code::ApiRequest);
        }
        let packed = asked("/mcrun.v1.Runs/CancelRun", &[1, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(packed.code, Code::ApiVersion);
    }
}
