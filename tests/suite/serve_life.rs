//! The life of the process that stays: what a service manager hears and hands over, the forms of the log, and the
//! configuration that is read again.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{PROGRAM, Place, Seen, Started, program, until};

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn ends_well(started: Started) -> Seen {
    signal(started.pid(), rustix::process::Signal::TERM);
    let end = started.end();
    assert_eq!(end.code, Some(0), "{end}");
    end
}

fn ready(started: &Started) {
    until("it is ready", || started.stderr().contains("ready").then_some(()));
}

/// What was told next.
fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = manager.recv(&mut buffer).expect("the daemon tells something in time");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn until_heard(manager: &UnixDatagram, word: &str) -> String {
    until(word, || Some(heard(manager)).filter(|told| told.lines().any(|line| line == word)))
}

fn manager(place: &Place) -> (UnixDatagram, String) {
    let path = place.at("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    (manager, path)
}

/// `serve` with `socket` handed over as `name`, as systemd does it.
fn serve_handed(place: &Place, socket: TcpListener, name: &str) -> Seen {
    handed(place, socket, name).end()
}

fn handed(place: &Place, socket: TcpListener, name: &str) -> Started {
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$; exec \"$0\" serve";
    let mut command = program("/bin/sh");
    command.args(["-c", script, PROGRAM]).current_dir(place.path()).env_clear();
    for (name, value) in place.command(&[]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
    place.spawn(command)
}

#[test]
fn a_service_manager_hears_of_the_start_the_life_a_reload_and_the_end() {
    let place = Place::new();
    let (manager, path) = manager(&place);
    let served = place.start_with(&["serve"], &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "500000")]);
    until_heard(&manager, "READY=1");
    for _ in 0..3 {
        until_heard(&manager, "WATCHDOG=1");
    }
    signal(served.pid(), rustix::process::Signal::HUP);
    let told = until_heard(&manager, "RELOADING=1");
    assert!(told.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told}");
    until_heard(&manager, "READY=1");
    signal(served.pid(), rustix::process::Signal::TERM);
    until_heard(&manager, "STOPPING=1");
    assert_eq!(served.end().code, Some(0));
}

#[test]
fn whoever_asks_for_the_end_does_not_wait_for_playbooks_that_do_not_come() {
    let place = Place::new();
    place.configure(&format!(
        "[playbooks]\nfolders = [\"{}\"]\n[drivers]\ncontainers = \"process\"\n",
        place.at("scripts")
    ));
    place.script("a.lua", "return playbook { name = \"a\", run = function() end }\n");
    // It takes what it is asked and says nothing, until nobody is there to be answered.
    let begun = place.at("begun");
    let checker = place.at("checker");
    std::fs::write(&checker, format!("#!/bin/sh\ntouch {begun}\nexec cat >/dev/null\n")).unwrap();
    std::fs::set_permissions(&checker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let served = place.start_with(&["serve"], &[("MCRUN_CHECKER", &checker)]);
    until("the file is being checked", || std::path::Path::new(&begun).exists().then_some(()));
    let end = ends_well(served);
    assert!(!end.stderr.contains("ready"), "{end}");
    end.says(&["stopping"]);
}

#[test]
fn what_a_service_manager_tells_is_not_inherited() {
    let place = Place::new();
    let (manager, path) = manager(&place);
    let served = place.start_with(&["serve"], &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "30000000")]);
    until_heard(&manager, "READY=1");
    let script = place.script(
        "env.lua",
        "print(exec.run({ argv = { \"/bin/sh\", \"-c\", \"cat /proc/$PPID/task/*/children; cat /proc/self/environ\" } }).stdout)",
    );
    let seen = place.ends(0, &[&script, "--allow", "exec"]);
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_"] {
        assert!(!seen.stdout.contains(variable), "{seen}");
    }
    ends_well(served);
}

#[test]
fn a_socket_that_is_handed_over_takes_the_place_of_an_address() {
    let place = Place::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let served = handed(&place, socket, "metrics");
    ready(&served);
    assert!(
        served.stderr().contains(&format!("figures: http://127.0.0.1:{port}/metrics")),
        "{}",
        served.stderr()
    );
    let page = until("the page", || crate::harness::visit_at(port.into(), "/metrics"));
    assert!(page.contains("mcrun_build_info"), "{page}");
    ends_well(served);
}

