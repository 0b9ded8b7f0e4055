//! What happens when the state directory is not as it should be: a coded error, and nothing that was recorded is lost.

use std::ffi::CStr;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::errors::{shown, shows};
use crate::harness::{Place, until};
use crate::processes;

fn database(place: &Place) -> rusqlite::Connection {
    rusqlite::Connection::open(place.database()).expect("the database is there")
}

#[test]
fn a_state_directory_of_a_newer_version() {
    let place = Place::new();
    place.ends(0, &["runs"]);
    database(&place).pragma_update(None, "user_version", 9999).unwrap();
    let before = fs::read(place.database()).unwrap();
    shows!("state_newer", place, &["runs"]);
    assert_eq!(fs::read(place.database()).unwrap(), before, "nothing is touched");
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let place = Place::new();
    fs::write(place.state(), "a file").unwrap();
    shows!("state_unusable", place, &["runs"]);
}

#[test]
fn a_journal_that_is_damaged() {
    let place = Place::new();
    place.ends(0, &["runs"]);
    let mut bytes = fs::read(place.database()).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    fs::write(place.database(), bytes).unwrap();
    // A log that was left there would bring the pages back.
    for log in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(place.state().join(log));
    }
    shows!("journal_broken", place, &["runs"]);
}

#[test]
fn a_script_that_left_its_history() {
    let place = Place::new();
    let script = place.script("a.lua", "files.write { path = \"one\", content = \"x\" }\nsleep(\"1h\")\n");
    let host = place.start(&[&script, "--allow", "*"]);
    let run = until("the run waits", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting").then(|| run["id"].as_str().unwrap().to_owned())
    });
    processes::signal(host.pid(), Signal::INT);
    host.end();
    // The source is pinned; only somebody who edits the journal can change it.
    let changed = database(&place)
        .execute("UPDATE blobs SET data = CAST(replace(CAST(data AS TEXT), 'one', 'two') AS BLOB)", [])
        .unwrap();
    assert!(changed > 0);
    shows!("divergence", place, &["resume", &run]);
    assert_eq!((place.newest()["state"].as_str(), place.read("scripts/two").as_str()), (Some("paused"), ""));
    shows!("divergence_again", place, &["resume", &run]);
}

#[test]
fn a_node_without_a_free_port() {
    let place = Place::new();
    let script = place.script("a.lua", "ports.allocate { service = \"web\" }\n");
    place.ends(0, &["runs"]);
    let node = place.path().file_name().unwrap().to_str().unwrap();
    let fill = "WITH RECURSIVE number(n) AS (SELECT 10000 UNION ALL SELECT n + 1 FROM number WHERE n < 60000)
        INSERT INTO records SELECT 'port', ?1, 'old/p' || n,
            json_object('service', 'old', 'name', 'p' || n, 'port', n), NULL, 0 FROM number";
    database(&place).execute(fill, [node]).unwrap();
    shows!("no_port", place, &[&script, "--allow", "*"]);
}

/// A small file system that is gone with the test.
pub(crate) struct Small(PathBuf);

impl Small {
    /// One megabyte in the place of a state directory.
    pub(crate) fn mount(place: &Place) -> Self {
        Self::at(place.state(), c"size=1m")
    }

    pub(crate) fn at(folder: PathBuf, size: &CStr) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount("mcrun-test", &folder, "tmpfs", flags, Some(size));
        mounted.expect("this test mounts a small file system: run it as root");
        Self(folder)
    }

    /// Takes all the room that there is.
    pub(crate) fn fill(&self) {
        let mut junk = fs::File::create(self.0.join("junk")).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut junk).expect_err("the file system is full");
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.0.join("junk")).unwrap();
    }

    pub(crate) fn grow(&self, size: &str) {
        rustix::mount::mount_remount(&self.0, rustix::mount::MountFlags::empty(), size).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // A failed test must not fail again here; the file system goes with its last user.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_disk_that_is_full_at_the_start() {
    let place = Place::new();
    let small = Small::mount(&place);
    small.fill();
    shows!("disk_full_at_start", place, &["runs"]);
    small.make_room();
    place.ends(0, &["runs"]);
}

#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let place = Place::new();
    let small = Small::mount(&place);
    let script = place.script(
        "a.lua",
        "local text = string.rep(\"x\", 40000)\n\
         for index = 1, 60 do\n    files.write { path = `{args[1]}/{index}`, content = text .. index }\nend\n",
    );
    let out = place.at("out");
    fs::create_dir(&out).unwrap();
    let seen = place.run(&[&script, &out, "--allow", "*"]);
    assert_eq!(seen.code, Some(1), "{seen}");
    // Whether a begin or the end before it meets the full disk first depends on who else is at work.
    let passing = ["+", "paused", "  the end of an effect could not be recorded"];
    let last: Vec<&str> =
        seen.stderr.lines().filter(|line| !passing.iter().any(|start| line.starts_with(start))).collect();
    let seen = crate::harness::Seen { stderr: last.join("\n"), ..seen };
    insta::assert_snapshot!("disk_full", shown(&place, &seen));

    let written = fs::read_dir(&out).unwrap().count();
    assert!((1..60).contains(&written), "{written} files");
    small.grow("size=64m");
    let run = place.newest();
    assert_eq!(run["resumable"], true, "{run:#}");
    place.ends(0, &["resume", run["id"].as_str().unwrap()]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 60);
    assert_eq!(place.newest_shown()["entries"].as_array().unwrap().len(), 60);
}

#[test]
fn a_full_disk_is_noticed_by_a_script_that_only_reads() {
    let place = Place::new();
    let _small = Small::mount(&place);
    fs::write(place.at("large"), "x".repeat(40_000)).unwrap();
    let script = place.script(
        "a.lua",
        "for index = 1, 400 do\n    files.read { path = args[1] }\nend\nprint(\"to the end\")\n",
    );
    let seen = place.run(&[&script, &place.at("large"), "--allow", "*"]);
    assert_eq!(seen.code, Some(1), "{seen}");
    seen.says(&["MC-J006"]);
    assert!(!seen.stdout.contains("to the end"), "it stops at its next effect: {seen}");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount_remount(place.state(), flags, "size=64m").unwrap();
    assert!(place.newest_shown()["entries"].as_array().unwrap().len() < 400);
    let resumed = place.ends(0, &["resume", &place.newest_id()]);
    assert_eq!(resumed.stdout.trim(), "to the end");
}
