//! What `mcrun gc` takes away and leaves; runs that travel as files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Place, until};
use crate::service;

fn keep_nothing(place: &Place) {
    place.configure("[drivers]\ncontainers = \"process\"\n[retention]\nage = \"0s\"\nruns = 0\n");
}

fn write(place: &Place, content: &str) -> String {
    let text = format!("files.write {{ path = \"a\", content = \"{content}\" }}\n");
    let script = place.script("a.lua", &text);
    place.ends(0, &[&script, "--allow", "*"]);
    place.newest_id()
}

fn ids(place: &Place) -> Vec<String> {
    place.runs().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn finished_runs_go_as_the_configuration_says() {
    let place = Place::new();
    let runs: Vec<String> = (1..=4).map(|content| write(&place, &content.to_string())).collect();
    place.ends(0, &["gc"]);
    assert_eq!(ids(&place).len(), 4, "usually they stay for long");
    place.configure("[drivers]\ncontainers = \"process\"\n[retention]\nruns = 2\n");
    let dry = place.ends(0, &["gc", "--dry-run"]);
    assert!(dry.stdout.contains(&format!("would remove run {}", runs[0])), "{dry}");
    assert_eq!(ids(&place).len(), 4);
    let swept = place.json(&["gc", "--json"]);
    assert_eq!(
        (swept["runs"].as_array().unwrap().len(), swept["effects"].as_u64()),
        (2, Some(2)),
        "{swept:#}"
    );
    assert_eq!(ids(&place), [runs[3].clone(), runs[2].clone()]);
    // What was built on top of an older run is not known any more once the later one is gone.
    place.configure("[drivers]\ncontainers = \"process\"\n[retention]\nrun = 2\n");
    place.ends(2, &["gc"]).says(&["MC-U002", "did you mean `runs`"]);
}

#[test]
fn releases_keep_their_runs_and_can_be_rolled_back() {
    let place = Place::new();
    service::deploy(&place, 0, &["version=v1"]);
    service::deploy(&place, 0, &["version=v2", "message=second"]);
    write(&place, "last");
    keep_nothing(&place);
    let seen = place.ends(0, &["gc"]);
    assert!(seen.stdout.contains("kept, because a release"), "{seen}");
    place.ends(0, &["rollback", "web", "--yes"]);
    place.ends(0, &["stop", "web"]);
}

#[test]
fn an_undo_says_when_it_cannot_know_who_came_later() {
    let place = Place::new();
    service::deploy(&place, 0, &["version=v1"]);
    let first = place.newest_id();
    fs::write(place.at("scripts/a"), "mine").unwrap();
    let second = write(&place, "later");
    write(&place, "last");
    keep_nothing(&place);
    place.ends(0, &["gc"]);
    assert!(!ids(&place).contains(&second) && ids(&place).contains(&first));
    place.ends(1, &["undo", &first, "--yes"]).says(&["MC-B002", "mcrun gc", "--force"]);
}

#[test]
fn a_sweep_may_be_killed_anywhere() {
    let mut points = 0;
    for point in 1.. {
        let place = Place::new();
        for content in ["1", "2", "3"] {
            write(&place, content);
        }
        keep_nothing(&place);
        let mut command = place.command(&["gc"]);
        let killed = command.env("MCRUN_CRASH_AT", point.to_string()).output().unwrap();
        place.ends(0, &["gc"]);
        assert_eq!(ids(&place).len(), 1, "after a kill at {point}");
        let entries = place.newest_shown()["entries"].as_array().unwrap().len();
        assert_eq!(entries, 1);
        if killed.status.success() {
            break;
        }
        points += 1;
    }
    assert!(points > 5, "{points} points");
}

#[test]
fn a_run_goes_on_while_others_are_swept() {
    let place = Place::new();
    for content in ["1", "2", "3"] {
        write(&place, content);
    }
    let script = place.script(
        "b.lua",
        "for index = 1, 50 do files.write { path = \"b\", content = tostring(index) } sleep(\"5ms\") end\n",
    );
    let running = place.start(&[&script, "--allow", "*"]);
    until("it works", || fs::exists(place.at("scripts/b")).unwrap().then_some(()));
    keep_nothing(&place);
    for _ in 0..3 {
        place.ends(0, &["gc"]);
    }
    assert_eq!(ids(&place).len(), 1);
    let seen = running.end();
    assert_eq!(seen.code, Some(0), "{seen}");
    assert_eq!(place.newest()["effects"], 100);
}

const SECRETS: &str = "local password = secrets.get(\"db\")\n\
    local copy = files.read({ path = \"copy\" }).content\n\
    files.write { path = \"to\", content = copy }\n\
    containers.ensure { name = \"web\", exec = { \"/bin/sleep\", \"600\" }, secrets = { DB = password }, env = { TOKEN = args[1] } }\n\
    print(\"it is hunter2hunter2\")\n\
    fail(\"in the end\")\n";

#[test]
fn a_run_travels_without_secrets_and_can_be_looked_at_and_replayed() {
    let place = Place::new();
    let secret = place.at("secret");
    fs::write(&secret, "hunter2hunter2").unwrap();
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[secrets.db]\nfile = \"{secret}\"\nto = [\"containers:web\"]\n"
    ));
    place.script("copy", "the literal hunter2hunter2");
    let script = place.script("a.lua", SECRETS);
    place.ends(1, &[&script, "hunter2hunter2", "--allow", "*"]);
    let run = place.newest_id();
    let file = place.at("run.jsonl");
    place.ends(0, &["export", &run, "-o", &file]).says(&["look through it"]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("\"box\""), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let other = Place::new();
    other.ends(0, &["import", &file]);
    let (here, there) = (place.newest_shown(), other.newest_shown());
    assert_eq!(there["imported"], true);
    assert_eq!(here["entries"].as_array().unwrap().len(), there["entries"].as_array().unwrap().len());
    let shown = other.ends(0, &["show", &run]);
    assert!(shown.stdout.contains("failed (imported)") && shown.stdout.contains("in the end"), "{shown}");
    let logs = other.ends(0, &["logs", &run]);
    assert!(logs.stdout.contains("it is secret(db)"), "{logs}");
    for words in [
        &["resume", &run][..],
        &["resume", &run, "--from", "#1"],
        &["fork", &run, "--from", "#1"],
        &["undo", &run, "--yes"],
        &["cancel", &run],
    ] {
        other.ends(1, words).says(&["MC-J009", "was imported"]);
    }
    other.ends(1, &["import", &file]).says(&["MC-J009", "is here already"]);
}

