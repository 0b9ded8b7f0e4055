//! The terms on which connections are taken.

use std::io::Read;
use std::net::TcpListener;

use effect::Code;
use routes::settings::Settings;
use serde_json::{Value, json};

use crate::support::{Echo, Running, nobody, read_all, read_exactly, until};

fn route(echo: &Echo, more: Value) -> Value {
    let mut route = json!({ "mode": "l4", "backends": [echo.address.to_string()] });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route
}

#[test]
fn networks_may_or_may_not_come() {
    for (access, may) in [
        (json!({ "allow": ["127.0.0.0/8"] }), true),
        (json!({ "allow": ["192.0.2.0/24"] }), false),
        (json!({ "deny": ["127.0.0.1/32"] }), false),
        (json!({ "allow": ["127.0.0.0/8"], "deny": ["127.0.0.1/32"] }), false),
        (json!({ "deny": ["192.0.2.0/24"] }), true),
    ] {
        let (running, echo) = (Running::start(), Echo::start("echo"));
        running.put("*", route(&echo, json!({ "access": access })), None);
        let mut client = running.connect();
        if may {
            assert_eq!(read_exactly(&mut client, 4), b"echo", "{access}");
        } else {
            assert_eq!(read_all(&mut client), b"", "{access}");
            assert_eq!((running.figures("*").failed, echo.connections()), (1, 0), "{access}");
        }
    }
}

#[test]
fn countries_take_a_file() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    let standing = running.standing("*", route(&echo, json!({ "access": { "allow_countries": ["AT"] } })));
    assert_eq!(running.proxy.put(standing, None).unwrap_err().code, Code::RouteTerms);
    assert!(running.proxy.keys().is_empty());
}

#[test]
fn a_file_of_countries_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countries.mmdb");
    std::fs::write(&file, b"no database").unwrap();
    for geoip in [file, folder.path().join("missing")] {
        let settings = Settings { geoip: Some(geoip), ..Settings::default() };
        let clock = std::sync::Arc::new(journal::SystemClock);
        assert_eq!(routes::proxy::Proxy::new(&settings, clock).unwrap_err().code, Code::Config);
    }
}

#[test]
fn an_address_that_comes_too_often_is_refused() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    running.put("*", route(&echo, json!({ "limits": { "rate": 1, "burst": 3 } })), None);
    let let_in = (0..10).filter(|_| running.connect().read(&mut [0; 4]).is_ok_and(|count| count > 0)).count();
    assert!((3..10).contains(&let_in), "{let_in}");
}

#[test]
fn no_more_connections_than_allowed_are_under_way() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    running.put("*", route(&echo, json!({ "limits": { "connections": 2 } })), None);
    let mut clients: Vec<_> = (0..2).map(|_| running.connect()).collect();
    for client in &mut clients {
        read_exactly(client, 4);
    }
    assert_eq!(read_all(&mut running.connect()), b"");
    clients.pop();
    running.until("*", |figures| figures.active == 1);
    assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
}

#[test]
fn what_comes_while_a_route_is_paused_waits_and_goes_to_where_it_leads_then() {
    let (running, first, second) = (Running::start(), Echo::start("first"), Echo::start("other"));
    let mut standing = running.standing("*", route(&first, json!({ "limits": { "waiting": 3 } })));
    running.proxy.put(standing.clone(), None).unwrap();
    let mut before = running.connect();
    assert_eq!(read_exactly(&mut before, 5), b"first");
    standing.paused = true;
    running.proxy.put(standing, None).unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| running.connect()).collect();
    running.until("*", |figures| figures.paused && figures.waiting == 3);
    assert_eq!(read_all(&mut running.connect()), b"", "no more than three wait");
    running.put("*", route(&second, json!({})), None);
    for client in &mut clients {
        assert_eq!(read_exactly(client, 5), b"other");
    }
    assert_eq!(first.connections(), 1);
    let figures = running.figures("*");
    assert_eq!((figures.paused, figures.waiting, figures.failed), (false, 0, 1));
}

#[test]
fn a_pause_is_not_waited_for_for_ever() {
    let (running, echo) = (Running::start(), Echo::start("echo"));
    let mut standing = running.standing("*", route(&echo, json!({ "timeouts": { "pause": "100ms" } })));
    standing.paused = true;
    running.proxy.put(standing, None).unwrap();
    assert_eq!(read_all(&mut running.connect()), b"");
    assert_eq!(running.figures("*").failed, 1);
}