#[test]
fn a_socket_that_nobody_knows_or_answers_at_is_refused() {
    let place = Place::new();
    let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
    let seen = serve_handed(&place, socket(), "mcrun.socket");
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says(&["MC-I001", "no socket is called `mcrun.socket`", "FileDescriptorName="]);
    let seen = serve_handed(&place, socket(), "api");
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says(&["MC-I001", "`api` is not a unix socket"]);
    let seen = serve_handed(&place, socket(), "acme");
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says(&["MC-I001", "nothing is configured to answer at the socket `acme`"]);
}

#[test]
fn the_log_is_text_with_times_or_lines_of_json() {
    let place = Place::new();
    let served = place.start(&["serve"]);
    ready(&served);
    let end = ends_well(served);
    let line = end.stderr.lines().find(|line| line.contains("ready")).unwrap();
    let time = line.split(' ').next().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    place.configure("[drivers]\ncontainers = \"process\"\n[daemon]\nlog = \"json\"\n");
    let served = place.start(&["serve"]);
    ready(&served);
    let end = ends_well(served);
    let lines: Vec<Value> = end.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["time"].is_string() && line["level"].is_string()), "{end}");
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("ready")), "{end}");
}

#[test]
fn a_journal_that_is_not_there_is_an_error_where_it_is_asked_for() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return;
    }
    let place = Place::new();
    let seen = place.run(&["serve", "--log", "journald"]);
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says(&["MC-I002"]);
}

#[test]
fn a_good_file_is_taken_over_as_a_whole_and_a_broken_one_not_at_all() {
    let place = Place::new();
    let script = place.script("write.lua", "files.write { path = args[1], content = \"x\" }\n");
    let write = |name: &str| place.run(&[&script, "--no-input", &place.at(name)]);
    let base = "[drivers]\ncontainers = \"process\"\n";
    let granted = format!("{base}[policy]\nscripts = [\"files:write:/**\"]\n");
    place.configure(&granted);
    let served = place.start(&["serve"]);
    ready(&served);
    let reload = |says: &str| {
        let before = served.stderr().matches(says).count();
        signal(served.pid(), rustix::process::Signal::HUP);
        until(says, || (served.stderr().matches(says).count() > before).then_some(()));
    };
    assert_eq!(write("first").code, Some(0));

    // A file that is wrong changes nothing, although the command line refuses it.
    place.configure(&format!("{base}[policy]\nscripts = []\n[nonsense]\n"));
    reload("everything goes on as it was");
    assert!(served.stderr().contains("MC-U002"), "{}", served.stderr());
    assert!(served.stderr().contains("nonsense"), "{}", served.stderr());

    // What takes a restart is named, and what does not has changed.
    place.configure(&format!("{base}[policy]\nscripts = []\n[daemon]\nlog = \"json\"\nworkers = 3\n"));
    reload("mcrun.toml was read again");
    let said = served.stderr();
    let line = said.lines().find(|line| line.contains("takes effect after a restart")).unwrap();
    assert!(
        line.contains("daemon.workers") && !line.contains("policy") && !line.contains("daemon.log"),
        "{line}"
    );
    assert!(line.starts_with('{'), "the form of the log has changed: {line}");
    let refused = write("second");
    assert_eq!(refused.code, Some(4), "{refused}");
    place.configure(&granted);
    reload("mcrun.toml was read again");
    assert_eq!(write("third").code, Some(0));
    ends_well(served);
}

#[test]
fn a_collector_that_is_not_there_is_named() {
    let place = Place::new();
    place.configure("[telemetry]\nendpoint = \"http://127.0.0.1:1\"\nevery = \"100ms\"\n");
    let started = place.start(&["serve"]);
    until("it is told", || started.stderr().contains("MC-I003").then_some(()));
    let seen = ends_well(started);
    assert!(
        seen.stderr.contains("telemetry cannot be sent") && seen.stderr.contains("127.0.0.1:1"),
        "{seen}"
    );
}

#[test]
fn why_it_ended_is_an_error_in_the_log_under_its_code() {
    let place = Place::new();
    let last = |seen: &Seen| -> Value {
        let line = seen.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {seen}"))
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.configure(&format!("[daemon]\nlog = \"json\"\n[certs]\nlisten = \"{address}\"\n"));
    let line = last(&place.ends(1, &["serve"]));
    assert_eq!((&line["level"], &line["code"]), (&"error".into(), &"MC-C005".into()), "{line}");
    let why = line["error"].as_str().unwrap();
    assert!(why.contains(&address) && why.contains("\nhint: "), "{line}");

    // What is wrong with the file is said in the form that the command line asks for.
    place.configure("[nonsense]\n");
    let line = last(&place.ends(2, &["serve", "--log", "json"]));
    assert_eq!((&line["level"], &line["code"]), (&"error".into(), &"MC-U002".into()), "{line}");
}
