//! Playbooks that start by themselves: by the clock over kills, by events, files and webhooks; and what `schedule` says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Place, Started, program, until};

const SECRET: &str = "correct horse battery staple";

/// A place with a folder of playbooks.
fn place(settings: &str) -> Place {
    let place = Place::new();
    let folder = place.at("playbooks");
    std::fs::create_dir(&folder).unwrap();
    place.configure(&format!(
        "{settings}\n[playbooks]\nfolders = [\"{folder}\"]\n[drivers]\ncontainers = \"process\"\n"
    ));
    place
}

fn playbook(place: &Place, name: &str, fields: &str) {
    let text = format!(
        "return playbook {{\n    name = \"{name}\",\n{fields}\n    run = function(event)\n        print(event.kind)\n    end,\n}}\n"
    );
    std::fs::write(place.at(&format!("playbooks/{name}.lua")), text).unwrap();
}

/// A daemon that has loaded every playbook and has armed its triggers.
fn serving(place: &Place) -> Started {
    let started = place.start(&["serve"]);
    until("it is ready", || started.stderr().contains("ready").then_some(()));
    let database = rusqlite::Connection::open(place.database()).unwrap();
    until("its triggers are armed", || {
        let armed = "SELECT count(*) FROM records WHERE kind = 'trigger' AND name LIKE '%/%'";
        let count: i64 = database.query_row(armed, [], |row| row.get(0)).ok()?;
        (count > 0).then_some(())
    });
    started
}

/// What the runs of a playbook were told, with the states of these, the first first.
fn told(place: &Place, playbook: &str) -> Vec<(Value, String)> {
    let database = rusqlite::Connection::open(place.database()).unwrap();
    let mut query =
        database.prepare("SELECT cause, state FROM runs WHERE playbook = ? ORDER BY number").unwrap();
    let rows = query.query_map([playbook], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).unwrap();
    rows.map(|row| row.unwrap())
        .map(|(cause, state): (String, String)| {
            let cause: Value = serde_json::from_str(&cause).unwrap();
            (cause["event"].clone(), state)
        })
        .collect()
}

/// Waits until a playbook has run to its end so often.
fn runs(place: &Place, playbook: &str, count: usize) -> Vec<Value> {
    until("the playbook has run", || {
        let told = told(place, playbook);
        let done = told.iter().filter(|(_, state)| state == "done").count();
        (done >= count).then(|| told.into_iter().map(|(event, _)| event).collect())
    })
}

fn second(event: &Value) -> i64 {
    event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
fn every_second_counts_once_however_often_the_daemon_is_killed() {
    let place = place("");
    playbook(&place, "tick", "    on = { cron = \"* * * * * *\" }, overlap = \"queue\", catch_up = \"all\",");
    for killed in 1..=4 {
        let mut daemon = serving(&place);
        runs(&place, "tick", killed * 2);
        daemon.kill();
    }
    let daemon = serving(&place);
    let before = told(&place, "tick").len();
    let seen = runs(&place, "tick", before + 2);
    drop(daemon);
    let seconds: Vec<i64> = seen.iter().map(second).collect();
    let different: BTreeSet<i64> = seconds.iter().copied().collect();
    assert_eq!(seconds.len(), different.len(), "a second has two runs: {seconds:?}");
    let span = different.last().unwrap() - different.first().unwrap() + 1;
    assert_eq!(span, i64::try_from(different.len()).unwrap(), "a second is missing: {seconds:?}");
}

#[test]
fn an_event_starts_a_playbook_also_one_that_was_told_while_no_daemon_was_there() {
    let place = place("");
    playbook(
        &place,
        "restored",
        "    on = { event = { name = \"db.restored\", where = { from = \"night*\" } } }, overlap = \"queue\",",
    );
    let mut daemon = serving(&place);
    place.ends(0, &["emit", "db.restored", "--data", "{ \"from\": \"nightly\" }"]);
    place.ends(0, &["emit", "db.restored", "--data", "{ \"from\": \"weekly\" }"]);
    let seen = runs(&place, "restored", 1);
    assert_eq!((&seen[0]["kind"], &seen[0]["data"]), (&json!("event"), &json!({ "from": "nightly" })));
    daemon.kill();
    place.ends(0, &["emit", "db.restored", "--data", "{ \"from\": \"night 2\" }"]);
    let daemon = serving(&place);
    let seen = runs(&place, "restored", 2);
    drop(daemon);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[1]["data"], json!({ "from": "night 2" }));
    let run = place.newest_shown();
    assert_eq!(run["cause"]["by"], "trigger", "{run:#}");
}

#[test]
fn a_file_that_changes_starts_a_playbook() {
    let place = place("");
    let file = place.at("app.toml");
    std::fs::write(&file, "a = 1").unwrap();
    playbook(
        &place,
        "changed",
        &format!("    on = {{ file = {{ path = \"{file}\", settle = \"100ms\" }} }},"),
    );
    let daemon = serving(&place);
    let database = rusqlite::Connection::open(place.database()).unwrap();
    until("the file is known", || {
        let known = "SELECT count(*) FROM records WHERE kind = 'trigger-files'";
        let count: i64 = database.query_row(known, [], |row| row.get(0)).ok()?;
        (count > 0).then_some(())
    });
    std::fs::write(&file, "a = 22").unwrap();
    let seen = runs(&place, "changed", 1);
    drop(daemon);
    assert_eq!(seen[0]["paths"], json!([file]));
}

