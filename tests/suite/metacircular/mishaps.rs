//! A recovery that finds a disk full, be it the engine's, that of a volume or that of the state directory, or volumes of
//! somebody else: it says so and what is not back, deletes nothing, and comes to its end once that is mended.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::ops::Deref;
use std::path::Path;

use super::engine::Engine;
use super::standin;
use crate::errors_of_state::Small;
use crate::harness::{Place, Seen, until};

/// Each writes records to a volume of its own.
const SERVICES: [&str; 3] = ["books", "mails", "notes"];

/// How long the name of a writer is: that of its container, and one of each life.
const WRITER: usize = "0123456789ab-01234567".len();

const DEPLOY: &str = r#"
local deploy = require("@std/deploy")
for _, name in { "books", "mails", "notes" } do
    deploy.rollout(deploy.service {
        name = name,
        image = "localhost/standin:v1",
        env = { STANDIN = name, STANDIN_DATA = `/srv/{name}`, STANDIN_WRITES = "1", STANDIN_PORTS = "8080" },
        volumes = { `{params.srv}/{name}:/srv/{name}` },
        user = params.user,
        stop_timeout = "1s",
        health = {
            exec = { "/bin/busybox", "sh", "-c", `f=/srv/{name}/alive.$$; echo alive > $f && /bin/busybox rm $f` },
            within = "3s",
        },
    })
end
"#;

/// A machine with an engine of its own, on which three services are deployed.
struct Machine {
    // It ends before the disk and the place go that it lies in.
    engine: Engine,
    disk: Small,
    place: Place,
}

impl Deref for Machine {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Machine {
    /// Everything is deployed, run by a user, and then the engine loses its database. A folder has little room.
    fn lost(folder: &str, room: &CStr, user: u32) -> Self {
        let place = Place::new();
        let disk = Small::at(place.path().join(folder), room);
        let machine = Self { engine: Engine::new(&place.path().join("engine")), disk, place };
        machine.own_volumes(user);
        standin::build_base(&machine.engine, &machine.path().join("images"));
        machine.place.configure(&format!(
            "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{}\"\n",
            machine.engine.socket()
        ));
        let script = machine.script("deploy.lua", DEPLOY);
        let settings = [format!("srv={}", machine.at("srv")), format!("user={user}:{user}")];
        machine.ends(0, &[&script, "--allow", "*", "--set", &settings[0], "--set", &settings[1]]);
        let mut machine = machine;
        machine.engine.lose_database();
        machine
    }

    /// Makes the volumes somebody's alone, with what is in them.
    fn own_volumes(&self, user: u32) {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        for service in SERVICES {
            let volume = self.path().join("srv").join(service);
            fs::create_dir_all(&volume).expect("the place is writable");
            fs::set_permissions(&volume, fs::Permissions::from_mode(0o700)).expect("it is ours");
            for file in fs::read_dir(&volume).expect("it is there").flatten() {
                chown(file.path(), Some(user), Some(user)).expect("tests run as root");
            }
            chown(&volume, Some(user), Some(user)).expect("tests run as root");
        }
    }

    fn records(&self, service: &str) -> Vec<(String, u64)> {
        let text = self.read(&format!("srv/{service}/records"));
        // What is being written just now has no end, and what was when the disk was full runs into the next one.
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let record = |line: &str| {
            let (writer, number) = line.split_once(' ').filter(|(writer, _)| writer.len() == WRITER)?;
            Some((writer.to_owned(), number.parse().ok()?))
        };
        whole.filter_map(record).collect()
    }

    /// How many have written to a volume, each after the other.
    #[track_caller]
    fn lives(&self, service: &str) -> usize {
        let mut lives: Vec<String> = Vec::new();
        for (writer, _) in self.records(service) {
            if lives.last() != Some(&writer) {
                assert!(!lives.contains(&writer), "{service}: {writer} writes beside {lives:?}");
                lives.push(writer);
            }
        }
        lives.len()
    }

