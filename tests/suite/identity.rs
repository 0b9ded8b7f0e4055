//! Identity through the program itself: the first admin, accounts and rules from scripts, tokens that stay secret, undo.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Place, until};

const PASSWORD: &str = "correct horse battery";

fn password(place: &Place) -> String {
    let file = place.at("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    file
}

/// A place with a first admin.
fn initialised() -> Place {
    let place = Place::new();
    place.ends(0, &["mcias", "init", "root", "--passphrase-file", &password(&place)]);
    place
}

/// Every file beneath the state directory.
fn stored(place: &Place) -> Vec<u8> {
    let (mut folders, mut all) = (vec![place.state()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let (inner, files): (Vec<PathBuf>, Vec<PathBuf>) =
            entries.map(|entry| entry.path()).partition(|path| path.is_dir());
        folders.extend(inner);
        all.extend(files.into_iter().filter(|file| file.is_file()).flat_map(|file| fs::read(file).unwrap()));
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_first_admin_is_made_once() {
    let place = initialised();
    let file = password(&place);
    let again = place.ends(1, &["mcias", "init", "other", "--passphrase-file", &file]);
    assert!(again.stderr.contains("MC-W011"), "{again}");
    let accounts = place.json(&["mcias", "accounts", "--json"]);
    assert_eq!(accounts.as_array().unwrap().len(), 1, "{accounts}");
    assert_eq!(accounts[0]["roles"], serde_json::json!(["admin"]));
    assert!(!contains(&stored(&place), PASSWORD), "the password lies in the state directory");
    fs::write(place.at("short"), "short\n").unwrap();
    let short = place.ends(1, &["mcias", "recover-admin", "root", "--passphrase-file", &place.at("short")]);
    assert!(short.stderr.contains("MC-W006") && !short.stderr.contains("`short`"), "{short}");
    let back = place.ends(0, &["mcias", "recover-admin", "second", "--passphrase-file", &file]);
    assert!(back.stdout.contains("`second` is an active admin"), "{back}");
}

#[test]
fn an_explanation_names_the_rule_and_why_others_do_not_decide() {
    let place = initialised();
    let said = place.ends(0, &["mcias", "explain", "root", "--service", "mcrun"]);
    assert!(said.stdout.contains("`admins-to-mcrun` of `admins` lets `root` in to `mcrun`"), "{said}");
    let said = place.ends(1, &["mcias", "explain", "root", "--service", "mcq", "--address", "192.0.2.1"]);
    assert!(said.stdout.contains("it is for services mcrun"), "{said}");
    let nobody = place.ends(1, &["mcias", "explain", "nobody", "--service", "mcq"]);
    assert!(nobody.stderr.contains("MC-W002"), "{nobody}");
    place.ends(2, &["mcias", "explain", "root", "--service", "mcq", "--at", "noon"]);
}

#[test]
fn accounts_are_changed_by_the_command_line_as_by_a_script() {
    let place = initialised();
    let set = ["mcias", "set", "ada", "--email", "ada@example.org", "--role", "user", "--group", "ops"];
    let plan = place.ends(0, &[&set[..], &["--plan"]].concat());
    assert!(plan.stdout.contains("1 to create"), "{plan}");
    place.ends(0, &set);
    // What is left out stays.
    place.ends(0, &["mcias", "set", "ada", "--tag", "night"]);
    place.ends(0, &["mcias", "set", "mcq", "--type", "system"]);
    place.ends(0, &["mcias", "set", "mcq", "--tag", "queue"]);
    let accounts = place.json(&["mcias", "accounts", "--json"]);
    let [ada, mcq] = ["ada", "mcq"].map(|name| {
        accounts.as_array().unwrap().iter().find(|account| account["name"] == name).unwrap().clone()
    });
    assert_eq!(
        (&ada["roles"], &ada["groups"], &ada["tags"]),
        (&json!(["user"]), &json!(["ops"]), &json!(["night"]))
    );
    assert_eq!((&mcq["type"], &mcq["tags"]), (&json!("system"), &json!(["queue"])));
    let wrong = place.ends(2, &["mcias", "set", "ada", "--role", "root"]);
    assert!(wrong.stderr.contains("the roles are admin, user, guest"), "{wrong}");
    let other = place.ends(1, &["mcias", "set", "ada", "--type", "system"]);
    assert!(other.stderr.contains("MC-W003"), "{other}");

    let file = password(&place);
    place.ends(0, &["mcias", "set-password", "ada", "--passphrase-file", &file]);
    for name in ["mcq", "nobody"] {
        place.ends(1, &["mcias", "set-password", name, "--passphrase-file", &file]);
    }
    place.ends(0, &["mcias", "disable", "ada"]);
    let closed = place.ends(1, &["mcias", "explain", "ada", "--service", "mcrun"]);
    assert!(closed.stdout.contains("disabled"), "{closed}");
    // A change is a run, and taken back like one.
    let runs = place.json(&["runs", "--json"]);
    place.ends(0, &["undo", runs[0]["id"].as_str().unwrap(), "--yes"]);
    let accounts = place.json(&["mcias", "accounts", "--json"]);
    assert_eq!(accounts[0]["status"], "active", "{accounts}");
}

#[test]
fn tokens_are_listed_and_revoked_and_keys_rotated_by_the_command_line() {
    let place = initialised();
    place.ends(0, &["mcias", "set", "mcq", "--type", "system"]);
    let issue = place.script(
        "issue.lua",
        r#"
mcias.policy.ensure { name = "mcq", rules = { { name = "push", allow = true, accounts = { "mcq" }, services = { "mcr" } } } }
mcias.tokens.issue { account = "mcq", service = "mcr" }
"#,
    );
    place.ends(0, &["run", &issue, "--allow", "mcias"]);
    place.ends(0, &["mcias", "rotate-key"]);
    place.ends(0, &["run", &issue, "--allow", "mcias"]);
    let tokens = place.json(&["mcias", "tokens", "mcq", "--json"]);
    assert_eq!(tokens.as_array().unwrap().len(), 2, "{tokens}");
    let listed = place.ends(0, &["mcias", "tokens", "mcq"]);
    assert!(
        listed.stdout.contains(tokens[0]["id"].as_str().unwrap()) && listed.stdout.contains("issue"),
        "{listed}"
    );
    place.ends(0, &["mcias", "revoke", "mcq", tokens[0]["id"].as_str().unwrap()]);
    let revoked = |at: usize| place.json(&["mcias", "tokens", "mcq", "--json"])[at]["revoked"] == true;
    assert!(revoked(0) && !revoked(1));
    place.ends(0, &["mcias", "revoke", "mcq"]);
    assert!(revoked(0) && revoked(1));
    place.ends(1, &["mcias", "tokens", "nobody"]);
    let audit = place.ends(0, &["audit", "--json"]);
    for told in ["mcias.keys", "mcias.tokens.revoke"] {
        assert!(audit.stdout.contains(told), "{audit}");
    }
}

const ACCOUNTS: &str = r#"
mcias.accounts.ensure { name = "Alice", email = "alice@EXAMPLE.org", roles = { "user" }, groups = { "ops" } }
mcias.roles.grant { account = "alice", role = "guest" }
mcias.policy.ensure { name = "staff", rules = {
    { name = "no-guests", priority = 5, allow = false, roles = { "admin" }, services = { "mcq" } },
    { name = "staff", priority = 10, allow = true, roles = { "user" }, services = { "mc*" }, addresses = { "10.0.0.0/8" } },
} }
local test = mcias.login_test { account = "alice", service = "mcq", address = "10.1.2.3" }
assert(test.allowed and test.rule == "staff" and test.tried[1].differs == "role", test.because)
local outside = mcias.login_test { account = "alice", service = "mcq", address = "192.0.2.1" }
assert(not outside.allowed and outside.rule == nil, outside.because)
assert(#mcias.accounts.list { group = "ops" } == 1)
assert(mcias.accounts.get { name = "nobody" } == nil)
mcias.roles.revoke { account = "alice", role = "guest" }
mcias.accounts.disable { name = "alice" }
local closed = mcias.login_test { account = "alice", service = "mcq", address = "10.1.2.3" }
assert(not closed.allowed, closed.because)
"#;

#[test]
fn a_plan_says_what_a_run_does_and_a_second_run_finds_it_done() {
    let place = initialised();
    let script = place.script("accounts.lua", ACCOUNTS);
    place.ends(4, &[&script]);
    let plan = place.json(&["plan", &script, "--allow", "mcias", "--json"]);
    let names = |steps: &serde_json::Value, key: &str| -> Vec<String> {
        let steps = steps.as_array().unwrap();
        steps.iter().map(|step| step[key]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let planned = names(&plan["steps"], "identity");
    assert!(planned.contains(&"mcias.accounts.disable".to_owned()), "{plan}");
    assert!(place.json(&["mcias", "accounts", "--json"])[1].is_null(), "a plan made an account");
    place.ends(0, &[&script, "--allow", "mcias"]);
    let alice = &place.json(&["mcias", "accounts", "--json"])[0];
    assert_eq!((&alice["name"], &alice["status"]), (&"alice".into(), &"disabled".into()), "{alice}");
    assert_eq!(alice["email"], "alice@example.org");
}

#[test]
fn undo_brings_accounts_and_rules_back() {
    let place = initialised();
    let first = place.script("first.lua", "mcias.accounts.ensure { name = \"bob\", roles = { \"user\" } }");
    place.ends(0, &[&first, "--allow", "mcias"]);
    let before = place.json(&["mcias", "accounts", "--json"]);
    let script = place.script(
        "more.lua",
        "mcias.accounts.ensure { name = \"bob\", roles = { \"guest\" }, tags = { \"new\" } }\n\
         mcias.accounts.ensure { name = \"carol\" }\nmcias.accounts.disable { name = \"bob\" }\n\
         mcias.policy.ensure { name = \"admins\", rules = {} }\n",
    );
    place.ends(0, &[&script, "--allow", "mcias"]);
    place.ends(1, &["mcias", "explain", "root", "--service", "mcrun"]);
    place.ends(0, &["undo", &place.newest_id(), "--yes"]);
    let mut after = place.json(&["mcias", "accounts", "--json"]);
    assert!(after[2].is_null(), "{after}");
    after[0]["changed"] = before[0]["changed"].clone();
    assert_eq!(after, before);
    place.ends(0, &["mcias", "explain", "root", "--service", "mcrun"]);
}

/// What the audit tells of accounts: action, principal and run of each record.
fn told(place: &Place) -> Vec<[String; 3]> {
    let audit = place.ends(0, &["audit", "--json"]).stdout;
    let lines = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let accounts = lines.filter(|line| line["kind"] == "account");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    accounts.map(|line| ["action", "principal", "run"].map(|key| text(&line[key]))).collect()
}

#[test]
fn what_a_run_does_to_accounts_is_told_with_the_run_and_in_its_starters_name() {
    let place = initialised();
    let user = place.json(&["can-i", "runs.read", "x", "--json"])["principal"].as_str().unwrap().to_owned();
    let before = told(&place);
    assert!(before.iter().all(|[_, principal, run]| *principal == user && run.is_empty()), "{before:?}");
    let text = |name: &str| {
        format!(
            "mcias.accounts.ensure {{ name = \"{name}\", type = \"system\" }}\n\
             mcias.policy.ensure {{ name = \"{name}\", rules = {{ {{ name = \"in\", priority = 10, allow = true, accounts = {{ \"{name}\" }} }} }} }}\n"
        )
    };
    place.ends(0, &[&place.script("alone.lua", &text("alone")), "--allow", "mcias"]);
    let alone = place.newest_id();
    let count = before.len();
    let by_command = told(&place);
    let is_told = |told: &[[String; 3]], run: &str| {
        for action in ["mcias.accounts", "mcias.policy"] {
            assert!(told.iter().any(|[told, ..]| told == action), "{action}: {told:?}");
        }
        assert!(told.iter().all(|[_, principal, of]| *principal == user && of == run), "{told:?}");
    };
    is_told(&by_command[count..], &alone);
    // A daemon that does the same for somebody is not who did it.
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let issue = "mcias.tokens.issue { account = \"handed\", service = \"mcq\" }";
    let handed = place.script("handed.lua", &(text("handed") + issue));
    place.ends(0, &[&handed, "--allow", "mcias"]);
    let by_daemon = told(&place)[by_command.len()..].to_vec();
    is_told(&by_daemon, &place.newest_id());
    assert!(by_daemon.iter().any(|[action, ..]| action == "mcias.tokens.issue"), "{by_daemon:?}");
    // Taking it back is a run of its own.
    place.ends(0, &["undo", &alone, "--yes"]);
    let undone = told(&place).pop().unwrap();
    assert!(undone[1] == user && undone[2] != alone && undone[2].len() == alone.len(), "{undone:?}");
    place.ends(0, &["audit", "--verify"]);
    crate::processes::signal(daemon.pid(), rustix::process::Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
}

#[test]
fn the_last_admin_and_roles_of_services_are_refused_with_their_codes() {
    let place = initialised();
    for (text, code) in [
        ("mcias.accounts.disable { name = \"root\" }", "MC-W005"),
        ("mcias.roles.revoke { account = \"root\", role = \"admin\" }", "MC-W005"),
        ("mcias.accounts.ensure { name = \"mcq\", type = \"system\", roles = { \"user\" } }", "MC-W003"),
        ("mcias.accounts.ensure { name = \"root\", type = \"system\" }", "MC-W003"),
        ("mcias.accounts.ensure { name = \"a b\" }", "MC-W001"),
        ("mcias.accounts.ensure { name = \"аdmin\" }", "MC-W001"),
        ("mcias.roles.grant { account = \"nobody\", role = \"user\" }", "MC-W002"),
        (
            "mcias.policy.ensure { name = \"x\", rules = { { name = \"y\", allow = true, addresses = { \"10.0.0.1/8\" } } } }",
            "MC-W010",
        ),
        (
            "mcias.accounts.ensure { name = \"mcq\", type = \"system\" }\nmcias.tokens.issue { account = \"mcq\", service = \"mcr\" }",
            "MC-W009",
        ),
    ] {
        let script = place.script("refused.lua", text);
        let seen = place.run(&[&script, "--allow", "mcias"]);
        assert!(seen.code == Some(1) && seen.stderr.contains(code), "{text}: {seen}");
    }
}

#[test]
fn a_capability_is_for_one_account_and_one_role() {
    let place = initialised();
    let script = place.script(
        "grant.lua",
        "mcias.accounts.ensure { name = \"bob\" }\nmcias.roles.grant { account = \"bob\", role = \"admin\" }",
    );
    let seen =
        place.ends(4, &[&script, "--allow", "mcias:write:accounts/bob", "--allow", "mcias:write:roles/user"]);
    assert!(seen.stderr.contains("mcias:write:roles/admin"), "{seen}");
    place.ends(0, &[&script, "--allow", "mcias:write:accounts/bob", "--allow", "mcias:write:roles/admin"]);
}

const TOKEN: &str = r#"
mcias.accounts.ensure { name = "mcq", type = "system" }
mcias.policy.ensure { name = "mcq", rules = { { name = "push", allow = true, accounts = { "mcq" }, services = { "mcr" } } } }
local made = mcias.tokens.issue { account = "mcq", service = "mcr", lifetime = "1h" }
print(made.token)
local answer = mcias.tokens.validate { token = made.token, service = "mcr" }
assert(answer.valid and answer.holder.account == "mcq", answer.refusal)
assert(mcias.whoami({ token = made.token, service = "mcr" }).type == "system")
assert(mcias.tokens.validate({ token = made.token, service = "mcq" }).refusal == "audience")
local seen = exec.run { argv = { "/usr/bin/dash", "-c", 'printf %s "$TOKEN" | wc -c; echo "$TOKEN"' }, env = { TOKEN = made.token } }
print(seen.stdout)
mcias.tokens.revoke { account = "mcq", id = made.id }
assert(mcias.tokens.validate({ token = made.token, service = "mcr" }).valid == false)
"#;

#[test]
fn a_token_goes_where_it_may_and_is_seen_nowhere() {
    let place = initialised();
    let config = place.read("mcrun.toml");
    fs::write(place.config(), format!("{config}[mcias]\ntokens_to = [\"exec:/usr/bin/dash\"]\n")).unwrap();
    let script = place.script("token.lua", TOKEN);
    let allow = ["--allow", "mcias", "--allow", "exec", "--allow", "secrets:read:mcias.tokens/mcq/*"];
    let seen = place.ends(0, &[&[script.as_str()][..], &allow].concat());
    let shown = format!("{}{}", seen.stdout, seen.stderr);
    assert!(shown.contains("secret(mcias.tokens/mcq/"), "{shown}");
    let run = place.ends(0, &["show", &place.newest_id(), "--json"]).stdout;
    for text in [shown.as_bytes(), run.as_bytes(), &stored(&place)] {
        // So the claims of every token of ours begin.
        assert!(!contains(text, ".eyJpc3Mi"), "a token lies open");
    }
    // Without the operator's word it goes nowhere.
    fs::write(place.config(), config).unwrap();
    let seen = place.run(&[&[script.as_str()][..], &allow].concat());
    assert!(seen.code == Some(4) && seen.stderr.contains("MC-P011"), "{seen}");
}

#[test]
fn a_refused_token_is_an_error_for_whoami() {
    let place = initialised();
    fs::write(place.at("token"), "eyJhbGciOiJub25lIn0.e30.\n").unwrap();
    let config = place.read("mcrun.toml");
    let secret = format!("[secrets.given]\nfile = \"{}\"\nto = [\"mcias:*\"]\n", place.at("token"));
    fs::write(place.config(), format!("{config}{secret}")).unwrap();
    let script =
        place.script("who.lua", "mcias.whoami { token = secrets.get(\"given\"), service = \"mcr\" }");
    let seen = place.ends(1, &[&script, "--allow", "mcias", "--allow", "secrets"]);
    assert!(seen.stderr.contains("MC-W008") && seen.stderr.contains("another algorithm"), "{seen}");
}
