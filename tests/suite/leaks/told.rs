//! What a daemon tells of its runs: its log, its traces and figures, its audit.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::place_with_secret;
use super::planted::PLANTED;
use super::search::{search, search_seen, search_state};
use crate::harness::until;
use crate::secrets::echo;

/// Takes whatever is sent to it, for as long as the test lasts.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (Ok(mut connection), ear) = (connection, ear.clone()) else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 64 << 10];
                // What is sent is not looked at, so its end is not known: whoever sends waits for no answer but this one.
                while let Ok(count @ 1..) = connection.read(&mut buffer) {
                    ear.lock().unwrap().extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    (address, heard)
}

#[test]
fn a_secret_is_in_nothing_that_a_daemon_tells_of_its_runs() {
    let (address, _server) = echo(64);
    let place = place_with_secret(&address);
    let (endpoint, heard) = collector();
    let settings = fs::read_to_string(place.config()).unwrap();
    let settings = settings.split("[node]").next().unwrap().to_owned();
    place.configure(&format!("{settings}[telemetry]\nendpoint = \"{endpoint}\"\nevery = \"100ms\"\n"));
    let mut command = place.command(&["-v", "-v", "-v", "serve"]);
    command.env("RUST_BACKTRACE", "full");
    let daemon = place.spawn(command);
    until("the daemon is ready", || daemon.stderr().contains("ready").then_some(()));
    let script = place.script("planted.lua", PLANTED);
    let folder = place.at("work");
    fs::create_dir(&folder).unwrap();
    let ran = place.run(&[&script, &folder, &address, "--allow", "*"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    search_seen(&ran, "a run of the daemon");
    until("the run was told of", || {
        let heard = heard.lock().unwrap();
        let is_told = heard.windows(8).any(|part| part == b"exec.run");
        is_told.then_some(())
    });
    search(&heard.lock().unwrap(), "what the collector of traces and figures got");
    for words in [&["audit"][..], &["audit", "--json"], &["events", "--json"], &["doctor", "--json"]] {
        search_seen(&place.run(words), &words.join(" "));
    }
    // That it was used is told, where and by whom.
    let audit = place.ends(0, &["audit", "--json"]).stdout;
    for place in ["exec:/usr/bin/dash", "containers:web", "files:"] {
        let told = |line: &&str| line.contains("\"secrets.use\"") && line.contains(place);
        let line = audit.lines().find(told).unwrap_or_else(|| panic!("{place} is missing: {audit}"));
        assert!(line.contains("web/key") && line.contains("user:") && line.contains("\"run\":\""), "{line}");
    }
    search(daemon.stderr().as_bytes(), "the log of the daemon");
    crate::processes::signal(daemon.pid(), rustix::process::Signal::TERM);
    search_seen(&daemon.end(), "serve");
    search_state(&place);
}
