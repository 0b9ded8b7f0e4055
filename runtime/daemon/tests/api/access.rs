//! Who may make which call, to what: every call that the descriptors tell of, by every kind of caller, near and from afar.

use api::v1;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD;
use bytes::Bytes;
use effect::access::reads;
use h2::client::SendRequest;
use http::Request;
use journal::audit::Filter;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage};
use crate::tls::Afar;

/// The id of no run.
const MISSING: &str = "0000000000000";

/// A call as it is described: its service, its name, and the message that it takes.
struct Call {
    service: String,
    name: String,
    takes: DescriptorProto,
}

/// Every call of the daemon.
fn calls() -> Vec<Call> {
    let set = FileDescriptorSet::decode(api::DESCRIPTORS).unwrap();
    let messages: Vec<&DescriptorProto> = set.file.iter().flat_map(|file| &file.message_type).collect();
    let takes = |name: &str| {
        let name = name.rsplit('.').next().unwrap();
        (*messages.iter().find(|message| message.name() == name).unwrap()).clone()
    };
    // Routes have a door of their own.
    let services =
        set.file.iter().flat_map(|file| &file.service).filter(|service| service.name() != "Routes");
    services
        .flat_map(|service| {
            service.method.iter().map(|method| Call {
                service: service.name().to_owned(),
                name: method.name().to_owned(),
                takes: takes(method.input_type()),
            })
        })
        .collect()
}

impl Call {
    /// A message in its frame that says `object` where the call says what it is about.
    fn about(&self, object: &str) -> Bytes {
        let mut message = Vec::new();
        for field in &self.takes.field {
            let value = match (self.name.as_str(), field.name()) {
                (_, "name" | "run" | "approval" | "slug" | "account" | "set" | "service") => object,
                ("RevokeToken", "id") | ("ValidateToken", "token") => "x",
                ("SetRole", "role") => "user",
                ("EnsureRules", "rules") => "[]",
                ("StartPlaybook", "params") => "{}",
                ("SubmitRun", "source") => "print(1)",
                ("OperateService", "operation") => "restart",
                ("Handshake", "version") => "0",
                _ => continue,
            };
            message.push(u8::try_from(field.number() << 3 | 2).unwrap());
            message.push(u8::try_from(value.len()).unwrap());
            message.extend_from_slice(value.as_bytes());
        }
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &message].concat().into()
    }

    /// What it is about: one that there is, and one that there is not.
    fn objects(&self, run: &str) -> [String; 2] {
        match self.service.as_str() {
            "Approvals" => [format!("{run}-1"), format!("{MISSING}-1")],
            "Runs" if self.name != "SubmitRun" => [run.to_owned(), MISSING.to_owned()],
            "Playbooks" => ["nightly".to_owned(), "other".to_owned()],
            _ => ["mcq".to_owned(), "other".to_owned()],
        }
    }

    /// Whether it changes nothing, told by its name alone.
    fn is_reading(&self) -> bool {
        ["List", "Get", "Watch", "Handshake", "Explain", "Validate"]
            .iter()
            .any(|begin| self.name.starts_with(begin))
    }
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// What a call is answered with: the code of its failure, or nothing.
async fn code(sender: &SendRequest<Bytes>, call: &Call, object: &str) -> Option<(String, String)> {
    let mut ready = timeout(PATIENCE, sender.clone().ready()).await.unwrap().unwrap();
    let head = Request::post(format!("http://mcrun/mcrun.v1.{}/{}", call.service, call.name))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = ready.send_request(head, false).unwrap();
    // Whoever is not listened to may be answered before.
    let _ = body.send_data(call.about(object), true);
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    let failure = response.headers().get(api::FAILURE)?;
    let octets = STANDARD_NO_PAD.decode(failure.to_str().unwrap().trim_end_matches('=')).unwrap();
    let failure = v1::Failure::decode(&octets[..]).unwrap();
    Some((failure.code, failure.message))
}

