//! Whoever follows something ends with what let him in: a token that is revoked or runs out, an account that is another one
//! by now, a rule that is taken away.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::v1;
use api::v1::events_client::EventsClient;
use api::v1::runs_client::RunsClient;
use async_trait::async_trait;
use daemon::api::client::request;
use daemon::api::{Bearer, Tokens};
use effect::{Code, Error, Principal, Result, Timestamp};
use journal::RunId;
use journal::audit::Filter;
use peer::calls::Way;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};

use crate::stage::{PATIENCE, Stage};

/// Whoever knows the tokens of a test.
#[derive(Default)]
pub(crate) struct Issuer {
    bearers: Mutex<HashMap<String, Bearer>>,
    is_gone: Mutex<bool>,
    asked: AtomicUsize,
}

#[async_trait]
impl Tokens for Issuer {
    async fn bearer(&self, token: &str) -> Result<Option<Bearer>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match *self.is_gone.lock().unwrap() {
            true => Err(Error::new(Code::Failed, "nobody answers there").retryable()),
            false => Ok(self.bearers.lock().unwrap().get(token).cloned()),
        }
    }
}

impl Issuer {
    /// The token `ada` stands for her, with these roles, for `life`.
    pub(crate) fn know(&self, roles: &[&str], life: Duration) {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let principal = Principal::Account { name: "ada".into(), roles, groups: Vec::new() };
        let now = Timestamp(jiff::Timestamp::now().as_millisecond());
        self.bearers.lock().unwrap().insert("ada".into(), Bearer { principal, until: now.after(life) });
    }

    fn revoke(&self) {
        self.bearers.lock().unwrap().clear();
    }

    async fn asked_twice(&self) {
        let wanted = self.asked.load(Ordering::Relaxed) + 2;
        let asked = async {
            while self.asked.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap();
    }
}

const LONG: Duration = Duration::from_secs(3600);

/// A message with her token.
pub(crate) fn of_ada<T>(message: T) -> Request<T> {
    let mut request = request(message);
    request.metadata_mut().insert("authorization", "Bearer ada".parse().unwrap());
    request
}

struct Ada {
    runs: RunsClient<Way>,
    events: EventsClient<Way>,
}

impl Ada {
    async fn calling(stage: &Stage) -> Self {
        let way = Way::over(UnixStream::connect(stage.socket()).await.unwrap(), None).await;
        let (way, origin) = (way.map_err(drop).unwrap(), http::Uri::from_static("http://mcrun"));
        Self {
            runs: RunsClient::with_origin(way.clone(), origin.clone()),
            events: EventsClient::with_origin(way, origin),
        }
    }

    async fn watch(&mut self, run: &RunId) -> std::result::Result<Streaming<v1::WatchRunResponse>, Status> {
        let message = v1::WatchRunRequest { run: run.to_string(), ..Default::default() };
        Ok(self.runs.watch_run(of_ada(message)).await?.into_inner())
    }

    async fn hear(&mut self) -> std::result::Result<Streaming<v1::WatchEventsResponse>, Status> {
        let message = v1::WatchEventsRequest { patterns: Vec::new(), after: None };
        Ok(self.events.watch_events(of_ada(message)).await?.into_inner())
    }
}

/// With what something that is followed ends.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends without a reason"),
                Err(status) => return status,
            }
        }
    };
    timeout(PATIENCE, ended).await.unwrap()
}

fn same(one: &Status, other: &Status) {
    let failure = |status: &Status| status.metadata().get_bin(api::FAILURE).unwrap().to_bytes().unwrap();
    assert_eq!((one.code(), one.message()), (other.code(), other.message()));
    assert_eq!(failure(one), failure(other));
}

