//! The incident that mcrun exists for: the engine has lost its database while everything ran, or over a reboot.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::deployed::visit;
use super::platform::{Platform, WRITERS, ZONE};
use super::record::{At, CONTAINERS};
use crate::harness::{Place, Seen, until, until_within};
use crate::names::ask;

/// For a whole recovery, on a machine that does other things beside it.
const LONG: Duration = Duration::from_secs(150);

/// What the writers have written by now.
fn written(platform: &Platform) -> Vec<Vec<(String, u64)>> {
    WRITERS.iter().map(|service| platform.records(service)).collect()
}

/// Nothing was lost, nobody wrote beside anybody, and each writer has had `lives` lives.
#[track_caller]
fn is_whole(platform: &Platform, before: &[Vec<(String, u64)>], lives: usize) {
    platform.is_as_recorded();
    // A port that is published leads to the container that is there now.
    for (at, port) in [(At::Overlay, 48080), (At::Loopback, 38080), (At::Overlay, 58080)] {
        until("it answers", || visit(platform.published(at, port), "/"));
    }
    assert_eq!(
        platform.engine.monitored().len(),
        CONTAINERS.len(),
        "every process is a recorded container's"
    );
    for (service, before) in WRITERS.iter().zip(before) {
        platform.writes_on(service, before.len());
        assert_eq!(platform.is_continuous(service, before), lives, "{service}");
    }
}

fn recover(platform: &Platform) -> Seen {
    platform.ends(0, &["recover"])
}

/// Containers that a run made.
fn made(platform: &Platform) -> usize {
    let shown = platform.newest_shown();
    let entries = shown["entries"].as_array().expect("a run has entries");
    let is_made = |entry: &&Value| {
        entry["identity"]["name"] == "containers.ensure" && entry["result"]["changed"] == true
    };
    entries.iter().filter(is_made).count()
}