/// What the policy of these tests has a call answered with; nothing where it lets it through.
fn expected(who: &str, call: &Call, object: &str) -> Option<&'static str> {
    const UNKNOWN: Option<&str> = Some("MC-V003");
    const DENIED: Option<&str> = Some("MC-P020");
    match who {
        "owner" | "ops.mcrun.test" => None,
        "eyes.mcrun.test" if call.is_reading() => None,
        "eyes.mcrun.test" if object.starts_with(MISSING) => Some("MC-J008"),
        "eyes.mcrun.test" => Some("MC-V004"),
        // It may start one playbook, and look at that.
        "starter.mcrun.test" => match (call.service.as_str(), call.name.as_str()) {
            (_, "Handshake" | "ListPlaybooks" | "ListRuns") => None,
            ("Playbooks", _) if object == "nightly" => None,
            ("Playbooks", _) => Some("MC-L008"),
            ("Runs", "SubmitRun") | (_, "ListApprovals" | "ListDocuments") => DENIED,
            ("Documents", _) => Some("MC-P035"),
            (_, "ListAccounts" | "ValidateToken" | "GetRules" | "EnsureRules" | "ExplainSignIn") => DENIED,
            ("Identity", _) => Some("MC-W002"),
            ("Approvals" | "Runs", _) => Some("MC-J008"),
            ("Services", "GetService" | "OperateService") => Some("MC-R001"),
            _ => DENIED,
        },
        _ => UNKNOWN,
    }
}

/// What the gate answers with, and nothing behind it.
const OF_THE_GATE: [&str; 3] = ["MC-V003", "MC-V004", "MC-P020"];

fn rules() -> serde_json::Value {
    json!([{
        "name": "starter",
        "principals": ["certificate:starter.*"],
        "actions": ["playbooks.*"],
        "objects": ["nightly"],
        "effect": "allow",
        "capabilities": ["containers:write:web-*"],
    }])
}

#[tokio::test]
async fn every_caller_makes_the_calls_that_the_policy_allows_it_and_no_other() {
    let afar = Afar::open().await;
    let _serving = afar.stage.listen().await;
    afar.stage.rule(rules());
    let run = afar.stage.executor.any().await.to_string();
    let mut callers = vec![("owner", connect(UnixStream::connect(afar.stage.socket()).await.unwrap()).await)];
    for name in ["ops.mcrun.test", "eyes.mcrun.test", "starter.mcrun.test", "stranger.mcrun.test"] {
        let (_, chain, key) = afar.issue(name).await;
        callers.push((name, connect(afar.stream(&chain, &key).await.unwrap()).await));
    }
    let (calls, mut cells) = (calls(), 0);
    for (who, sender) in &callers {
        for call in &calls {
            for object in call.objects(&run) {
                let found = code(sender, call, &object).await;
                let place = format!("{who} {} {object}: {found:?}", call.name);
                let found = found.as_ref().map(|(code, _)| code.as_str());
                match expected(who, call, &object) {
                    None => assert!(!found.is_some_and(|found| OF_THE_GATE.contains(&found)), "{place}"),
                    wanted => assert_eq!(found, wanted, "{place}"),
                }
                cells += 1;
            }
        }
    }
    assert_eq!((calls.len(), cells), (42, 42 * 2 * 5));
    let audited = afar.stage.journal.audited(Filter::default(), 0, 1000).await.unwrap();
    let told = |who: &str, outcome: &str| {
        audited.iter().filter(|record| record.principal.contains(who) && record.outcome == outcome).count()
    };
    // Every refusal is recorded, and every change that was allowed; nobody is recorded for having looked.
    assert_eq!((told("stranger", "denied"), told("stranger", "allowed")), (60, 0));
    let changing = calls.iter().filter(|call| !call.is_reading()).count();
    assert_eq!((told("eyes", "denied"), told("eyes", "allowed")), (2 * changing, 0));
    // What there is not is neither.
    let to_runs =
        calls.iter().filter(|call| !call.is_reading() && call.objects("")[1].starts_with(MISSING)).count();
    assert_eq!((told("ops", "denied"), told("ops", "allowed")), (0, 2 * changing - to_runs));
    assert!(audited.iter().all(|record| record.outcome == "denied" || !reads(&record.action)));
    assert!(
        audited.iter().filter(|record| record.principal.contains("ops")).all(|one| one.address.is_some())
    );
    assert_eq!(afar.stage.journal.verify_audit(None).await.unwrap().fault, None);
}