#[test]
fn an_imported_run_is_replayed() {
    let place = Place::new();
    write(&place, "1");
    let run = place.newest_id();
    place.ends(0, &["export", &run]);
    let file = place.at(&format!("mcrun-{run}.jsonl"));
    let other = Place::new();
    other.ends(0, &["import", &file]);
    let same = place.at("scripts/a.lua");
    other.ends(0, &["replay", &run, "--against", &same]);
    let different = other.script("b.lua", "files.write { path = \"b\", content = \"1\" }\n");
    other.ends(1, &["replay", &run, "--against", &different]).says(&["MC-J001", "b.lua:1"]);
    // It is no run of this machine: it waits for nobody and is swept like any that is over.
    write(&other, "2");
    keep_nothing(&other);
    other.ends(0, &["gc"]);
    assert!(!ids(&other).contains(&run));
}

#[test]
fn a_plan_travels_with_its_run() {
    let place = Place::new();
    let script = place.script("a.lua", "files.write { path = \"a\", content = \"x\" }\n");
    let plan = place.at("a.plan");
    place.ends(0, &["plan", &script, "--allow", "*", "--out", &plan]);
    place.ends(0, &["apply", &plan]);
    let run = place.newest_id();
    let (first, second) = (place.at("first.jsonl"), place.at("second.jsonl"));
    place.ends(0, &["export", &run, "-o", &first]);
    let other = Place::new();
    other.ends(0, &["import", &first]);
    other.ends(0, &["export", &run, "-o", &second]);
    let header = |file: &str| -> serde_json::Value {
        serde_json::from_str(fs::read_to_string(file).unwrap().lines().next().unwrap()).unwrap()
    };
    let steps = &header(&first)["header"]["planned"];
    assert_eq!(steps[0]["action"], "create", "{steps:#}");
    assert_eq!(*steps, header(&second)["header"]["planned"]);
}

#[test]
fn a_damaged_export_is_refused_whole() {
    let place = Place::new();
    write(&place, "1");
    let run = place.newest_id();
    let file = place.at("run.jsonl");
    place.ends(0, &["export", &run, "--out", &file]);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without_end = lines[..lines.len() - 1].join("\n") + "\n";
    let other = Place::new();
    for (what, damaged) in [
        ("cut", text[..text.len() / 2].to_owned()),
        ("without its end", without_end),
        ("changed", text.replacen("\"a.lua\"", "\"b.lua\"", 1)),
        ("more behind its end", format!("{text}{{}}\n")),
        ("empty", String::new()),
        ("something else", "{\"a\":1}\n".to_owned()),
        ("newer", text.replacen("\"mcrun_export\":1", "\"mcrun_export\":9", 1)),
        ("deep", "[".repeat(1 << 20) + "\n"),
    ] {
        fs::write(other.at("damaged"), damaged).unwrap();
        let seen = other.run(&["import", &other.at("damaged")]);
        assert_eq!(seen.code, Some(1), "{what}: {seen}");
        seen.says(&["MC-J016", "hint:"]);
        assert_eq!(other.runs().len(), 0, "{what}");
    }
    other.ends(1, &["import", &other.at("nowhere")]).says(&["MC-J016"]);
    place.ends(1, &["export", &run, "-o", "/nowhere/at/all"]).says(&["MC-J016"]);
}
