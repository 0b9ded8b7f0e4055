//! `[access]`: rules are read, asked, compared with what is expected of them, and count in the daemon.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, until};
use crate::processes;

const RULES: &str = r#"
[[access.rules]]
name = "roll out to staging"
principals = ["role:user"]
actions = ["playbooks.start"]
objects = ["roll-*"]
params = { stage = "staging" }
effect = "allow"
capabilities = ["containers:write:web-*"]

[[access.rules]]
name = "never the database"
principals = ["*"]
actions = ["*"]
objects = ["db", "db/*"]
effect = "deny"
priority = 10
"#;

fn ruled() -> Place {
    let place = Place::new();
    place.configure(RULES);
    place
}

#[test]
fn the_policy_says_whether_and_why() {
    let place = ruled();
    let ask = ["can-i", "playbooks.start", "roll-out", "--as", "account:ada", "--role", "user"];
    let with = |more: &[&'static str]| [&ask[..], more].concat();
    let seen = place.ends(0, &with(&["--param", "stage=staging"]));
    seen.shows(&["allowed: roll out to staging", "containers:write:web-*"]);
    place
        .ends(4, &with(&["--param", "stage=production"]))
        .shows(&["denied: no rule allows it"])
        .says(&["roll out to staging: asks for another `stage`"]);
    let admin = ["can-i", "services.operate", "db", "--as", "account:ada", "--role", "admin"];
    place.ends(4, &admin).shows(&["denied: never the database"]);
    place.ends(0, &["can-i", "services.operate", "db"]).shows(&["built in: root"]);
    let told = place.json(&[&admin[..], &["--json"]].concat());
    assert_eq!((&told["allowed"], &told["rule"]), (&Value::from(false), &"never the database".into()));
    assert!(told["rules"].as_array().unwrap().len() >= 4, "{told:#}");
    place.ends(2, &["can-i", "runs.cancle", "x"]).says(&["did you mean `runs.cancel`"]);
    place.ends(2, &["can-i", "runs.cancel", "x", "--as", "ada"]).says(&["is no principal"]);
}

#[test]
fn expectations_of_the_policy_are_compared_with_it() {
    let place = ruled();
    let table = |text: &str| {
        std::fs::write(place.path().join("expected.toml"), text).unwrap();
        place.at("expected.toml")
    };
    let good = r#"
[[expect]]
principal = "account:ada"
roles = ["user"]
action = "playbooks.start"
object = "roll-out"
params = { stage = "staging" }
expected = "allow"
rule = "roll out to staging"

[[expect]]
principal = "system:web"
action = "services.operate"
object = "web"
expected = "deny"
"#;
    place.ends(0, &["policy", "test", &table(good)]).shows(&["2 expectations of the policy hold"]);
    let bad = good.replacen("\"allow\"", "\"deny\"", 1);
    let seen = place.ends(1, &["policy", "test", &table(&bad)]);
    seen.shows(&["account:ada playbooks.start roll-out", "roll out to staging"]);
    seen.says(&["MC-T001", "1 of 2 expectations"]);
    let told = place.json(&["policy", "test", "--json", &table(&bad)]);
    assert_eq!(told["failing"].as_array().unwrap().len(), 1);
    let unknown = good.replacen("action", "actoin", 1);
    place.ends(2, &["policy", "test", &table(&unknown)]).says(&["MC-U002", "expected.toml:5:1", "`actoin`"]);
}

#[test]
fn a_mistake_in_a_rule_is_told_with_its_place() {
    let place = Place::new();
    place.configure("[[access.rules]]\nprincipals = [\"*\"]\nactons = [\"*\"]\neffect = \"allow\"\n");
    place.ends(2, &["can-i", "runs.read", "x"]).says(&[
        "MC-U002",
        "mcrun.toml:3:1",
        "did you mean `actions`",
    ]);
    place.configure("[access]\nfile = \"rules.toml\"\n");
    let file = place.path().join("rules.toml");
    std::fs::write(&file, "[[rules]]\nprincipals = [\"account:*\"]\nactions = [\"*\"]\nefect = \"deny\"\n")
        .unwrap();
    place.ends(2, &["can-i", "runs.read", "x"]).says(&["rules.toml:4:1", "did you mean `effect`"]);
    std::fs::write(&file, "[[rules]]\nprincipals = [\"account:*\"]\nactions = [\"*\"]\neffect = \"allow\"\n")
        .unwrap();
    place.ends(0, &["can-i", "runs.read", "x", "--as", "account:ada"]).shows(&["allowed: rule 1"]);
    std::fs::write(&file, "[[rules]]\nprincipals = [\"ada\"]\nactions = [\"*\"]\neffect = \"allow\"\n")
        .unwrap();
    place.ends(2, &["can-i", "runs.read", "x"]).says(&["rule 1", "`ada` begins with none of"]);
}

#[test]
fn four_eyes_may_be_wanted_by_the_file_of_rules() {
    let place = Place::new();
    let configured = |four_eyes: &str| {
        place.configure(&format!("[access]\nfile = \"rules.toml\"\nfour_eyes = {four_eyes}\n"));
    };
    configured("[\"deploy/*\"]");
    let file = place.path().join("rules.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("four_eyes = [\"script:strict*\"]\n");
    let asks =
        |object: &str| place.json(&["can-i", "approvals.decide", object, "--json"])["four_eyes"].clone();
    for (object, wanted) in [("deploy/01", true), ("script:strict.lua/01", true), ("other/01", false)] {
        assert_eq!(asks(object), wanted, "{object}");
        let table = format!(
            "[[expect]]\nprincipal = \"user:root\"\naction = \"approvals.decide\"\nobject = \"{object}\"\n\
             expected = \"allow\"\nfour_eyes = "
        );
        std::fs::write(place.path().join("expected.toml"), format!("{table}{wanted}\n")).unwrap();
        place
            .ends(0, &["policy", "test", &place.at("expected.toml")])
            .shows(&["1 expectation of the policy"]);
        std::fs::write(place.path().join("expected.toml"), format!("{table}{}\n", !wanted)).unwrap();
        let seen = place.ends(1, &["policy", "test", &place.at("expected.toml")]);
        seen.shows(&["allow, four eyes", "allow, two eyes"]);
    }
    place.ends(0, &["can-i", "approvals.decide", "deploy/01"]).shows(&["may reject, and not approve"]);
    let elsewhere = "[[expect]]\nprincipal = \"user:root\"\naction = \"runs.read\"\nexpected = \"allow\"\nfour_eyes = true\n";
    std::fs::write(place.path().join("expected.toml"), elsewhere).unwrap();
    place.ends(2, &["policy", "test", &place.at("expected.toml")]).says(&[
        "MC-U002",
        "expectation 1",
        "alone",
    ]);
    configured("true");
    assert_eq!(asks("other/01"), true);
    // A mistake is told with its file, also where it would change nothing.
    write("four_eyes = [\"[a\"]\n");
    place.ends(2, &["can-i", "runs.read", "x"]).says(&["MC-U002", "rules.toml", "`four_eyes`"]);
    write("four_eye = true\n");
    place.ends(2, &["can-i", "runs.read", "x"]).says(&["rules.toml:1:1", "did you mean `four_eyes`"]);
}

#[test]
fn a_daemon_reads_rules_again_and_keeps_the_old_ones_where_they_are_wrong() {
    let place = ruled();
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let outcomes = || -> Vec<String> {
        let seen = place.ends(0, &["audit", "--json"]);
        let lines = seen.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let told = lines.filter(|line| line["kind"] == "policy");
        told.map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
    };
    place.configure("[[access.rules]]\nprincipals = [\"ada\"]\n");
    processes::signal(daemon.pid(), Signal::HUP);
    until("it is refused", || daemon.stderr().contains("mcrun.toml is wrong").then_some(()));
    place.configure("");
    processes::signal(daemon.pid(), Signal::HUP);
    until("it is taken over", || (outcomes() == ["refused", "taken over"]).then_some(()));
    // What a command hands over and asks for is in the audit with its user.
    let script = place.script("a.lua", "log.info('hello')");
    place.ends(0, &[&script]);
    let seen = place.ends(0, &["audit", "--json", "--principal", &user(&place)]);
    assert!(seen.stdout.contains("runs.start") && seen.stdout.contains("runs.resume"), "{seen}");
    place.ends(0, &["audit", "--verify"]);
    processes::signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
}

fn user(place: &Place) -> String {
    place.json(&["can-i", "runs.read", "x", "--json"])["principal"].as_str().unwrap().to_owned()
}
