//! What the daemon makes of an engine that is slow, starts anew, hangs or talks nonsense: that it does not know how things stand,
//! and nothing else. A real podman stands behind every good answer.

mod proxy;

use std::fs;
use std::ops::Deref;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Place, Started, until};
use crate::metacircular::engine::Engine;
use proxy::{Answer, Proxy};

/// Two services of one container each, recorded as a deploy does it.
const SERVICES: &str = r#"
for _, name in { "web", "db" } do
    local spec = {
        name = name,
        service = name,
        image = "localhost/watched:v1",
        network = "none",
        stop_timeout = "0s",
        env = { LEVEL = "info" },
    }
    containers.ensure(spec)
    registry.put { service = name, spec = { containers = { spec }, checks = {} }, release = { version = "v1" } }
end
"#;

/// It starts where somebody believes that the engine is lost.
const HEALING: &str =
    "return playbook { name = \"healing\", on = { event = \"engine.lost\" }, run = function(event) end }\n";

/// A place whose engine is reached through a proxy.
struct Watched {
    place: Place,
    engine: Engine,
    proxy: Proxy,
}

impl Deref for Watched {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Watched {
    fn new(monitors: &str) -> Self {
        let place = Place::new();
        let engine = Engine::new(&place.path().join("engine"));
        let context = place.path().join("image");
        fs::create_dir_all(&context).expect("the place is writable");
        fs::copy("/bin/busybox", context.join("busybox")).expect("busybox-static is installed");
        let recipe = "FROM scratch\nCOPY busybox /busybox\nCMD [\"/busybox\", \"sleep\", \"100000\"]\n";
        fs::write(context.join("Containerfile"), recipe).expect("the place is writable");
        engine.podman(&["build", "--quiet", "--tag", "localhost/watched:v1", &place.at("image")]);
        let proxy = Proxy::listen(&place.path().join("proxy.sock"), &engine.socket());
        let watched = Self { place, engine, proxy };
        watched.reach(&watched.at("proxy.sock"), monitors);
        watched
    }

    /// Configures the socket of the engine.
    fn reach(&self, socket: &str, monitors: &str) {
        let folder = self.at("playbooks");
        fs::create_dir_all(&folder).expect("the place is writable");
        self.configure(&format!(
            "[drivers]\ncontainers = \"podman\"\n[drivers.podman]\nsocket = \"{socket}\"\n\
             [playbooks]\nfolders = [\"{folder}\"]\n[policy]\nscripts = [\"*\"]\n[monitors]\n{monitors}\n"
        ));
    }

    fn deploy(&self) {
        let script = self.script("services.lua", SERVICES);
        self.ends(0, &[&script, "--allow", "*"]);
    }

    /// What tells that nobody has touched a container.
    fn untouched(&self) -> String {
        self.engine.podman(&[
            "inspect",
            "--format",
            "{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.RestartCount}}",
            "web",
            "db",
        ])
    }

    fn serving(&self) -> Started {
        let served = self.start(&["serve"]);
        until("it is ready", || served.stderr().contains("ready").then_some(()));
        served
    }

    /// The names of the events that were told.
    fn events(&self) -> Vec<String> {
        let database = rusqlite::Connection::open(self.database()).unwrap();
        let mut query = database.prepare("SELECT name FROM events ORDER BY id").unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    }

    fn told(&self, event: &str) -> usize {
        self.events().iter().filter(|told| *told == event).count()
    }

    /// Whether the monitors have seen both containers.
    fn is_watched(&self) {
        until("both are seen", || {
            let database = rusqlite::Connection::open(self.database()).unwrap();
            let known = database.query_row(
                "SELECT count(*) FROM records WHERE kind = 'monitor' AND name LIKE 'container/%'",
                [],
                |row| row.get::<_, i64>(0),
            );
            (known == Ok(2)).then_some(())
        });
    }