#[tokio::test]
async fn what_a_caller_may_not_see_answers_like_what_there_is_not() {
    let afar = Afar::open().await;
    afar.stage.rule(rules());
    let run = afar.stage.executor.any().await.to_string();
    let (_, chain, key) = afar.issue("starter.mcrun.test").await;
    let sender = connect(afar.stream(&chain, &key).await.unwrap()).await;
    for call in calls().iter().filter(|call| call.service == "Runs" && !call.takes.field.is_empty()) {
        if ["SubmitRun", "ListRuns"].contains(&call.name.as_str()) {
            continue;
        }
        let hidden = code(&sender, call, &run).await.unwrap();
        let begin = code(&sender, call, &run[..6]).await.unwrap();
        let missing = code(&sender, call, MISSING).await.unwrap();
        assert_eq!((&hidden.0, &begin.0), (&missing.0, &missing.0));
        assert_eq!(hidden.1.replace(&run, "?"), missing.1.replace(MISSING, "?"), "{}", call.name);
        assert_eq!(begin.1.replace(&run[..6], "?"), missing.1.replace(MISSING, "?"));
    }
    let service = calls().into_iter().find(|call| call.name == "GetService").unwrap();
    let (hidden, missing) = (code(&sender, &service, "mcq").await, code(&sender, &service, "nix").await);
    assert_eq!(hidden.unwrap().1.replace("mcq", "?"), missing.unwrap().1.replace("nix", "?"));
}

#[tokio::test]
async fn whoever_starts_a_run_sees_it_and_bounds_it() {
    let afar = Afar::open().await;
    afar.stage.rule(rules());
    afar.stage.executor.any().await;
    let (_, chain, key) = afar.issue("starter.mcrun.test").await;
    let sender = connect(afar.stream(&chain, &key).await.unwrap()).await;
    let find = |name: &str| calls().into_iter().find(|call| call.name == name).unwrap();
    assert_eq!(code(&sender, &find("StartPlaybook"), "nightly").await, None);
    let runs = afar.stage.journal.runs(journal::Filter::default()).await.unwrap();
    let own = runs.iter().find(|run| run.playbook.is_some()).unwrap();
    let cause = own.cause.clone().unwrap();
    assert_eq!(cause["caller"], "certificate:starter.mcrun.test");
    assert_eq!(cause["within"], json!(["containers:write:web-*"]));
    assert_eq!(code(&sender, &find("GetRun"), own.id.as_str()).await, None);
    // To look is not to end.
    let refused = code(&sender, &find("CancelRun"), own.id.as_str()).await.unwrap();
    assert_eq!(refused.0, "MC-P020");

    // A rule that is taken away counts for the connection that is there, too.
    afar.stage.rule(json!([]));
    assert_eq!(code(&sender, &find("ListRuns"), "").await.unwrap().0, "MC-V003");
}

#[tokio::test]
async fn lists_hold_what_the_caller_may_see() {
    use api::v1::services_client::ServicesClient;
    use daemon::api::client::request;
    use peer::calls::Way;

    let afar = Afar::open().await;
    afar.stage.rule(json!([
        { "principals": ["certificate:starter.*"], "actions": ["services.read"], "objects": ["mc*"], "effect": "allow" },
        { "principals": ["*"], "actions": ["*"], "objects": ["mcr"], "effect": "deny" },
    ]));
    let (_, chain, key) = afar.issue("starter.mcrun.test").await;
    let way = Way::over(afar.stream(&chain, &key).await.unwrap(), None).await.map_err(drop).unwrap();
    let mut services = ServicesClient::with_origin(way, http::Uri::from_static("https://mcrun"));
    let listed = services.list_services(request(v1::ListServicesRequest::default())).await.unwrap();
    let names: Vec<String> = listed.into_inner().services.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["mcq"]);
}

#[tokio::test]
async fn users_whom_the_socket_lets_in_do_everything_until_rules_are_written() {
    let stage = Stage::open().await;
    let sender = connect(UnixStream::connect(stage.socket()).await.unwrap()).await;
    let reload = calls().into_iter().find(|call| call.name == "Reload").unwrap();
    assert_eq!(code(&sender, &reload, "").await, None);
    // The daemon's own user is not ruled by any.
    stage.rule(json!([{ "principals": ["*"], "actions": ["*"], "effect": "deny", "priority": 9 }]));
    assert_eq!(code(&sender, &reload, "").await, None);
}