/// Calls a webhook with curl, signed by openssl. The status and the answer.
fn call(place: &Place, address: &str, path: &str, time: i64, secret: &str) -> (String, Value) {
    let body = place.at("body.json");
    std::fs::write(&body, "{ \"ref\": \"refs/heads/main\" }").unwrap();
    let signed = place.at("signed");
    std::fs::write(&signed, format!("{time}.{{ \"ref\": \"refs/heads/main\" }}")).unwrap();
    let mut openssl = program("openssl");
    let said = openssl.args(["dgst", "-sha256", "-hmac", secret, "-r", &signed]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let signature = said.split(' ').next().unwrap();
    let mut curl = program("curl");
    curl.args(["--silent", "--max-time", "30", "--header", "content-type: application/json"]);
    curl.args(["--header", &format!("mcrun-signature: t={time},v1={signature}")]);
    curl.args(["--data-binary", &format!("@{body}"), "--write-out", "%{http_code}"]);
    let said = curl.arg(format!("http://{address}/hooks/{path}")).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let (answer, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("no answer: {said}"));
    (status.to_owned(), serde_json::from_str(answer).unwrap())
}

#[test]
fn a_signed_call_starts_a_playbook_once_and_a_forged_one_does_not() {
    let place = place(
        "[webhooks]\nlisten = \"127.0.0.1:0\"\n[secrets.\"ci/hook\"]\nfile = \"FILE\"\nto = [\"webhooks:deploy\"]\n",
    );
    let (secret, config) = (place.at("secret"), place.config());
    std::fs::write(&secret, SECRET).unwrap();
    let text = std::fs::read_to_string(&config).unwrap().replace("FILE", &secret);
    std::fs::write(&config, text).unwrap();
    let hook =
        |path: &str| format!("    on = {{ webhook = {{ path = \"{path}\", secret = \"ci/hook\" }} }},");
    playbook(&place, "deploy", &hook("deploy"));
    playbook(&place, "other", &hook("other"));
    let daemon = serving(&place);
    let said = daemon.stderr();
    let address =
        said.split_once("/hooks/PATH (on ").map(|(_, rest)| rest).unwrap_or_else(|| panic!("{said}"));
    let address = address.split(')').next().unwrap();
    let now = jiff::Timestamp::now().as_second();
    let (status, answer) = call(&place, address, "deploy", now, SECRET);
    assert_eq!((status.as_str(), &answer["outcome"]), ("202", &json!("started")), "{answer}");
    let seen = runs(&place, "deploy", 1);
    assert_eq!((&seen[0]["kind"], &seen[0]["body"]["ref"]), (&json!("webhook"), &json!("refs/heads/main")));
    assert_eq!(place.newest()["id"], answer["run"]);
    assert_eq!(call(&place, address, "deploy", now, SECRET).0, "409");
    assert_eq!(call(&place, address, "deploy", now, "another secret").0, "401");
    // The secret may not go there.
    let (status, answer) = call(&place, address, "other", now, SECRET);
    assert_eq!((status.as_str(), &answer["error"]["code"]), ("503", &json!("MC-L013")), "{answer}");
    assert_eq!(told(&place, "deploy").len(), 1);
    assert!(!daemon.stderr().contains("horse"), "{}", daemon.stderr());
}

#[test]
fn schedule_tells_what_is_to_come_and_what_was_with_and_without_a_daemon() {
    let place = place("");
    playbook(
        &place,
        "nightly",
        "    on = { cron = { at = \"30 2 * * *\", zone = \"Europe/Berlin\" }, event = \"db.restored\" },",
    );
    playbook(&place, "boots", "    on = { boot = true },");
    place.ends(0, &["schedule"]).says(&["no playbook starts by itself"]);
    let mut daemon = serving(&place);
    runs(&place, "boots", 1);
    let seen = place.ends(0, &["schedule"]);
    for text in ["cron 30 2 * * * Europe/Berlin", "when it happens", "after the next boot", "started"] {
        assert!(seen.stdout.contains(text), "`{text}` is missing\n{seen}");
    }
    daemon.kill();
    let seen = place.ends(0, &["schedule", "nightly", "--next", "400"]);
    seen.says(&["no daemon holds this state directory"]);
    let times: Vec<&str> = seen.stdout.lines().filter(|line| line.contains("cron 30 2")).collect();
    assert_eq!(times.len(), 400);
    // In the spring a night has no half past two: then at three.
    assert_eq!(times.iter().filter(|line| line.contains(" 03:00:00 +02:00")).count(), 1, "{seen}");
    let told = place.json(&["schedule", "boots", "--json"]);
    assert_eq!(told["daemon"], false);
    assert_eq!(told["next"][0]["trigger"], "boot");
    assert_eq!(
        (&told["last"][0]["outcome"], &told["last"][0]["playbook"]),
        (&json!("started"), &json!("boots"))
    );
    place.run(&["schedule", "nigthly"]).says(&["MC-L008", "did you mean `nightly`?"]);
}

#[test]
fn an_idle_daemon_with_a_thousand_schedules_does_next_to_nothing() {
    let place = place("");
    let all: Vec<String> = (0..60).map(|minute| format!("\"{minute} 3 1 1 *\"")).collect();
    for number in 0..17 {
        playbook(
            &place,
            &format!("yearly-{number}"),
            &format!("    on = {{ cron = {{ {} }} }},", all.join(", ")),
        );
    }
    let daemon = serving(&place);
    let stat = format!("/proc/{}/stat", daemon.pid());
    let ticks = || -> u64 {
        let text = std::fs::read_to_string(Path::new(&stat)).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // Once it has come to rest, a second costs it less than a hundredth: counted in what the kernel counts, whoever else
    // is busy.
    let quiet = until("it has come to rest", || {
        let before = ticks();
        std::thread::sleep(Duration::from_secs(2));
        let spent = ticks() - before;
        (spent <= 2).then_some(spent)
    });
    assert!(quiet <= 2);
}
