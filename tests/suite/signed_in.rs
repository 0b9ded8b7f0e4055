//! From an unknown caller to a person who signs in and may start what the policy says, through the program itself and by
//! the clients that everybody has.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Place, Started, program, until};
use crate::processes;

/// The passphrase of [`Served`]'s admin.
pub(crate) const PASSWORD: &str = "correct horse battery";
const CONFIGURATION: &str = r#"
[mcias]
listen = "127.0.0.1:0"
url = "https://mcias.mcrun.test"

[daemon.api]
listen = "127.0.0.1:0"
host = "daemon.mcrun.test"
tokens = true

[[access.rules]]
name = "alice greets"
principals = ["account:alice"]
actions = ["playbooks.start", "playbooks.read"]
objects = ["greet"]
effect = "allow"
"#;

/// A daemon with an admin `root`, and where it listens.
pub(crate) struct Served {
    pub(crate) place: Place,
    pub(crate) daemon: Started,
    pub(crate) identity: String,
    api: String,
}

impl Served {
    fn new() -> Self {
        Self::with(Place::new(), CONFIGURATION, &["serve"])
    }

    /// One with this configuration, started with these words.
    pub(crate) fn with(place: Place, configuration: &str, words: &[&str]) -> Self {
        let folder = place.path().join("books");
        fs::create_dir(&folder).unwrap();
        for name in ["greet", "other"] {
            let text =
                format!("return playbook {{ name = \"{name}\", run = function() print(\"{name}\") end }}\n");
            fs::write(folder.join(format!("{name}.lua")), text).unwrap();
        }
        let folders = format!("[playbooks]\nfolders = [{folder:?}]\n");
        place.configure(&format!("{folders}{configuration}"));
        let file = place.at("password");
        fs::write(&file, format!("{PASSWORD}\n")).unwrap();
        place.ends(0, &["mcias", "init", "root", "--passphrase-file", &file]);
        let daemon = place.start(words);
        until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
        until("playbooks are loaded", || {
            let listed = place.ends(0, &["playbooks"]).stdout;
            (listed.contains("greet") && listed.contains("other")).then_some(())
        });
        let log = daemon.stderr();
        let after = |text: &str, end: char| {
            let rest = log.split_once(text).unwrap_or_else(|| panic!("{text}: {log}")).1;
            rest.split(end).next().unwrap().to_owned()
        };
        let identity = after("identity: https://mcias.mcrun.test (on ", ')');
        let api = after("daemon.sock; ", ',');
        Self { place, daemon, identity, api }
    }

    /// What REST answers: the status, and JSON.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let to = format!("mcias.mcrun.test:443:{}", self.identity);
        let mut curl = program("curl");
        curl.args(["-sk", "--connect-to", &to, "-X", method, "-w", "\n%{http_code}", "-K", "-"]);
        curl.arg(format!("https://mcias.mcrun.test{path}"));
        // What is secret does not stand among the arguments of a process.
        let mut said = String::new();
        if let Some(token) = token {
            said.push_str(&format!("header = \"authorization: Bearer {token}\"\n"));
        }
        if let Some(body) = body {
            let body = body.to_string().replace('"', "\\\"");
            said.push_str(&format!("header = \"content-type: application/json\"\ndata = \"{body}\"\n"));
        }
        let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn login(&self, name: &str, service: &str, totp: Option<&str>) -> Value {
        let mut wish = json!({ "name": name, "password": PASSWORD, "service": service });
        if let Some(code) = totp {
            wish["totp"] = code.into();
        }
        self.ask("POST", "/v1/login", None, Some(&wish)).1
    }

    pub(crate) fn token(&self, name: &str, service: &str) -> String {
        let told = self.login(name, service, None);
        told["token"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    /// Starts a playbook from afar: the status of gRPC, 0 where it went well.
    fn start(&self, playbook: &str, token: Option<&str>) -> String {
        self.call("Playbooks/StartPlaybook", &[playbook], token).0
    }

    /// Makes a call from afar whose message has these texts as its first fields: the status of gRPC, and the message that
    /// comes back.
    fn call(&self, call: &str, texts: &[&str], token: Option<&str>) -> (String, String) {
        // curl loses an answer that comes before all is sent: whoever is refused at once is not listened to.
        until("the call is answered", || self.try_to_call(call, texts, token))
    }

    fn try_to_call(&self, call: &str, texts: &[&str], token: Option<&str>) -> Option<(String, String)> {
        let mut message = Vec::new();
        for (text, number) in texts.iter().zip(1_u8..) {
            message.extend([number << 3 | 2, u8::try_from(text.len()).unwrap()]);
            message.extend_from_slice(text.as_bytes());
        }
        let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()][..], &message].concat();
        fs::write(self.place.at("frame"), frame).unwrap();
        let to = format!("daemon.mcrun.test:443:{}", self.api);
        let mut curl = program("curl");
        curl.args([
            "-sk",
            "--http2",
            "--connect-to",
            &to,
            "-D",
            "-",
            "-K",
            "-",
            "-o",
            &self.place.at("back"),
        ]);
        curl.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary"]);
        curl.arg(format!("@{}", self.place.at("frame")));
        curl.arg(format!("https://daemon.mcrun.test/mcrun.v1.{call}"));
        fs::write(self.place.at("back"), "").unwrap();
        let said =
            token.map(|token| format!("header = \"authorization: Bearer {token}\"\n")).unwrap_or_default();
        let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let status = text.lines().find_map(|line| line.strip_prefix("grpc-status: "));
        let back = fs::read(self.place.at("back")).unwrap();
        status.map(|status| (status.trim().to_owned(), String::from_utf8_lossy(&back).into_owned()))
    }
}