    fn states(&self, words: &[&str], code: i32) -> Vec<Value> {
        let shown: Value = serde_json::from_str(&self.ends(code, words).stdout).unwrap();
        let services = shown.get("services").unwrap_or(&shown).as_array().cloned().unwrap_or_default();
        services.iter().map(|service| service["state"].clone()).collect()
    }
}

/// The most memory that a process has had so far, in KiB.
fn peak(served: &Started) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", served.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn said(status: &str, body: &str) -> Answer {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Answer::Instead(format!("{head}{body}").into_bytes())
}

#[test]
fn an_engine_that_misbehaves_is_silent_and_nothing_is_done_because_of_it() {
    // What is late is so by more than the patience, and what is sound has to be within it on a busy machine.
    let watched = Watched::new("every = \"200ms\"\ndrift_every = \"500ms\"\npatience = \"4s\"");
    watched.deploy();
    fs::write(watched.path().join("playbooks/healing.lua"), HEALING).unwrap();
    let before = watched.untouched();
    let served = watched.serving();
    watched.is_watched();
    let at_first = peak(&served);
    let ways = [
        ("a failure", said("500 Internal Server Error", r#"{"message":"boom"}"#)),
        ("no JSON", said("200 OK", "<html>it works</html>")),
        ("another type", said("200 OK", r#"{"Id":7}"#)),
        ("fields of another type", said("200 OK", r#"[{"Id":7,"State":[]}]"#)),
        ("an id that is a path", said("200 OK", r#"[{"Id":"../../etc"}]"#)),
        ("no HTTP", Answer::Instead(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("nothing at all", Answer::Instead(Vec::new())),
        ("far too much", Answer::Endless(64 << 20)),
        ("half of it", Answer::Half),
        ("half of it, and then nothing", Answer::Hanging),
        ("too late", Answer::Late(Duration::from_secs(6))),
    ];
    for (number, (way, answer)) in ways.iter().enumerate() {
        watched.proxy.answers(answer.clone());
        until(way, || (watched.told("engine.silent") == number + 1).then_some(()));
        // Nobody knows how things stand, and who asks hears that.
        assert_eq!(watched.states(&["status", "--json"], 1), ["unknown", "unknown"], "{way}");
        // The daemon has time for everything else.
        let script = watched.script("hello.lua", "print(\"hello\")\n");
        watched.ends(0, &[&script]).shows(&["hello"]);
        watched.proxy.answers(Answer::Sound);
        until(way, || (watched.told("engine.back") == number + 1).then_some(()));
    }
    assert_eq!(watched.states(&["drift", "--json"], 0), ["healthy", "healthy"]);
    assert_eq!(watched.untouched(), before);
    // Each was told once, whatever the number of looks.
    let all = watched.events();
    assert_eq!(all.len(), 2 * ways.len(), "{all:?}");
    assert!(!watched.runs().iter().any(|run| run["name"] == "healing"), "nobody is healed");
    let grown = peak(&served).saturating_sub(at_first);
    assert!(grown < 128 << 10, "{grown} KiB more than at first");
}

#[test]
fn what_cannot_be_read_is_unknown_in_a_comparison_too() {
    let watched = Watched::new("patience = \"4s\"");
    watched.deploy();
    watched.proxy.answers(said("500 Internal Server Error", r#"{"message":"boom"}"#));
    let seen = watched.ends(1, &["drift"]);
    assert!(
        seen.stdout.contains("unknown") && seen.stderr.contains("what it has is not known: podman"),
        "{seen}"
    );
    assert!(!seen.stderr.contains("recover"), "{seen}");
}

#[test]
fn an_engine_that_starts_anew_under_the_watcher_has_lost_nothing() {
    let mut watched = Watched::new("every = \"200ms\"");
    watched.deploy();
    fs::write(watched.path().join("playbooks/healing.lua"), HEALING).unwrap();
    let before = watched.untouched();
    let served = watched.serving();
    watched.is_watched();
    for round in 1..=3 {
        watched.engine.stop();
        until("it is missed", || (watched.told("engine.silent") == round).then_some(()));
        watched.engine.start();
        until("it is back", || (watched.told("engine.back") == round).then_some(()));
    }
    assert_eq!(watched.events().len(), 6, "{:?}", watched.events());
    assert_eq!(watched.untouched(), before);
    assert!(!watched.runs().iter().any(|run| run["name"] == "healing"), "nobody is healed");
    drop(served);
}

#[test]
fn a_look_at_containers_that_do_nothing_is_one_question() {
    let watched = Watched::new("every = \"100ms\"");
    watched.deploy();
    let served = watched.serving();
    watched.is_watched();
    watched.proxy.asked();
    let mut asked = Vec::new();
    until("it has looked ten times", || {
        asked.extend(watched.proxy.asked());
        (asked.len() >= 10).then_some(())
    });
    let other: Vec<&String> =
        asked.iter().filter(|path| !path.contains("/containers/json?all=true")).collect();
    assert_eq!(other, Vec::<&String>::new());
    // What starts anew is asked after again.
    watched.engine.podman(&["restart", "--time", "0", "web"]);
    let of_one = |path: &String| path.ends_with("/json") && !path.contains("/containers/json");
    until("it is asked after", || watched.proxy.asked().iter().any(of_one).then_some(()));
    drop(served);
}

#[test]
fn healthy_work_is_never_touched_because_the_daemon_was_away() {
    let watched = Watched::new("every = \"200ms\"\ndrift_every = \"300ms\"");
    watched.deploy();
    let native = watched.script(
        "native.lua",
        "local spec = { name = \"job\", service = \"job\", exec = { \"/bin/sleep\", \"600\" } }\ncontainers.ensure(spec)\n\
         registry.put { service = \"job\", spec = { containers = { spec }, checks = {} }, release = { version = \"v1\" } }\n",
    );
    watched.ends(0, &[&native, "--allow", "*"]);
    let untouched = || {
        let job = watched.container("job").expect("it is there");
        (
            watched.untouched(),
            job["id"].clone(),
            job["pid"].clone(),
            job["started_at"].clone(),
            job["restarts"].clone(),
        )
    };
    let before = untouched();
    let looks = |served: &Started| {
        watched.proxy.asked();
        let mut asked = 0;
        until("it has looked a few times", || {
            asked += watched.proxy.asked().len();
            (asked >= 10).then_some(())
        });
        assert!(served.pid() > 0);
    };
    // It goes in every way there is, and comes back.
    for round in 0..3 {
        let mut served = watched.serving();
        looks(&served);
        if round == 1 {
            served.kill();
        } else {
            let pid = rustix::process::Pid::from_raw(i32::try_from(served.pid()).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            assert_eq!(served.end().code, Some(0));
        }
        assert_eq!(untouched(), before, "round {round}");
    }
    // Nor is anything told of it.
    assert_eq!(watched.events(), Vec::<String>::new());
}

#[test]
fn an_engine_that_has_lost_what_is_recorded_is_said_with_the_way_back() {
    let watched = Watched::new("every = \"200ms\"");
    watched.deploy();
    assert_eq!(watched.states(&["status", "--json"], 0), ["running", "running"]);
    // A store that was made anew: an engine that has nothing.
    let empty = Engine::new(&watched.path().join("empty"));
    watched.reach(&empty.socket(), "");
    assert_eq!(watched.states(&["status", "--json"], 1), ["missing", "missing"]);
    let hint = ["podman has lost what it knew: it has 0 of 2 recorded containers", "`mcrun recover --plan`"];
    watched.ends(1, &["status"]).says(&hint);
    watched.ends(3, &["drift"]).says(&hint).shows(&["web: is not there", "missing"]);
    watched.ends(0, &["top"]).says(&hint);
    // One service is what is asked for, and the engine is what is lost.
    watched.ends(1, &["status", "web"]).says(&hint);
}
