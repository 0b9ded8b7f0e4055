//! Names: processor time for a question beside Knot's, pinned to the same core in the same run; memory of a hundred
//! thousand records, changes, and answers from the cache.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dns::embedded::{Embedded, Store};
use dns::{Change, Driver as _, Name, RecordSet, RecordType};
use journal::{Journal, SystemClock};
use tempfile::TempDir;

use crate::load::{Server, middle};
use crate::{Row, millis};

const RECORDS: usize = 100_000;
const ZONE: &str = "bench.test";
const FORWARDED: &str = "others.test";
/// Seconds that each server is asked for, and how often they take turns.
const SECONDS: u64 = 4;
const TURNS: usize = 3;
const CHANGES: usize = 2000;
const SEEN: usize = 200;
/// A server that is asked, on the first core.
struct Asked {
    server: Server,
    address: SocketAddr,
}

impl Asked {
    fn start(program: &str, arguments: &[&str], address: SocketAddr, ready: &str) -> Self {
        Self { server: Server::start("0", program, arguments, || has(address, ready)), address }
    }

    /// Asks what `questions` has for a while, from the other core: microseconds of processor time for one, and how many a
    /// second.
    fn asked(&self, questions: &Path) -> (f64, f64) {
        let before = self.server.time();
        let output = Command::new("taskset")
            .args(["-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(["-l", &SECONDS.to_string(), "-c", "8", "-q", "200", "-d"])
            .arg(questions)
            .output()
            .expect("dnsperf is not there");
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |what: &str| -> f64 {
            let line = text.lines().find(|line| line.trim_start().starts_with(what));
            let line = line.unwrap_or_else(|| panic!("dnsperf says nothing of {what}: {text}"));
            line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
        };
        let completed = figure("Queries completed:");
        ((self.server.time() - before) * 1e6 / completed, figure("Queries per second:"))
    }
}

/// Asks for the addresses of a name.
fn ask(address: SocketAddr, name: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut question = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(Name::absolute(name).unwrap().wire());
    question.extend([0, 1, 0, 1]);
    socket.send(&question).ok()?;
    let mut answer = [0; 1500];
    let length = match socket.recv(&mut answer) {
        Ok(length) => length,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    // The address of the only record is the end of the answer.
    let is_found = answer[3] & 0x0F == 0 && answer[7] > 0;
    is_found.then(|| {
        Ipv4Addr::new(answer[length - 4], answer[length - 3], answer[length - 2], answer[length - 1])
    })
}

fn has(address: SocketAddr, name: &str) -> bool {
    ask(address, name).is_some()
}

fn port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn zone(name: &str, records: usize) -> String {
    let mut text = format!(
        "$ORIGIN {name}.\n@ 300 IN SOA ns hostmaster 1 3600 600 604800 60\n@ 300 IN NS ns\nns 300 IN A 127.0.0.1\n"
    );
    for number in 0..records {
        let _ = writeln!(
            text,
            "host{number} 300 IN A 10.{}.{}.{}",
            number >> 16,
            number >> 8 & 255,
            number & 255
        );
    }
    text
}

/// Questions for names of the zone in no order; one in eight is for a name that is not there.
fn questions(name: &str, records: usize, count: usize) -> String {
    let mut text = String::new();
    let mut number = 1_usize;
    for index in 0..count {
        number = (number * 48_271) % 2_147_483_647;
        let missing = if index % 8 == 7 { "x." } else { "" };
        let _ = writeln!(text, "{missing}host{}.{name} A", number % records);
    }
    text
}

struct Scene {
    folder: TempDir,
    edge: Asked,
    knot: Asked,
    driver: Embedded,
}

fn scene(program: &Path) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (own, other) = (port(), port());
    for (name, records) in [(ZONE, RECORDS), (FORWARDED, 1000)] {
        std::fs::write(path.join(format!("{name}.zone")), zone(name, records)).unwrap();
    }
    let knot = format!(
        "server:\n  rundir: \"{0}\"\n  listen: 127.0.0.1@{1}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: \"{0}\"\nzone:\n  - domain: {ZONE}\n    storage: \"{0}\"\n    file: {ZONE}.zone\n\
         \x20 - domain: {FORWARDED}\n    storage: \"{0}\"\n    file: {FORWARDED}.zone\n",
        path.display(),
        other.port()
    );
    std::fs::write(path.join("knot.conf"), knot).unwrap();
    let config = format!(
        "[node]\nname = \"rift\"\n[dns]\nlisten = [\"{own}\"]\n[dns.forward]\nqueries_per_second = 0\n\
         [dns.forward.zones]\n\"{FORWARDED}\" = [\"{other}\"]\n"
    );
    std::fs::write(path.join("mcrun.toml"), config).unwrap();
    let (state, config) = (path.join("state"), path.join("mcrun.toml"));
    let options = ["--state", state.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let import = Command::new(program)
        .args(["zones", "import", ZONE])
        .arg(path.join(format!("{ZONE}.zone")))
        .args(options)
        .output()
        .unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let knot_config = path.join("knot.conf");
    let knot =
        Asked::start("/usr/sbin/knotd", &["-c", knot_config.to_str().unwrap()], other, &format!("ns.{ZONE}"));
    let mut arguments = vec!["edge"];
    arguments.extend(options);
    let edge = Asked::start(program.to_str().unwrap(), &arguments, own, &format!("ns.{ZONE}"));
    let journal = Journal::open(&state, Arc::new(SystemClock)).unwrap();
    let driver = Embedded::new(Store::new(journal, "rift"), Vec::new());
    Scene { folder, edge, knot, driver }
}

/// The rows of the table.
pub(crate) fn rows(program: &Path) -> Vec<Row> {
    let scene = scene(program);
    let memory = scene.edge.server.memory();
    let file = scene.folder.path().join("questions");
    std::fs::write(&file, questions(ZONE, RECORDS, 200_000)).unwrap();
    let (mut own, mut knot) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        own.push(scene.edge.asked(&file));
        knot.push(scene.knot.asked(&file));
    }
    let split = |figures: &[(f64, f64)]| {
        let (times, rates) = figures.iter().copied().unzip();
        (middle(times), middle(rates))
    };
    let ((time, rate), (knot_time, knot_rate)) = (split(&own), split(&knot));
    std::fs::write(&file, questions(FORWARDED, 1000, 20_000).replace("x.host", "host")).unwrap();
    // The first turn fills the cache.
    scene.edge.asked(&file);
    let (hit, hit_rate) = split(&(0..TURNS).map(|_| scene.edge.asked(&file)).collect::<Vec<_>>());
    let mut rows = vec![
        Row {
            what: "a question for one of 100,000 records, processor time",
            measured: format!("{time:.1} µs, {rate:.0} a second on one core"),
            baseline: format!("Knot {knot_time:.1} µs, {knot_rate:.0} a second"),
            ratio: format!("{:.2} × Knot's rate", rate / knot_rate),
            promise: "≤ 7 µs, ≥ 0.5 × Knot",
        },
        Row {
            what: "a question that the forwarder's cache answers, processor time",
            measured: format!("{hit:.1} µs, {hit_rate:.0} a second on one core"),
            baseline: format!("Knot, which has the zone itself, {knot_time:.1} µs"),
            ratio: format!("{:.2} ×", hit / knot_time),
            promise: "≤ 10 µs",
        },
        Row {
            what: "the name server with 100,000 records",
            measured: format!("{:.1} MB", memory as f64 / 1e6),
            baseline: format!("Knot {:.1} MB", scene.knot.server.memory() as f64 / 1e6),
            ratio: format!("{:.0} bytes a record", memory as f64 / RECORDS as f64),
            promise: "≤ 100 MB",
        },
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rows.extend(runtime.block_on(changes(&scene)));
    rows
}

fn set(name: &str, value: &str) -> RecordSet {
    let zone = Name::absolute(ZONE).unwrap();
    RecordSet::parse(&zone, name, RecordType::A, 300, &[value.to_owned()]).unwrap()
}

/// How many changes are committed in a second, and how soon one is answered.
async fn changes(scene: &Scene) -> [Row; 2] {
    let zone = Name::absolute(ZONE).unwrap();
    let begin = Instant::now();
    for number in 0..CHANGES {
        let change = Change::putting(set(&format!("new{number}"), "192.0.2.1"));
        scene.driver.change(&zone, &change).await.unwrap();
    }
    let rate = CHANGES as f64 / begin.elapsed().as_secs_f64();
    let mut waits = Vec::new();
    for number in 0..SEEN {
        let value = Ipv4Addr::new(198, 51, 100, u8::try_from(number).unwrap());
        let change = Change::putting(set("moving", &value.to_string()));
        scene.driver.change(&zone, &change).await.unwrap();
        let begin = Instant::now();
        while ask(scene.edge.address, &format!("moving.{ZONE}")) != Some(value) {}
        waits.push(begin.elapsed());
    }
    waits.sort();
    [
        Row {
            what: "changes of a zone of 100,000 records, one after the other, durable",
            measured: format!("{rate:.0} a second"),
            baseline: "–".into(),
            ratio: format!("{:.2} ms each", 1000.0 / rate),
            promise: "≥ 1,000 a second",
        },
        Row {
            what: "from the commit of a change to its answer",
            measured: format!("{}, 99 % within {}", millis(waits[SEEN / 2]), millis(waits[SEEN * 99 / 100])),
            baseline: "–".into(),
            ratio: "–".into(),
            promise: "≤ 5 ms",
        },
    ]
}