#[test]
#[expect(clippy::disallowed_macros, reason = "how long it took belongs into the log of a proof")]
fn what_a_lost_database_has_orphaned_comes_back_with_one_writer_at_a_time() {
    let mut platform = Platform::new();
    platform.deploy();
    platform.engine.lose_database();
    let before = written(&platform);

    // Nothing is made beside what still runs, and that is told.
    let refused = platform.run(&["start", "mcq"]);
    assert!(refused.stderr.contains("MC-C010"), "{refused}");
    let words = platform.words("deploy.lua");
    let planned =
        platform.run(&[&["plan"], &words.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    assert!(planned.stderr.contains("MC-C010"), "a plan is refused like its run: {planned}");
    let plan = platform.ends(0, &["recover", "--plan"]);
    assert!(plan.stdout.contains("containers.release mcq"), "{plan}");
    assert_eq!(platform.engine.podman(&["ps", "--all", "--quiet"]), "", "a plan does nothing");

    let begun = Instant::now();
    let seen = recover(&platform);
    println!("the recovery of {} containers took {:?}\n{seen}", CONTAINERS.len(), begun.elapsed());
    assert_eq!(made(&platform), CONTAINERS.len());
    is_whole(&platform, &before, 2);

    recover(&platform);
    assert_eq!(made(&platform), 0, "what is back is left alone");
    is_whole(&platform, &before, 2);
}

#[test]
fn the_daemon_notices_by_itself_and_the_playbook_recovers() {
    let mut platform = Platform::new();
    platform.deploy();
    let folder = platform.at("playbooks");
    fs::create_dir_all(&folder).expect("the place is writable");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/recover-engine.lua");
    let text = fs::read_to_string(shipped).expect("it ships").replace("default = true", "default = false");
    fs::write(platform.path().join("playbooks/recover-engine.lua"), text).expect("the place is writable");
    let config = fs::read_to_string(platform.config()).expect("it was written");
    let more = format!(
        "[playbooks]\nfolders = [\"{folder}\"]\n[monitors]\nevery = \"200ms\"\n[policy]\nscripts = [\"*\"]\n"
    );
    fs::write(platform.config(), config + &more).expect("the place is writable");
    let served = platform.start(&["serve"]);
    until("the daemon is ready", || served.stderr().contains("ready").then_some(()));

    platform.engine.lose_database();
    let before = written(&platform);
    let name = format!("mcq.{ZONE}");
    until_within(LONG, "the recovery is over", || {
        // Names do not depend on what is being recovered.
        let answer = ask::udp(platform.names(), &name, ask::A).expect("names are answered all along");
        assert_eq!(answer.addresses().len(), 1, "{name}");
        let runs = Place::runs(&platform);
        runs.iter()
            .any(|run| {
                run["name"].as_str().is_some_and(|name| name.contains("recover-engine"))
                    && run["state"] == "done"
            })
            .then_some(())
    });
    is_whole(&platform, &before, 2);
}

#[test]
fn a_recovery_that_is_killed_again_and_again_goes_on_and_never_has_two_writers() {
    let mut platform = Platform::new();
    platform.deploy();
    platform.engine.lose_database();
    let before = written(&platform);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut words = vec!["recover".to_owned()];
    let mut known = 0;
    for _ in 0..20 {
        let mut started = platform.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let entries = 1 + random % 12;
        // It is killed after a few more effects, or once it is over.
        until_within(LONG, "it has gone on", || {
            let run = Place::runs(&platform).into_iter().next()?;
            let has_gone_on = run["effects"].as_u64().unwrap_or_default() >= known + entries;
            (run["name"] == "recover" && (run["state"] == "done" || has_gone_on)).then_some(())
        });
        started.kill();
        let run = platform.newest();
        if run["state"] == "done" {
            break;
        }
        known = run["effects"].as_u64().unwrap_or_default();
        words = vec!["resume".to_owned(), platform.newest_id()];
    }
    if platform.newest()["state"] != "done" {
        platform.ends(0, &["resume", &platform.newest_id()]);
    }
    is_whole(&platform, &before, 2);
}

#[test]
fn after_a_reboot_that_lost_the_database_and_the_owner_of_its_volumes_everything_comes_back() {
    use std::os::unix::fs::MetadataExt as _;
    let mut platform = Platform::new();
    platform.deploy();
    let before = written(&platform);
    platform.engine.reboot();
    platform.engine.lose_database();
    assert_eq!(platform.engine.monitored(), []);
    // The engine's user had another number before.
    let records = platform.volume("mcq").join("records");
    std::os::unix::fs::chown(&records, Some(995), Some(995)).expect("tests run as root");
    let seen = platform.ends(2, &["recover", "--owner", "995"]);
    assert!(seen.stderr.contains("is not OLD=NEW"), "{seen}");
    platform.ends(0, &["recover", "--owner", "995:995=850:850"]);
    let owner = fs::metadata(&records).expect("it is there");
    assert_eq!((owner.uid(), owner.gid()), (850, 850));
    is_whole(&platform, &before, 2);
}

#[test]
fn without_mcrun_the_runbook_alone_brings_everything_back() {
    let mut platform = Platform::new();
    platform.deploy();
    let runbook = platform.path().join("runbook.sh");
    platform.ends(0, &["export-runbook", "--out", runbook.to_str().expect("a plain path")]);
    platform.engine.lose_database();
    // The state directory is gone with the machine's disk, say.
    fs::remove_file(platform.database()).expect("there was a database");
    let before = written(&platform);

    let refused = platform.engine.script(&runbook).output().expect("sh starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("mcq: podman has forgotten it, and it still runs"), "{said}");
    assert_eq!(platform.engine.podman(&["ps", "--all", "--quiet"]), "", "nothing is made beside what runs");

    let output = platform.engine.script(&runbook).env("ORPHANS", "end").output().expect("sh starts");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    is_whole(&platform, &before, 2);
}