#[test]
fn what_probes_find_ill_gets_nothing_until_they_find_it_well() {
    let (running, echo, dead) = (Running::start(), Echo::start("echo"), nobody());
    let more = json!({
        "backends": [dead.to_string(), echo.address.to_string()],
        "health": { "every": "100ms", "timeout": "1s" },
    });
    running.put("*", route(&echo, more), None);
    let is_well = |figures: &routes::Figures| {
        figures.backends.iter().find(|backend| backend.address.0 == dead).unwrap().healthy
    };
    let figures = running.until("*", |figures| !is_well(figures));
    assert!(figures.backends[0].problem.is_some() && figures.backends[0].requests == 0, "{figures:#?}");
    let _echo = Echo::at(TcpListener::bind(dead).unwrap(), "echo");
    running.until("*", is_well);
}

#[test]
fn a_probe_may_ask_for_a_path() {
    let answers = |status: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0; 4096]);
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
            }
        });
        address
    };
    let (well, ill) = (answers("200 OK"), answers("503 Service Unavailable"));
    let running = Running::start();
    let more = json!({
        "backends": [well.to_string(), ill.to_string()],
        "health": { "http": "/health", "every": "100ms" },
    });
    running.put("a.example.net", more, None);
    let figures = running.until("a.example.net", |figures| !figures.backends[1].healthy);
    assert_eq!(
        figures.backends[1].problem.as_deref(),
        Some("`/health` is answered with 503 Service Unavailable")
    );
    assert!(figures.backends[0].healthy, "{figures:#?}");
}

#[test]
fn connections_are_logged_and_figures_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = serde_json::from_value::<Value>(json!({ "file": file, "size": 1 })).unwrap();
    let settings = Settings { access_log: Some(serde_json::from_value(log).unwrap()), ..Settings::default() };
    let (running, echo) = (Running::with(&settings), Echo::start("echo"));
    running.put("*", route(&echo, json!({})), None);
    assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
    let line = until(
        || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')),
        || "no line".into(),
    );
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["protocol"], &line["sent"], &line["client"]),
        (&json!("l4"), &json!(4), &json!("127.0.0.1"))
    );
    assert_eq!(line["backend"], json!(echo.address.to_string()));
    let route = format!("route=\"*:{}\"", running.port());
    let metrics = running.proxy.metrics();
    for wanted in [
        format!("mcrun_route_requests_total{{{route}}} 1\n"),
        format!("mcrun_route_sent_bytes_total{{{route}}} 4\n"),
        format!("mcrun_backend_up{{{route},backend=\"{}\"}} 1\n", echo.address),
    ] {
        assert!(metrics.contains(&wanted), "{wanted} in {metrics}");
    }
}

#[test]
fn a_log_that_cannot_be_written_loses_lines_and_no_connection() {
    // Every write to it fails as on a full disk.
    let access_log = serde_json::from_value(json!({ "file": "/dev/full" })).unwrap();
    let settings = Settings { access_log: Some(access_log), ..Settings::default() };
    let (running, echo) = (Running::with(&settings), Echo::start("echo"));
    running.put("*", route(&echo, json!({})), None);
    for _ in 0..20 {
        assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
    }
    until(
        || running.proxy.metrics().contains("mcrun_routes_log_lost_total 20\n").then_some(()),
        || running.proxy.metrics(),
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_tried_again_and_costs_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-there-yet/access.log");
    let access_log = serde_json::from_value(json!({ "file": file })).unwrap();
    let settings = Settings { access_log: Some(access_log), ..Settings::default() };
    let (running, echo) = (Running::with(&settings), Echo::start("echo"));
    running.put("*", route(&echo, json!({})), None);
    assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
    until(
        || running.proxy.metrics().contains("mcrun_routes_log_lost_total 1\n").then_some(()),
        || running.proxy.metrics(),
    );
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    assert_eq!(read_exactly(&mut running.connect(), 4), b"echo");
    let line = until(
        || std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')),
        || "no line".into(),
    );
    assert_eq!(line.lines().count(), 1, "{line}");
}
