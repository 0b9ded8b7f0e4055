//! The state directory as a backup, and snapshots of services, as an operator has them.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::errors_of_state::Small;
use crate::harness::{Place, Seen, program, until};
use crate::processes;

/// Everything in the tables of a database, as text.
fn rows(database: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(database).unwrap();
    let mut tables =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut found = Vec::new();
    for name in names {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<rusqlite::types::Value> =
                (0..columns).map(|column| row.get(column).unwrap()).collect();
            found.push(format!("{name}: {values:?}"));
        }
    }
    found
}

fn put_services(place: &Place) {
    let script = place.script(
        "put.lua",
        "registry.put { service = \"web\", spec = { exec = { \"/bin/true\" } }, release = { version = \"v1\" } }\n",
    );
    place.ends(0, &[&script, "--allow", "registry"]);
    place.ends(0, &["certs", "ensure", "hello.mcrun.test"]);
}

#[track_caller]
fn elsewhere(place: &Place, code: i32, state: &str, words: &[&str]) -> Seen {
    let state = place.at(state);
    place.ends(code, &[&["--state", state.as_str()], words].concat())
}

#[test]
fn a_state_directory_comes_back_elsewhere_with_everything_in_it() {
    let place = Place::new();
    put_services(&place);
    let backup = place.at("backup.tar.zst");
    place.ends(0, &["backup", "--out", &backup]).says(&["every key of this node"]);
    let before = rows(&place.database());
    let drill = place.ends(0, &["restore", &backup, "--check"]);
    for said in ["1 service", "it can be restored"] {
        assert!(drill.stdout.contains(said), "{drill}");
    }
    elsewhere(&place, 0, "again", &["restore", &backup]);
    assert_eq!(rows(Path::new(&place.at("again/journal.db"))), before);
    let listed = |state: &str| elsewhere(&place, 0, state, &["certs", "list", "--json"]).stdout;
    assert_eq!(listed("again"), listed("state"));
    // Its sealed root opens with the key that came with it.
    elsewhere(&place, 0, "again", &["certs", "ensure", "other.mcrun.test"]);
}

#[test]
fn a_backup_that_daemon_and_runs_write_into_is_whole() {
    let place = Place::new();
    put_services(&place);
    let daemon = place.start(&["serve"]);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let script = place.script(
        "write.lua",
        "for n = 1, 2000 do\n    notify.event { name = `tick.{n}` }\nend\nsleep(\"1h\")\n",
    );
    let mut writing = place.start(&[&script, "--allow", "notify"]);
    until("the run writes", || (!place.runs().is_empty()).then_some(()));
    for number in 0..3 {
        let backup = place.at(&format!("backup-{number}"));
        place.ends(0, &["backup", "--out", &backup]);
        let found = place.json(&["restore", &backup, "--check", "--json"]);
        assert_eq!((&found["services"], &found["manifest"]["mcrun_backup"]), (&json!(1), &json!(1)));
    }
    place.ends(3 + 2, &["restore", &place.at("backup-0")]).says(&["MC-J003", "stop it first"]);
    let backup = place.at("last");
    place.ends(0, &["backup", "--out", &backup]);
    // What was under way rests where it comes back: nobody knows what it has done since.
    elsewhere(&place, 0, "again", &["restore", &backup]).says(&["1 run was under way"]);
    let runs: Value =
        serde_json::from_str(&elsewhere(&place, 0, "again", &["runs", "--json"]).stdout).unwrap();
    let paused = runs.as_array().unwrap().iter().filter(|run| run["state"] == "paused").count();
    assert_eq!(paused, 1);
    writing.kill();
    processes::signal(daemon.pid(), rustix::process::Signal::TERM);
    daemon.end();
}

#[test]
fn what_cannot_be_restored_is_refused_with_its_reason() {
    let place = Place::new();
    put_services(&place);
    let backup = place.at("backup.tar.zst");
    place.ends(0, &["backup", "-o", &backup]);
    place.ends(1, &["backup", "-o", &backup]).says(&["MC-F002", "there already"]);
    place.ends(1, &["restore", &backup]).says(&["MC-J005", "something is in it", "--state"]);
    let whole = fs::read(&backup).unwrap();
    fs::write(&backup, &whole[..whole.len() / 2]).unwrap();
    elsewhere(&place, 1, "again", &["restore", &backup]).says(&["MC-M020"]);
    fs::write(&backup, "no archive").unwrap();
    place.ends(1, &["restore", &backup, "--check"]).says(&["MC-M020"]);
    assert!(!Path::new(&place.at("again")).exists());
    fs::write(place.at("passphrase"), "correct horse\n").unwrap();
    fs::write(place.at("another"), "battery\n").unwrap();
    let (right, wrong) = (place.at("passphrase"), place.at("another"));
    let sealed = place.at("sealed.age");
    place.ends(0, &["backup", "-o", &sealed, "--seal", "--passphrase-file", &right]);
    place.ends(0, &["restore", &sealed, "--check", "--passphrase-file", &right]);
    place
        .ends(1, &["restore", &sealed, "--check", "--passphrase-file", &wrong])
        .says(&["MC-M020", "passphrase"]);
    place.ends(2, &["restore", &sealed, "--check", "--no-input"]).says(&["--passphrase-file"]);
    place.ends(2, &["backup", "--seal", "--no-input"]).says(&["a passphrase is needed"]);
}