    /// The containers that the engine knows and that run.
    fn running(&self) -> Vec<String> {
        let names = self.engine.podman(&["ps", "--format", "{{.Names}}"]);
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Everything runs, none has had more than two lives, and nothing that was written `before` is gone.
    #[track_caller]
    fn is_back(&self, before: &[Vec<(String, u64)>]) {
        assert_eq!(self.running(), SERVICES);
        // Programs that were run inside have monitors of their own for a while.
        let monitored: BTreeSet<String> = self.engine.monitored().into_iter().map(|(id, _)| id).collect();
        assert_eq!(monitored.len(), SERVICES.len(), "every process is a recorded container's");
        for (service, before) in SERVICES.iter().zip(before) {
            let at_least = self.records(service).len();
            until("it writes on", || (self.records(service).len() > at_least).then_some(()));
            assert!(self.records(service).starts_with(before), "{service}: records are gone");
        }
        for service in SERVICES {
            assert!(self.lives(service) >= 2, "{service}");
        }
        self.ends(0, &["recover"]);
        let changed = self.newest_shown()["entries"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|entry| entry["changed"] == true);
        assert!(!changed, "what is back is left alone");
    }

    fn written(&self) -> Vec<Vec<(String, u64)>> {
        SERVICES.iter().map(|service| self.records(service)).collect()
    }
}

/// Those that the error lists.
fn not_back(seen: &Seen) -> Vec<&str> {
    let is_listed = |service: &&str| {
        seen.stderr
            .lines()
            .any(|line| line.trim_start().trim_start_matches("= ").starts_with(&format!("{service}: MC-")))
    };
    SERVICES.into_iter().filter(is_listed).collect()
}

#[test]
fn a_recovery_onto_a_full_engine_lists_what_is_not_back_and_ends_once_there_is_room() {
    let machine = Machine::lost("engine", c"size=48m", 0);
    let before = machine.written();
    machine.disk.fill();
    let seen = machine.ends(1, &["recover"]);
    seen.says(&["error[MC-R006]", "no space left on device", "free some space on the disk of the engine"]);
    // What is released on the way leaves a little room, so that one or the other may come back.
    let running = machine.running();
    let missing: Vec<&str> =
        SERVICES.into_iter().filter(|service| !running.iter().any(|name| name == service)).collect();
    assert!(!missing.is_empty(), "{seen}");
    assert_eq!(not_back(&seen), missing, "{seen}");
    machine.disk.make_room();
    machine.ends(0, &["recover"]);
    machine.is_back(&before);
}

#[test]
fn a_service_with_a_full_volume_is_listed_and_the_others_come_back() {
    let machine = Machine::lost("srv/mails", c"size=1m", 0);
    let before = machine.written();
    machine.disk.fill();
    let seen = machine.ends(1, &["recover"]);
    seen.says(&["error[MC-R006]", "back: books, notes"]);
    assert_eq!(not_back(&seen), ["mails"], "{seen}");
    machine.disk.make_room();
    machine.ends(0, &["recover"]);
    machine.is_back(&before);
}

#[test]
fn a_recovery_without_room_for_its_journal_stops_and_is_resumed() {
    let machine = Machine::lost("state", c"size=16m", 0);
    let before = machine.written();
    machine.disk.fill();
    machine.ends(1, &["recover"]).says(&["error[MC-J006]", "hint: free some space"]);
    assert_eq!(machine.running(), [""; 0], "nothing was begun that could not be recorded");
    machine.disk.make_room();
    let junk = machine.at("state/junk");
    let mut words = vec!["recover".to_owned()];
    // Before anything is done, after everything old is gone, and between two of the new containers.
    for point in ["begin:before-commit@1", "end:before-commit@9", "begin:before-commit@3"] {
        let words_now: Vec<&str> = words.iter().map(String::as_str).collect();
        let variables = [("MCRUN_FULL_AT", point), ("MCRUN_FULL_BY", junk.as_str())];
        let seen = machine.start_with(&words_now, &variables).end();
        assert!(Path::new(&junk).exists(), "it was never at {point}: {seen}");
        machine.disk.make_room();
        seen.says(&["error[MC-J006]", "hint: free some space"]);
        let run = machine.newest();
        assert_eq!(run["resumable"], true, "full at {point}: {run:#}");
        words = vec!["resume".to_owned(), machine.newest_id()];
    }
    machine.ends(0, &["resume", &machine.newest_id()]);
    machine.is_back(&before);
}

#[test]
fn volumes_of_a_user_who_is_gone_are_told_of_and_given_away_when_asked() {
    let machine = Machine::lost("srv/mails", c"size=4m", 61_850);
    let before = machine.written();
    // The engine's user had another number before.
    machine.own_volumes(61_995);
    let seen = machine.ends(1, &["recover"]);
    seen.says(&[
        "error[MC-R006]",
        "belongs to 61995:61995, which is nobody here: `mcrun recover --owner 61995:61995=USER:GROUP`",
    ]);
    assert_eq!(not_back(&seen), SERVICES, "{seen}");
    machine.ends(0, &["recover", "--owner", "61995:61995=61850:61850"]);
    machine.is_back(&before);
}
