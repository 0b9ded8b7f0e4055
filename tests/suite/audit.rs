//! `mcrun audit`: what was done is in it, and what is done to it is found.

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::{Place, program};

/// A place with a few runs in its audit.
fn audited() -> Place {
    let place = Place::new();
    let script = place.script("a.lua", "log.info('hello')");
    for _ in 0..4 {
        place.ends(0, &[&script]);
    }
    place
}

fn lines(place: &Place, words: &[&str]) -> Vec<Value> {
    let seen = place.ends(0, &[&["audit", "--json"], words].concat());
    seen.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn head(place: &Place) -> String {
    place.json(&["audit", "--verify", "--json"])["head"].as_str().unwrap().to_owned()
}

/// Changes the database as somebody would who knows what is in it.
fn tamper(place: &Place, statements: &str) {
    let connection = Connection::open(place.database()).unwrap();
    let open = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_removed;";
    connection.execute_batch(&format!("{open} {statements}")).unwrap();
}

#[test]
fn a_run_is_recorded_with_who_started_it() {
    let place = audited();
    let found = lines(&place, &[]);
    assert_eq!(found.len(), 4);
    let user = found[0]["principal"].as_str().unwrap();
    assert!(user.starts_with("user:"), "{user}");
    assert_eq!((&found[0]["action"], &found[0]["kind"]), (&"runs.start".into(), &"run".into()));
    assert!(found[0]["object"].as_str().unwrap().starts_with("script:a.lua/"));
    assert_eq!(found[3]["run"], place.newest_id());
    place.ends(0, &["audit"]).shows(&["PRINCIPAL", "runs.start", user]);
    assert_eq!(lines(&place, &["--principal", user, "--since", "1h"]).len(), 4);
    assert!(lines(&place, &["--principal", "account:ada"]).is_empty());
    assert!(lines(&place, &["--since", "2199-01-01T00:00:00Z"]).is_empty());
    place.ends(0, &["audit", "--verify"]).shows(&["4 records whole", &head(&place)]);
    // What is over is removed; that it was stays.
    place.configure("[retention]\nage = \"0s\"\nruns = 0\n");
    place.ends(0, &["gc"]);
    assert_eq!(lines(&place, &[]).len(), 4);
}

#[test]
fn whatever_is_done_to_the_file_is_found_at_its_place() {
    for (statements, said) in [
        ("UPDATE audit SET principal = 'user:nobody' WHERE number = 2", "record 2: it was changed"),
        ("DELETE FROM audit WHERE number = 3", "record 3: it is missing"),
        ("DELETE FROM audit WHERE number = 4", "behind record 3: the records up to 4 are missing"),
        (
            "UPDATE audit SET number = 9 WHERE number = 1; UPDATE audit SET number = 1 WHERE number = 2;
             UPDATE audit SET number = 2 WHERE number = 9",
            "record 1: it was changed",
        ),
        (
            "INSERT INTO audit SELECT 5, at, kind, principal, address, action, object, outcome, run, details, hash
             FROM audit WHERE number = 4",
            "record 5: it was changed, or does not follow",
        ),
        (
            "DELETE FROM audit WHERE number = 4;
             UPDATE audit_head SET number = 3, hash = (SELECT hash FROM audit WHERE number = 3)",
            "of which `audit.head` tells",
        ),
    ] {
        let place = audited();
        tamper(&place, statements);
        place.ends(1, &["audit", "--verify"]).says(&["MC-J020", said]);
        let told = place.json(&["audit", "--verify", "--json"]);
        assert!(told["fault"]["what"].is_string(), "{told:#}");
    }
}

#[test]
fn an_end_that_was_kept_elsewhere_tells_of_a_chain_that_was_written_anew() {
    let place = audited();
    let kept = head(&place);
    place.ends(0, &["audit", "--verify", "--head", &kept]);
    let script = place.script("b.lua", "log.info('hello')");
    place.ends(0, &[&script]);
    place.ends(0, &["audit", "--verify", "--head", &kept]);
    // Both ends that this machine knows are set back.
    tamper(
        &place,
        "DELETE FROM audit WHERE number > 2;
         UPDATE audit_head SET number = 2, hash = (SELECT hash FROM audit WHERE number = 2)",
    );
    std::fs::remove_file(place.state().join("audit.head")).unwrap();
    place.ends(0, &["audit", "--verify"]);
    place.ends(1, &["audit", "--verify", "--head", &kept]).says(&["MC-J020", "the earlier end"]);
    place.ends(2, &["audit", "--verify", "--head", "abc"]).says(&["64 digits"]);
}

#[test]
fn an_export_is_verified_by_anybody() {
    const VERIFY: &str = "
import hashlib, json, sys
before = '0' * 64
for line in open(sys.argv[1]):
    r = json.loads(line)
    told = [before] + [r[k] for k in ('number', 'millis', 'kind', 'principal', 'address', 'action', 'object',
                                      'outcome', 'run', 'details')]
    text = json.dumps(told, separators=(',', ':'), ensure_ascii=False)
    before = hashlib.sha256(text.encode()).hexdigest()
    assert before == r['hash'], r
print(before)";
    let place = audited();
    let kept = head(&place);
    let file = place.at("audit.jsonl");
    place.ends(0, &["audit", "--export", &file]);
    let seen = program("python3").args(["-c", VERIFY, &file]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&seen.stdout).trim(),
        kept,
        "{}",
        String::from_utf8_lossy(&seen.stderr)
    );
    let last = lines(&place, &[]).pop().unwrap();
    assert_eq!((&last["kind"], &last["action"]), (&"export".into(), &"audit.export".into()));
    assert!(last["details"].as_str().unwrap().contains(&kept));
}