#[test]
fn a_drill_that_is_interrupted_or_killed_leaves_no_key_behind() {
    let place = Place::new();
    put_services(&place);
    fs::write(place.at("passphrase"), "correct horse\n").unwrap();
    fs::create_dir(place.at("temporary")).unwrap();
    let [file, sealed, temporary] = ["passphrase", "sealed.age", "temporary"].map(|name| place.at(name));
    place.ends(0, &["backup", "-o", &sealed, "--seal", "--passphrase-file", &file]);
    let words = ["restore", sealed.as_str(), "--check", "--passphrase-file", file.as_str()];
    let left = || fs::read_dir(&temporary).unwrap().count();
    let drill = || place.start_with(&words, &[("TMPDIR", &temporary)]);
    // The seal takes a second to open, and where it is unpacked is made before.
    let begun = || {
        let started = drill();
        until("it has begun", || (left() > 0).then_some(()));
        started
    };
    let interrupted = begun();
    processes::signal(interrupted.pid(), rustix::process::Signal::INT);
    let seen = interrupted.end();
    assert_eq!((seen.code, left()), (Some(130), 0), "{seen}");
    seen.says(&["nothing is left of it"]);
    begun().kill();
    assert_eq!(left(), 1, "nobody could take it away");
    let seen = drill().end();
    assert_eq!((seen.code, left()), (Some(0), 0), "{seen}");
}

#[test]
fn a_full_disk_leaves_no_half_snapshot_and_no_half_restore() {
    let place = Place::new();
    let small = Small::at(place.path().join("small"), c"size=2m");
    fs::create_dir(place.at("data")).unwrap();
    let mut chance = fs::File::open("/dev/urandom").unwrap().take(4 << 20);
    std::io::copy(&mut chance, &mut fs::File::create(place.at("data/file")).unwrap()).unwrap();
    fs::create_dir(place.at("small/data")).unwrap();
    fs::write(place.at("small/data/mine"), "stays").unwrap();
    let script = place.script(
        "a.lua",
        r#"
if args[2] == "take" then
    files.snapshot { path = args[1] .. "/data", to = args[1] .. "/" .. args[3], service = "web" }
else
    files.restore { from = args[1] .. "/whole.tar.zst", path = args[1] .. "/small/data", service = "web" }
end
"#,
    );
    let root = place.path().canonicalize().unwrap();
    let run = |code: i32, words: &[&str]| {
        place.ends(code, &[&[script.as_str(), root.to_str().unwrap()], words, &["--allow", "files"]].concat())
    };
    run(0, &["take", "whole.tar.zst"]);
    for words in [&["take", "small/half.tar.zst"][..], &["restore"]] {
        run(1, words).says(&["MC-F002", "No space left on device", "hint: free some space"]);
        let left: Vec<_> =
            fs::read_dir(place.at("small")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["data"]);
        assert_eq!(place.read("small/data/mine"), "stays");
    }
    small.grow("size=64m");
    run(0, &["take", "small/whole.tar.zst"]);
    run(0, &["restore"]);
    assert_eq!(fs::read(place.at("small/data/file")).unwrap(), fs::read(place.at("data/file")).unwrap());
}

const SNAPSHOT: &str = r#"
local snapshot = require("@std/snapshot")
local place = params.place
local volume = place .. "/data"
local taken = snapshot.take { service = "web", volume = volume, to = place .. "/kept", mode = "live", keep = 2 }
files.write { path = volume .. "/a.txt", content = "two" }
snapshot.restore { service = "web", from = taken[1], volume = volume }
"#;

/// A place with a folder that is taken a snapshot of, and the words that do it.
fn snapshots() -> (Place, Vec<String>) {
    let place = Place::new();
    let script = place.script("snapshot.lua", SNAPSHOT);
    fs::create_dir_all(place.at("data/deep")).unwrap();
    fs::write(place.at("data/a.txt"), "one").unwrap();
    let set = format!("place={}", place.path().canonicalize().unwrap().display());
    let words =
        [script.as_str(), "--allow", "files", "--allow", "registry", "--set", &set].map(str::to_owned);
    (place, words.to_vec())
}

#[track_caller]
fn is_restored_once(place: &Place) {
    assert_eq!(place.read("data/a.txt"), "one");
    let names =
        fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let beside: Vec<String> = names.filter(|name| name.contains("data.")).collect();
    assert!(beside.len() == 1 && beside[0].starts_with("data.before-"), "{beside:?}");
    assert_eq!(place.read(&format!("{}/a.txt", beside[0])), "two");
    assert_eq!(fs::read_dir(place.at("kept/web")).unwrap().count(), 1);
}

