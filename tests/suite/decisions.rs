//! `approve`: a run waits for people, whatever happens to it, to the machine and to whoever decides meanwhile.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, Seen, Started, until};
use crate::processes;

const ASKS: &str = "approve { title = \"Switch?\", body = \"The **old** one goes.\", plan = \"a -> b\", within = \"1h\" }\n\
    print(\"on\")";
const IDLE: [&str; 4] = ["--allow", "*", "--limit", "idle=100ms"];

fn start(place: &Place, text: &str) -> Started {
    place.start(&[&[&*place.script("asks.lua", text)][..], &IDLE].concat())
}

fn asked(place: &Place) -> Value {
    until("something is asked", || place.json(&["approvals", "list", "--json"]).as_array()?.first().cloned())
}

fn id(asked: &Value) -> String {
    asked["id"].as_str().unwrap().to_owned()
}

fn says(place: &Place, word: &str, asked: &Value) -> Seen {
    place.run(&["approvals", word, &id(asked), "--hash", asked["hash"].as_str().unwrap()])
}

/// What the audit tells of decisions: their outcomes.
fn decisions(place: &Place) -> Vec<String> {
    let seen = place.ends(0, &["audit", "--json"]);
    let lines = seen.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let decided = lines.filter(|line| line["action"] == "approvals.decide" && line["kind"] == "answer");
    decided.map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_run_waits_without_a_worker_and_goes_on_when_it_is_approved() {
    let place = Place::new();
    let host = start(&place, ASKS);
    let asked = asked(&place);
    until("its worker is free", || processes::worker_of(host.pid()).is_none().then_some(()));
    let run = place.newest_id();
    assert_eq!((id(&asked), place.newest()["state"].as_str()), (format!("{run}-1"), Some("waiting")));
    place.ends(0, &["approvals", "list"]).shows(&["Switch?", "open", "0/1", "role:admin"]);
    place.ends(0, &["approvals", "show", &run]).shows(&[
        "The **old** one goes.",
        "    a -> b",
        asked["hash"].as_str().unwrap(),
    ]);
    assert_eq!(asked["html"], "<p>The <strong>old</strong> one goes.</p>\n");
    place.ends(0, &["runs"]).shows(&["waits for Switch? (0/1 of role:admin)"]);
    place.ends(0, &["show", &run]).shows(&[&format!("mcrun approvals show {run}-1")]);
    place.ends(0, &["status"]).says(&["waits for Switch?"]);
    assert_eq!(place.newest_shown()["waits_for"][0]["title"], "Switch?");
    place.ends(2, &["approvals", "approve", &id(&asked)]).says(&["MC-U001", "names the hash"]);
    place.ends(5, &["approvals", "approve", &id(&asked), "--hash", &"0".repeat(64)]).says(&["MC-P032"]);
    let comment = ["--comment", "fine\u{1b}[31m"];
    let words = ["approvals", "approve", &id(&asked), "--hash", asked["hash"].as_str().unwrap(), "--json"];
    let decided = place.json(&[&words[..], &comment].concat());
    assert_eq!(
        (&decided["state"], &decided["decisions"][0]["comment"]),
        (&"approved".into(), &"fine[31m".into())
    );
    let seen = host.end();
    assert_eq!((seen.code, &*seen.stdout), (Some(0), "on\n"), "{seen}");
    seen.says(&[&format!("waiting: Switch? (role:admin): `mcrun approvals show {run}`")]);
    place.ends(5, &["approvals", "reject", &id(&asked), "--hash", &"0".repeat(64)]).says(&["MC-P031"]);
    place.ends(1, &["approvals", "show", "0000000000000-1"]).says(&["MC-P030"]);
    assert_eq!(decisions(&place), ["approved"]);
    place.ends(0, &["audit", "--verify"]);
}

#[test]
fn what_is_decided_while_nobody_executes_the_run_counts_when_it_goes_on() {
    let place = Place::new();
    let mut host = start(&place, ASKS);
    let first = asked(&place);
    host.kill();
    assert_eq!(says(&place, "approve", &first).code, Some(0));
    let seen = place.ends(0, &["resume", &place.newest_id()]);
    assert_eq!(seen.stdout, "on\n");
    let mut host = start(&place, ASKS);
    let second = asked(&place);
    host.kill();
    assert_eq!(says(&place, "reject", &second).code, Some(0));
    place.ends(1, &["resume", &place.newest_id()]).says(&["MC-P034", "was rejected by user:"]);
    // One that is given up asks for nothing any more.
    let mut host = start(&place, ASKS);
    let third = asked(&place);
    host.kill();
    place.ends(0, &["cancel", &place.newest_id()]);
    assert_eq!(place.json(&["approvals", "list", "--json"]), serde_json::json!([]));
    let late = says(&place, "approve", &third);
    late.says(&["MC-P031"]);
    place.ends(0, &["approvals", "list", "--all"]).shows(&["approved", "rejected", "over"]);
}

#[test]
fn a_decision_that_is_killed_anywhere_counts_once_or_not() {
    let place = Place::new();
    let mut host = start(&place, ASKS);
    let asked = asked(&place);
    host.kill();
    let words = ["approvals", "approve", &id(&asked), "--hash", asked["hash"].as_str().unwrap()];
    let mut killed = 0;
    for point in 1.. {
        let status = place.command(&words).env("MCRUN_CRASH_AT", point.to_string()).status().unwrap();
        place.ends(0, &["audit", "--verify"]);
        let shown = place.json(&["approvals", "show", &id(&asked), "--json"]);
        let count = decisions(&place).len();
        // What is recorded and what the audit tells are one.
        assert_eq!(shown["decisions"].as_array().unwrap().len(), count, "point {point}: {shown}");
        assert_eq!(shown["state"] == "approved", count == 1, "point {point}: {shown}");
        if status.code().is_some() || count == 1 {
            break;
        }
        killed += 1;
    }
    assert!(killed >= 1, "{killed} points are not many");
    assert_eq!(decisions(&place), ["approved"]);
    assert_eq!(place.ends(0, &["resume", &place.newest_id()]).stdout, "on\n");
}

#[test]
fn a_run_that_is_killed_anywhere_asks_once() {
    let place = Place::new();
    let script = place.script("asks.lua", ASKS);
    let mut killed = 0;
    for point in 1.. {
        let words = [&[&*script][..], &IDLE].concat();
        let mut host = place.start_with(&words, &[("MCRUN_CRASH_AT", &point.to_string())]);
        let mut has_ended = false;
        until("it is killed or waits without a worker", || {
            has_ended = host.has_ended();
            let waits = || place.runs().first().is_some_and(|run| run["state"] == "waiting");
            (has_ended || (waits() && processes::worker_of(host.pid()).is_none())).then_some(())
        });
        host.kill();
        let newest = place.runs().into_iter().next();
        let is_over = |run: &Value| ["done", "failed"].contains(&run["state"].as_str().unwrap());
        // It may have been killed before it was recorded.
        let Some(run) = newest.filter(|run| !is_over(run)) else { continue };
        let run = run["id"].as_str().unwrap();
        let host = place.start(&[&["resume", run][..], &IDLE[2..]].concat());
        let first = asked(&place);
        assert_eq!(id(&first), format!("{run}-1"), "killed at point {point}");
        assert_eq!(says(&place, "approve", &first).code, Some(0));
        let seen = host.end();
        assert_eq!((seen.code, &*seen.stdout), (Some(0), "on\n"), "killed at point {point}: {seen}");
        let all = place.json(&["approvals", "list", "--all", "--json"]);
        let own = all.as_array().unwrap().iter().filter(|one| one["asked"]["run"] == *run);
        assert_eq!(own.count(), 1, "killed at point {point}");
        if !has_ended {
            break;
        }
        killed += 1;
    }
    assert!(killed > 3, "{killed} points are not many");
}

#[test]
fn a_disk_that_is_full_takes_no_decision_and_loses_none() {
    let place = Place::new();
    let mut host = start(&place, ASKS);
    let asked = asked(&place);
    host.kill();
    let mut command =
        place.command(&["approvals", "approve", &id(&asked), "--hash", asked["hash"].as_str().unwrap()]);
    command.env("MCRUN_FULL_AT", "event:before-commit@1").env("MCRUN_FULL_BY", "/dev/full");
    let seen = Seen::of(command.output().unwrap());
    assert_eq!(seen.code, Some(1), "{seen}");
    seen.says(&["MC-J006"]);
    assert!(decisions(&place).is_empty());
    assert_eq!(place.json(&["approvals", "show", &id(&asked), "--json"])["state"], "open");
    assert_eq!(says(&place, "approve", &asked).code, Some(0));
    assert_eq!(decisions(&place), ["approved"]);
    assert_eq!(place.ends(0, &["resume", &place.newest_id()]).stdout, "on\n");
}

#[test]
fn two_who_decide_at_once_are_one_decision() {
    let place = Place::new();
    let host = start(&place, ASKS);
    let asked = asked(&place);
    let words = ["approvals", "approve", &id(&asked), "--hash", asked["hash"].as_str().unwrap()];
    let both: Vec<Started> = (0..4).map(|_| place.start(&words)).collect();
    for one in both {
        let seen = one.end();
        assert!(seen.code == Some(0) || seen.stderr.contains("MC-P031"), "{seen}");
    }
    assert_eq!(decisions(&place), ["approved"]);
    assert_eq!(host.end().code, Some(0));
}

#[test]
fn what_is_done_again_is_asked_again() {
    let place = Place::new();
    let text = "step(\"ask\", function()\n    approve { title = \"Switch?\" }\nend)\nprint(\"on\")\nfail(\"enough\")";
    let host = start(&place, text);
    let first = asked(&place);
    assert_eq!(says(&place, "approve", &first).code, Some(0));
    assert_eq!(host.end().code, Some(1));
    let run = place.newest_id();
    let again = place.start(&["fork", &run, "--from", "ask", "--yes"]);
    let second = asked(&place);
    assert_ne!(id(&first), id(&second));
    assert_ne!(first["hash"], second["hash"]);
    assert_eq!(says(&place, "reject", &second).code, Some(0));
    again.end().says(&["MC-P034"]);
}

#[test]
fn a_daemon_counts_decisions_and_wants_four_eyes_where_the_policy_says_so() {
    let place = Place::new();
    place.configure("[drivers]\ncontainers = \"process\"\n[access]\nfour_eyes = [\"script:strict*\"]\n");
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let strict = place.start(&[&[&*place.script("strict.lua", ASKS)][..], &IDLE].concat());
    let asked_strictly = asked(&place);
    let denied = says(&place, "approve", &asked_strictly);
    assert_eq!(denied.code, Some(4), "{denied}");
    denied.says(&["MC-P033", "somebody else"]);
    assert_eq!(says(&place, "reject", &asked_strictly).code, Some(0));
    strict.end().says(&["MC-P034"]);
    let lax = place.start(&[&[&*place.script("lax.lua", ASKS)][..], &IDLE].concat());
    let asked_laxly = asked(&place);
    assert_eq!(says(&place, "approve", &asked_laxly).code, Some(0));
    assert_eq!(lax.end().code, Some(0));
    assert_eq!(decisions(&place), ["rejected", "approved"]);
    let denials = place.ends(0, &["audit", "--json"]);
    assert!(denials.stdout.contains("wants somebody else to approve it"), "{denials}");
    place.ends(0, &["audit", "--verify"]);
    processes::signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
}

#[test]
fn a_daemon_reads_four_eyes_of_the_file_again() {
    let place = Place::new();
    place.configure("[drivers]\ncontainers = \"process\"\n[access]\nfile = \"rules.toml\"\n");
    let write = |text: &str| std::fs::write(place.path().join("rules.toml"), text).unwrap();
    write("four_eyes = false\n");
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    write("four_eyes = [\"script:strict*\"]\n");
    processes::signal(daemon.pid(), Signal::HUP);
    let taken_over = || place.ends(0, &["audit", "--json"]).stdout.contains("taken over").then_some(());
    until("it is taken over", taken_over);
    let strict = place.start(&[&[&*place.script("strict.lua", ASKS)][..], &IDLE].concat());
    let asked_strictly = asked(&place);
    says(&place, "approve", &asked_strictly).says(&["MC-P033", "somebody else"]);
    assert_eq!(says(&place, "reject", &asked_strictly).code, Some(0));
    strict.end().says(&["MC-P034"]);
    processes::signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
}

#[test]
fn documents_are_shown_marked_and_deleted() {
    let place = Place::new();
    let text = "docs.push { slug = \"story\", title = \"The story\", body = args[1] }";
    let script = place.script("push.lua", text);
    let hostile = "# What\n\n<script>alert(1)</script> [x](javascript:alert(1)) \u{1b}[2Jend";
    place.ends(0, &[&script, "--allow", "docs", hostile]);
    place.ends(0, &["docs", "list"]).shows(&["story", "The story", "user:", "no"]);
    let html = place.ends(0, &["docs", "show", "story", "--html"]).stdout;
    assert!(html.contains("<h1>What</h1>") && html.contains("&lt;script&gt;"), "{html}");
    assert!(!html.contains("<script") && !html.contains("href") && !html.contains('\u{1b}'), "{html}");
    let shown = place.ends(0, &["docs", "show", "story"]).stdout;
    assert!(shown.contains("# What\n") && !shown.contains("\u{1b}[2J"), "{shown:?}");
    place.ends(0, &["docs", "read", "story", "--version", "1"]);
    assert_eq!(place.json(&["docs", "list", "--json"])[0]["read"], true);
    place.ends(0, &["docs", "show", "story"]).shows(&["read by user:"]);
    place.ends(0, &["docs", "unread", "story"]);
    assert_eq!(place.json(&["docs", "list", "--json"])[0]["read"], false);
    place.ends(0, &["docs", "read", "story"]);
    place.ends(0, &[&script, "--allow", "docs", "another"]);
    assert_eq!(place.json(&["docs", "list", "--json"])[0]["read"], false);
    place.ends(5, &["docs", "read", "story", "--version", "1"]).says(&["MC-P032"]);
    // What a run pushed, an undo takes back: as a version that nobody has read.
    place.ends(0, &["undo", &place.newest_id(), "--yes"]);
    let document = place.json(&["docs", "show", "story", "--json"]);
    assert_eq!(
        (document["version"].as_u64(), document["body"].as_str().map(|body| body.starts_with("# What"))),
        (Some(3), Some(true))
    );
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    place.ends(0, &["docs", "read", "story"]);
    assert_eq!(place.json(&["docs", "list", "--json"])[0]["read"], true);
    place.ends(0, &["docs", "delete", "story", "--yes"]);
    place.ends(1, &["docs", "show", "story"]).says(&["MC-P035"]);
    place.ends(1, &["docs", "read", "story"]).says(&["MC-P035"]);
    processes::signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
}

#[test]
fn a_playbook_hears_that_somebody_is_asked() {
    let place = Place::new();
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[policy]\nscripts = [\"*\"]\n[playbooks]\nfolders = [\"{}\"]\n",
        place.at("playbooks")
    ));
    std::fs::create_dir(place.at("playbooks")).unwrap();
    let text = format!(
        "return playbook {{ name = \"tell\", on = {{ event = \"approval.asked\" }}, allow = {{ \"files\" }},\n  \
         run = function(event) files.write {{ path = \"{}\", content = event.data.title .. event.data.id }} end }}",
        place.at("told")
    );
    std::fs::write(place.at("playbooks/tell.lua"), text).unwrap();
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let host = start(&place, ASKS);
    let asked = asked(&place);
    until("it is told", || (place.read("told") == format!("Switch?{}", id(&asked))).then_some(()));
    assert_eq!(says(&place, "approve", &asked).code, Some(0));
    assert_eq!(host.end().code, Some(0));
    processes::signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.end().code, Some(0));
}
