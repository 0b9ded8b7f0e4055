//! Owns a listener of webhooks with everything behind it, and a client that says what it wants to.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daemon::listen::serve;
use daemon::playbooks::{CatchUp, Forge, OnWebhook, Overlap, Trigger};
use daemon::triggers::webhook::{Keys, Settings, Webhooks};
use effect::{Code, Error, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::stage::{Stage, playbook};

pub(crate) const SECRET: &str = "correct horse battery staple";

#[derive(Debug)]
struct OneKey;

#[async_trait]
impl Keys for OneKey {
    async fn key(&self, secret: &str, path: &str) -> Result<Zeroizing<Vec<u8>>> {
        if secret == "hook" && path != "closed" {
            return Ok(Zeroizing::new(SECRET.as_bytes().to_vec()));
        }
        Err(Error::new(Code::WebhookSecret, format!("`{secret}` may not go to `webhooks:{path}`")))
    }
}

pub(crate) fn webhook(path: &str, format: Forge) -> OnWebhook {
    OnWebhook {
        path: path.into(),
        secret: "hook".into(),
        format,
        events: Vec::new(),
        window: Duration::from_secs(300),
        at_most: None,
    }
}

pub(crate) struct Hooks {
    pub(crate) stage: Stage,
    pub(crate) address: SocketAddr,
    end: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Hooks {
    /// A playbook for each, called like its path.
    pub(crate) async fn of(hooks: Vec<OnWebhook>) -> Self {
        let one = |on: OnWebhook| {
            playbook(&on.path.clone(), vec![Trigger::Webhook(on)], Overlap::Queue, CatchUp::Once)
        };
        Self::over(Stage::with(hooks.into_iter().map(one).collect())).await
    }

    pub(crate) async fn over(stage: Stage) -> Self {
        let engine = stage.engine().await;
        let (end, ending) = watch::channel(false);
        let webhooks =
            Webhooks::new(stage.table.subscribe(), engine.inbox(), Arc::new(OneKey), stage.clock.clone());
        let settings: Settings = serde_json::from_value(json!({ "listen": "127.0.0.1:0" })).unwrap();
        settings.check().unwrap();
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listening = serve(listener, None, webhooks, settings.limits(), ending.clone());
        let tasks = vec![tokio::spawn(engine.run(ending)), tokio::spawn(listening)];
        Self { stage, address, end, tasks }
    }

    /// Ends everything but what is recorded.
    pub(crate) async fn stop(self) -> Stage {
        self.end.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.stage
    }

    pub(crate) fn now(&self) -> i64 {
        self.stage.journal.clock().now().0 / 1000
    }

    /// Calls, and says the status and the answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> (u16, String) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: hooks\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // It may be refused before it is whole.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let status =
            answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer}")).parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }

    /// How many runs there are of a playbook, over or not.
    pub(crate) async fn count(&self, playbook: &str) -> usize {
        let occurrences = self.stage.occurrences(playbook).await;
        occurrences.iter().filter(|one| matches!(one.outcome.as_str(), "started" | "queued")).count()
    }
}

pub(crate) fn json_type() -> (&'static str, String) {
    ("content-type", "application/json".into())
}

/// HMAC with SHA-256 by Python, of each message.
pub(crate) fn sign(secret: &str, messages: &[&[u8]]) -> Vec<String> {
    let program = "import hashlib, hmac, json, sys\n\
        told = json.load(sys.stdin)\n\
        for message in told['messages']:\n    \
        print(hmac.new(told['secret'].encode(), bytes(message), hashlib.sha256).hexdigest())\n";
    let told: BTreeMap<&str, Value> =
        [("secret", json!(secret)), ("messages", json!(messages))].into_iter().collect();
    let said = run("python3", &["-c", program], serde_json::to_string(&told).unwrap().as_bytes());
    said.lines().map(str::to_owned).collect()
}

pub(crate) fn sign_one(secret: &str, message: &[u8]) -> String {
    sign(secret, &[message]).remove(0)
}

/// Our own format.
pub(crate) fn ours(time: i64, body: &[u8]) -> (&'static str, String) {
    let signed = [format!("{time}.").as_bytes(), body].concat();
    ("mcrun-signature", format!("t={time},v1={}", sign_one(SECRET, &signed)))
}

#[expect(clippy::disallowed_methods, reason = "the tests start the programs that sign")]
pub(crate) fn run(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