/// The one-time code of a key at a time.
pub(crate) fn oathtool(key: &str, at: &str) -> String {
    let output = program("oathtool").args(["--totp", "--base32", "--now", at, key]).output();
    let output = output.expect("oathtool, as tests/install.sh installs it");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_new_person_enrols_signs_in_and_starts_what_the_policy_says() {
    let served = Served::new();
    let denied = "7";
    assert_eq!(served.start("greet", None), denied, "nobody knows the caller");
    assert_eq!(served.start("greet", Some("no.token.atall")), denied);

    let root = served.token("root", "mcias");
    let alice = json!({ "roles": ["user"], "password": PASSWORD });
    assert_eq!(served.ask("PUT", "/v1/accounts/alice", Some(&root), Some(&alice)).0, 201);
    assert_eq!(served.login("alice", "mcias", None), json!({ "outcome": "refused" }), "no rule, no entry");
    let rules = json!({ "rules": [
        { "name": "staff", "allow": true, "roles": ["user"], "services": ["mcias"] },
        { "name": "staff-to-mcrun", "allow": true, "roles": ["user"], "services": ["mcrun"], "second_factor": true },
    ] });
    assert_eq!(served.ask("PUT", "/v1/policy/staff", Some(&root), Some(&rules)).0, 201);
    assert_eq!(
        served.login("alice", "mcrun", None),
        json!({ "outcome": "refused" }),
        "she has no second factor"
    );

    let own = served.token("alice", "mcias");
    assert_eq!(served.ask("GET", "/v1/accounts", Some(&own), None).0, 403);
    let password = json!({ "password": PASSWORD });
    let (status, enrolment) = served.ask("POST", "/v1/totp", Some(&own), Some(&password));
    assert_eq!(status, 201, "{enrolment}");
    let key = enrolment["key"].as_str().unwrap();
    let code = json!({ "code": oathtool(key, "30 seconds ago") });
    assert_eq!(served.ask("POST", "/v1/totp/confirm", Some(&own), Some(&code)).0, 200);
    assert_eq!(served.login("alice", "mcrun", None)["outcome"], "challenge");
    let code = oathtool(key, "now");
    let told = served.login("alice", "mcrun", Some(&code));
    let token = told["token"].as_str().unwrap_or_else(|| panic!("{told}"));
    assert_eq!(served.login("alice", "mcrun", Some(&code))["outcome"], "refused", "a code is good once");

    assert_eq!(served.start("greet", Some(&own)), denied, "it is for another service");
    assert_eq!(served.start("greet", Some(token)), "0");
    assert_ne!(served.start("other", Some(token)), "0", "no rule allows it");
    let run = until("it is executed", || served.place.runs().first().cloned());
    assert_eq!(run["playbook"], "greet", "{run}");

    // The account is closed while signed in.
    assert_eq!(served.ask("POST", "/v1/accounts/alice/disable", Some(&root), None).0, 200);
    assert_eq!(served.start("greet", Some(token)), denied);
    assert_eq!(served.ask("GET", "/v1/whoami", Some(&own), None).0, 401);

    let seen = served.place.ends(0, &["audit", "--json"]);
    let told = |kind: &str, principal: &str, outcome: &str| {
        let lines = seen.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut lines = lines.filter(|line| line["kind"] == kind && line["principal"] == principal);
        lines.any(|line| line["outcome"] == outcome)
    };
    assert!(
        told("sign-in", "account:alice", "allowed") && told("sign-in", "account:alice", "denied"),
        "{seen}"
    );
    assert!(
        told("account", "account:root", "created") && told("account", "account:root", "disabled"),
        "{seen}"
    );
    assert!(
        told("decision", "account:alice", "allowed") && told("denial", "account:alice", "denied"),
        "{seen}"
    );
    for secret in [PASSWORD, key, token, &code] {
        assert!(!seen.stdout.contains(secret) && !served.daemon.stderr().contains(secret));
    }
    served.place.ends(0, &["audit", "--verify"]);
    processes::signal(served.daemon.pid(), Signal::TERM);
    assert_eq!(served.daemon.end().code, Some(0));
}

#[test]
fn accounts_are_looked_after_by_grpc_as_by_rest() {
    let served = Served::new();
    let (fine, missing, denied) = ("0", "5", "7");
    let root = served.token("root", "mcias");
    let alice = json!({ "roles": ["user"], "password": PASSWORD });
    assert_eq!(served.ask("PUT", "/v1/accounts/alice", Some(&root), Some(&alice)).0, 201);
    let rules = json!({ "rules": [
        { "name": "staff", "allow": true, "roles": ["user"], "services": ["mcias", "mcrun"] },
    ] });
    assert_eq!(served.ask("PUT", "/v1/policy/staff", Some(&root), Some(&rules)).0, 201);
    let (root, alice) = (served.token("root", "mcrun"), served.token("alice", "mcrun"));

    // An admin sees everybody; whoever is none, themselves.
    let (status, listed) = served.call("Identity/ListAccounts", &[], Some(&root));
    assert!(status == fine && listed.contains("alice") && listed.contains("root"), "{status} {listed:?}");
    assert_eq!(served.call("Identity/ListAccounts", &[], None).0, denied);
    assert_eq!(served.call("Identity/ListAccounts", &[], Some(&alice)).0, denied);
    assert_eq!(served.call("Identity/GetAccount", &["alice"], Some(&alice)).0, fine);
    assert_eq!(served.call("Identity/GetAccount", &["root"], Some(&alice)).0, missing);
    assert_eq!(served.call("Identity/GetAccount", &["nobody"], Some(&alice)).0, missing);
    assert_eq!(served.call("Identity/DisableAccount", &["alice"], Some(&alice)).0, denied);
    assert_eq!(served.call("Identity/SetRole", &["alice", "admin"], Some(&alice)).0, denied);

    // What is revoked here is refused there, at once.
    let told = served.login("alice", "mcias", None);
    let (session, id) = (told["token"].as_str().unwrap(), told["id"].as_str().unwrap());
    assert_eq!(served.ask("GET", "/v1/whoami", Some(session), None).0, 200);
    let (status, tokens) = served.call("Identity/ListTokens", &["alice"], Some(&root));
    assert!(status == fine && tokens.contains(id) && !tokens.contains(session), "{status} {tokens:?}");
    assert_eq!(served.call("Identity/RevokeToken", &["alice", id], Some(&root)).0, fine);
    assert_eq!(served.ask("GET", "/v1/whoami", Some(session), None).0, 401);

    // A service is made, gets a token, and asks about its own tokens and no others.
    assert_eq!(served.call("Identity/EnsureAccount", &["mcq", "system"], Some(&root)).0, fine);
    assert_eq!(served.call("Identity/EnsureAccount", &["mcq", "human"], Some(&root)).0, "9");
    let rules = r#"[{ "name": "mcq", "allow": true, "accounts": ["mcq"], "services": ["mcr"] }]"#;
    assert_eq!(served.call("Identity/EnsureRules", &["services", rules], Some(&root)).0, fine);
    assert_eq!(served.call("Identity/IssueToken", &["mcq", "mcq"], Some(&root)).0, "9", "no rule");
    let (status, made) = served.call("Identity/IssueToken", &["mcq", "mcr"], Some(&root));
    assert_eq!(status, fine);
    let token = made.split_once("eyJ").unwrap().1;
    let token: String =
        token.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let (status, said) = served.call("Identity/ExplainSignIn", &["alice", "mcr"], Some(&root));
    assert!(status == fine && said.contains("staff"), "{status} {said:?}");

    // The last admin stays, whoever asks.
    assert_eq!(served.call("Identity/DisableAccount", &["root"], Some(&root)).0, "9");
    assert_eq!(served.call("Identity/DisableAccount", &["alice"], Some(&root)).0, fine);
    assert_eq!(served.call("Identity/GetAccount", &["alice"], Some(&alice)).0, denied, "nobody any more");

    let seen = served.place.ends(0, &["audit", "--json"]);
    let lines: Vec<Value> = seen.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |principal: &str, action: &str, outcome: &str| {
        lines.iter().any(|line| {
            line["principal"] == principal
                && line["action"] == action
                && line["outcome"] == outcome
                && line["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1"))
        })
    };
    assert!(told("account:root", "mcias.tokens.revoke", "revoked"), "{seen}");
    assert!(told("account:root", "mcias.accounts", "created"), "{seen}");
    assert!(told("account:root", "tokens.issue", "allowed"), "{seen}");
    assert!(told("account:alice", "accounts.read", "denied"), "{seen}");
    assert!(told("account:alice", "accounts.write", "denied"), "{seen}");
    assert!(!seen.stdout.contains(&token) && !served.daemon.stderr().contains(&token));
    processes::signal(served.daemon.pid(), Signal::TERM);
    assert_eq!(served.daemon.end().code, Some(0));
}