#[test]
fn a_snapshot_that_is_killed_anywhere_is_taken_and_restored_once() {
    for point in (1..24).step_by(3) {
        let (place, words) = snapshots();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        crate::undo::kill_and_resume(&place, &words, point);
        is_restored_once(&place);
    }
}

#[test]
fn the_plan_of_a_snapshot_lists_what_the_run_does_and_does_nothing() {
    let (place, words) = snapshots();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let planned = place.json(&[&["plan", "--json"], &words[..]].concat());
    assert!(!Path::new(&place.at("kept")).exists());
    assert_eq!(place.read("data/a.txt"), "one");
    place.ends(0, &words);
    is_restored_once(&place);
    let shown = place.newest_shown();
    let names = |steps: &Value| {
        let identity = |value: &Value| {
            let identity = &value["identity"];
            format!("{}#{} {}", identity["scope"], identity["counter"], identity["name"])
        };
        steps.as_array().unwrap().iter().map(identity).collect::<Vec<_>>()
    };
    assert_eq!(names(&planned["steps"]), names(&shown["entries"]));
}

#[test]
fn a_folder_of_another_service_is_not_restored_into() {
    let (place, words) = snapshots();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    place.ends(0, &words);
    let root = place.path().canonicalize().unwrap();
    let script = place.script(
        "theirs.lua",
        r#"
local theirs = { containers = { { name = "db", volumes = { params.place .. "/data/db:/srv/db" } } } }
registry.put { service = "db", spec = theirs }
local snapshot = require("@std/snapshot")
snapshot.restore { service = "web", to = params.place .. "/kept" }
"#,
    );
    let set = format!("place={}", root.display());
    place
        .ends(1, &[&script, "--allow", "files", "--allow", "registry", "--set", &set])
        .says(&["MC-F001", "belongs to the service `db`"]);
    assert_eq!(place.read("data/a.txt"), "one");
}

#[test]
fn a_sealed_snapshot_is_taken_and_listed_without_its_key_and_comes_back_with_it() {
    let place = Place::new();
    let root = place.path().canonicalize().unwrap();
    let pair = |name: &str| {
        let made = program("age-keygen")
            .args(["-o", &place.at(name)])
            .output()
            .expect("tests/install.sh installs age");
        assert!(made.status.success());
        let text = place.read(name);
        text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
    };
    let (seal, _) = (pair("key"), pair("another"));
    let secret =
        |name: &str| format!("[secrets.\"{name}\"]\nfile = \"{}\"\nto = [\"snapshot\"]\n", place.at(name));
    place.configure(&format!("[drivers]\ncontainers = \"process\"\n{}{}", secret("key"), secret("another")));
    fs::create_dir_all(place.at("data")).unwrap();
    fs::write(place.at("data/a.txt"), "one").unwrap();
    let run = |code: i32, text: &str| {
        let before = "local snapshot = require(\"@std/snapshot\")\nlocal place, seal = args[1], args[2]\nlocal kept = place .. \"/kept\"\n";
        let script = place.script("sealed.lua", &format!("{before}{text}"));
        place.ends(
            code,
            &[
                &script,
                root.to_str().unwrap(),
                &seal,
                "--allow",
                "files",
                "--allow",
                "registry",
                "--allow",
                "secrets",
            ],
        )
    };
    run(
        0,
        "for _ = 1, 2 do\n    snapshot.take { service = \"web\", volume = place .. \"/data\", to = kept, mode = \"live\", seal = seal, keep = 1 }\nend\n",
    );
    let listed = run(
        0,
        "for _, one in snapshot.list { service = \"web\", to = kept } do print(one.path, one.sealed) end\n",
    )
    .stdout;
    let [file] = listed.lines().collect::<Vec<_>>()[..] else { panic!("one is kept: {listed}") };
    let file = file.strip_suffix("\ttrue").unwrap_or_else(|| panic!("it is sealed: {file}"));
    assert!(file.ends_with(".tar.zst.age"), "{file}");
    let opened = "age -d -i \"$1\" \"$2\" | zstd -dc | tar -xO a.txt";
    let opened = program("sh").args(["-c", opened, "sh", &place.at("key"), file]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&opened.stdout), "one", "{}", String::from_utf8_lossy(&opened.stderr));
    let with = |key: &str| format!("snapshot.restore {{ service = \"web\", to = kept{key} }}\n");
    fs::write(place.at("data/a.txt"), "two").unwrap();
    run(1, &with("")).says(&["MC-F004", "is sealed, and there is no key to open it", "hint: give it"]);
    run(1, &with(", key = secrets.get(\"another\")")).says(&["MC-F004", "the key does not open"]);
    assert_eq!(place.read("data/a.txt"), "two");
    run(0, &with(", key = secrets.get(\"key\")"));
    assert_eq!(place.read("data/a.txt"), "one");
    run(1, "files.snapshot { path = place .. \"/data\", to = place .. \"/x.tar.zst.age\", service = \"web\", seal = \"age1no\" }\n")
        .says(&["MC-A001", "is no public key of age", "age-keygen"]);
}
