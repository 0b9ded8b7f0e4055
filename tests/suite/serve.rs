//! The process that stays: what it publishes, whom it answers, what it renews.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::{Place, Started, until};

const MINUTE: i64 = 60_000;

/// A `serve` that is ready, with the clock set forward.
fn serving(place: &Place, minutes: i64) -> Started {
    let skew = (minutes * MINUTE).to_string();
    let started = place.start_with(&["serve"], &[("MCRUN_CLOCK_SKEW", &skew)]);
    until("it is ready", || started.stderr().contains("ready").then_some(()));
    started
}

/// The address after `text` in what it says.
fn address(started: &Started, text: &str) -> String {
    let said = started.stderr();
    let rest = said.split_once(text).map(|(_, rest)| rest.to_owned()).unwrap_or_else(|| panic!("{said}"));
    rest.split(['/', ')', '\n']).next().unwrap_or_default().to_owned()
}

/// Status and body of a plain request.
fn ask(address: &str, method: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

fn terminate(started: &Started) {
    let pid = i32::try_from(started.pid()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn events(place: &Place) -> Vec<(String, serde_json::Value)> {
    let database = rusqlite::Connection::open(place.database()).unwrap();
    let mut query = database.prepare("SELECT name, data FROM events ORDER BY id").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.unwrap()).map(|(name, data)| (name, serde_json::from_str(&data).unwrap())).collect()
}

fn serial(place: &Place) -> String {
    place.json(&["certs", "show", "hello.mcrun.test", "--json"])["serial"].as_str().unwrap().to_owned()
}

#[test]
fn roots_and_lists_are_published_to_whoever_asks() {
    let place = Place::new();
    place.configure("[certs]\nlisten = \"127.0.0.1:0\"\n");
    place.ends(0, &["certs", "ensure", "hello.mcrun.test"]);
    let served = serving(&place, 0);
    let listens = address(&served, "http://");
    let (status, roots) = ask(&listens, "GET", "/ca/roots.pem");
    assert_eq!(status, 200);
    assert_eq!(String::from_utf8_lossy(&roots), place.ends(0, &["certs", "ca", "bundle"]).stdout);
    let shown = place.json(&["certs", "ca", "show", "--json"]);
    let id = shown["intermediates"][0]["id"].as_str().unwrap();
    for path in [format!("/crl/{id}.crl"), format!("/ca/{id}.cer")] {
        let (status, body) = ask(&listens, "GET", &path);
        assert_eq!((status, body.first()), (200, Some(&0x30)), "{path} is DER");
        assert_eq!(ask(&listens, "HEAD", &path), (200, Vec::new()));
    }
    for path in ["/", "/crl/0000.crl", "/crl/../seal.key", "/ca/.cer", "/seal.key"] {
        assert_eq!(ask(&listens, "GET", path).0, 404, "{path}");
    }
    assert_eq!(ask(&listens, "POST", "/ca/roots.pem").0, 405);
    place.ends(5, &["serve"]).says(&["MC-J003", "it serves this state directory"]);
    terminate(&served);
    let end = served.end();
    assert_eq!(end.code, Some(0), "{end}");
}

#[test]
fn acme_clients_find_a_directory_under_a_certificate_of_the_authority() {
    let place = Place::new();
    place.configure("[certs.acme_server]\nlisten = \"127.0.0.1:0\"\nurl = \"https://127.0.0.1:1/acme\"\n");
    let served = serving(&place, 0);
    let listens = address(&served, "(on ");
    let bundle = place.ends(0, &["certs", "ca", "bundle"]).stdout;
    std::fs::write(place.at("roots.pem"), bundle).unwrap();
    let script = place.script(
        "ask.lua",
        &format!(
            "local answer = http.get {{ url = \"https://{listens}/acme/directory\", ca = \"{}\" }}\nprint(answer.body)",
            place.at("roots.pem")
        ),
    );
    let asked = place.ends(0, &[&script, "--allow", "*"]);
    let said = format!("{}{}", asked.stdout, asked.stderr);
    assert!(said.contains("https://127.0.0.1:1/acme/new-order"), "{asked}");
}

#[test]
fn a_certificate_is_renewed_when_its_time_has_come() {
    let place = Place::new();
    let key = place.at("key.pem");
    place.ends(0, &["certs", "ensure", "hello.mcrun.test", "--lifetime", "1h", "--key", &key]);
    let (first, first_key) = (serial(&place), place.read("key.pem"));
    let early = serving(&place, 20);
    terminate(&early);
    assert_eq!(early.end().code, Some(0));
    assert_eq!(serial(&place), first, "it was not due");
    // The host was off: what is overdue is renewed at the first look.
    let late = serving(&place, 90);
    until("it is renewed", || (serial(&place) != first).then_some(()));
    until("its end is told", || late.stderr().contains("renew hello.mcrun.test: done").then_some(()));
    assert_ne!(place.read("key.pem"), first_key);
    let renewal = place.newest();
    assert_eq!(
        (renewal["name"].as_str(), renewal["state"].as_str()),
        (Some("renew hello.mcrun.test"), Some("done"))
    );
    let told = events(&place);
    let renewed = told.iter().find(|(name, _)| name == "certs.renewed").unwrap();
    assert_eq!(renewed.1["replaced"].as_str(), Some(first.as_str()));
    assert!(told.iter().any(|(name, _)| name == "certs.expiring"), "{told:?}");
}

#[test]
fn a_renewal_that_policy_refuses_is_told_and_leaves_what_stands() {
    let place = Place::new();
    place.ends(0, &["certs", "ensure", "hello.mcrun.test", "--lifetime", "1h"]);
    let first = serial(&place);
    place.configure("[certs]\nservices = {}\n");
    let served = serving(&place, 50);
    until("the failure is told", || events(&place).into_iter().find(|(name, _)| name == "certs.failed"));
    let (_, data) = events(&place).into_iter().find(|(name, _)| name == "certs.failed").unwrap();
    assert!(data["error"].as_str().unwrap().contains("MC-E002"), "{data}");
    assert_eq!(serial(&place), first);
    terminate(&served);
    assert_eq!(served.end().code, Some(0));
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.configure(&format!("[certs]\nlisten = \"{address}\"\n"));
    place.ends(1, &["serve"]).says(&["MC-C005", &address]);
}

#[test]
fn an_address_that_an_interface_has_only_later_holds_nothing_up() {
    let place = Place::new();
    place.configure("[certs]\nlisten = \"192.0.2.77:0\"\n");
    let served = serving(&place, 0);
    assert!(served.stderr().contains("http://192.0.2.77:"), "{}", served.stderr());
    terminate(&served);
    assert_eq!(served.end().code, Some(0));
}