#[tokio::test]
async fn what_is_followed_ends_when_the_token_is_revoked() {
    let stage = Stage::open().await;
    stage.issuer.know(&["admin"], LONG);
    let run = stage.executor.any().await;
    let mut ada = Ada::calling(&stage).await;
    let (mut watch, mut events) = (ada.watch(&run).await.unwrap(), ada.hear().await.unwrap());
    assert!(timeout(PATIENCE, watch.message()).await.unwrap().unwrap().is_some());
    stage.issuer.revoke();
    let refused = ada.watch(&run).await.map(drop).unwrap_err();
    assert!(refused.message().contains("token is not valid"), "{refused}");
    same(&end(&mut watch).await, &refused);
    same(&end(&mut events).await, &refused);
    let audited = stage.journal.audited(Filter::default(), 0, 100).await.unwrap();
    let denied: Vec<&str> =
        audited.iter().filter(|one| one.outcome == "denied").map(|one| one.action.as_str()).collect();
    assert_eq!(denied.len(), 3, "{denied:?}");
}

#[tokio::test]
async fn what_is_followed_ends_when_the_token_expires() {
    let stage = Stage::open().await;
    stage.issuer.know(&["admin"], Duration::from_millis(300));
    let run = stage.executor.any().await;
    let mut ada = Ada::calling(&stage).await;
    let (mut watch, mut events) = (ada.watch(&run).await.unwrap(), ada.hear().await.unwrap());
    for status in [end(&mut watch).await, end(&mut events).await] {
        assert!(status.message().contains("token is not valid"), "{status}");
    }
}

#[tokio::test]
async fn what_is_followed_ends_with_the_roles_that_allowed_it() {
    let stage = Stage::open().await;
    stage.issuer.know(&["guest"], LONG);
    let run = stage.executor.any().await;
    let mut ada = Ada::calling(&stage).await;
    let (mut watch, mut events) = (ada.watch(&run).await.unwrap(), ada.hear().await.unwrap());
    // Somebody else by now, who may look as well.
    stage.issuer.know(&["admin"], LONG);
    stage.issuer.asked_twice().await;
    stage.journal.emit("still.heard", "null").await.unwrap();
    let heard = timeout(PATIENCE, events.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(heard.name, "still.heard");
    stage.issuer.know(&["user"], LONG);
    let refused = ada.watch(&run).await.map(drop).unwrap_err();
    assert!(refused.message().contains("`account:ada` may not call"), "{refused}");
    same(&end(&mut watch).await, &refused);
    same(&end(&mut events).await, &refused);
}

#[tokio::test]
async fn what_is_followed_ends_with_the_rule_that_allowed_it() {
    let stage = Stage::open().await;
    stage.issuer.know(&["user"], LONG);
    let run = stage.executor.any().await;
    let allow = |actions: &[&str], objects: &[&str]| json!({ "principals": ["account:ada"], "actions": actions, "objects": objects, "effect": "allow" });
    stage.rule(json!([allow(&["runs.read", "events.read"], &["*"])]));
    let mut ada = Ada::calling(&stage).await;
    let (mut watch, mut events) = (ada.watch(&run).await.unwrap(), ada.hear().await.unwrap());
    assert!(timeout(PATIENCE, watch.message()).await.unwrap().unwrap().is_some());
    // Less of the events, and nothing of the run.
    stage.rule(json!([allow(&["events.read"], &["shown.*"])]));
    let refused = ada.watch(&run).await.map(drop).unwrap_err();
    same(&end(&mut watch).await, &refused);
    stage.issuer.asked_twice().await;
    for name in ["hidden.one", "shown.one"] {
        stage.journal.emit(name, "null").await.unwrap();
    }
    let heard = timeout(PATIENCE, events.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(heard.name, "shown.one");
    stage.rule(json!([]));
    assert!(end(&mut events).await.message().contains("may not call"));
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_for_a_moment_sends_nobody_away() {
    let stage = Stage::open().await;
    stage.issuer.know(&["admin"], LONG);
    let mut ada = Ada::calling(&stage).await;
    let mut events = ada.hear().await.unwrap();
    *stage.issuer.is_gone.lock().unwrap() = true;
    stage.issuer.asked_twice().await;
    stage.journal.emit("still.heard", "null").await.unwrap();
    let heard = timeout(PATIENCE, events.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(heard.name, "still.heard");
    // Whoever comes now is told why nobody knows.
    assert!(ada.hear().await.map(drop).unwrap_err().message().contains("nobody answers there"));
    *stage.issuer.is_gone.lock().unwrap() = false;
    stage.issuer.revoke();
    assert!(end(&mut events).await.message().contains("token is not valid"));
}
