//! Changes of routes: live once they are recorded, or not recorded at all.

use std::net::TcpListener;
use std::time::Instant;

use effect::Code;
use routes::Driver as _;
use serde_json::json;

use super::backend;
use super::load::{Connection, get, sees};
use super::place::{PORT, Routed, route};
use crate::harness::{program, report, until};

#[test]
fn a_route_is_served_once_it_was_put_and_no_longer_once_it_was_removed() {
    let routed = Routed::new();
    let (one, two) = (backend::start("one"), backend::start("two"));
    let _edge = routed.edge();
    routed.put("a.test", &[one]);
    assert_eq!(get(routed.at, "a.test"), Some((200, "one 0".into())));
    let mut kept = Connection::open(routed.at).unwrap();
    assert_eq!(kept.get("a.test").unwrap().1, "one 0");
    routed.put("b.test", &[two]);
    routed.put("a.test", &[two]);
    assert_eq!(kept.get("a.test").unwrap().1, "two 0", "new requests take it on old connections too");
    routed.remove("a.test:8080").unwrap();
    assert_eq!(get(routed.at, "b.test"), Some((200, "two 0".into())));
    assert_ne!(get(routed.at, "a.test").map(|(status, _)| status), Some(200));
    routed.remove("b.test:8080").unwrap();
    until("nobody listens there any more", || TcpListener::bind(routed.at).ok());
    routed.remove("b.test:8080").unwrap();
}

#[test]
fn routes_at_other_ports_come_and_go_beside_each_other() {
    let routed = Routed::new();
    let one = backend::start("one");
    let _edge = routed.edge();
    routed.put("a.test", &[one]);
    for port in [8081, 8082] {
        let mut other = route("a.test", &[one]);
        other["listen"] = json!(port);
        routed.try_put(other).unwrap();
        assert_eq!(get(routed.port(port), "a.test"), Some((200, "one 0".into())));
    }
    routed.remove("a.test:8081").unwrap();
    until("its port is closed", || get(routed.port(8081), "a.test").is_none().then_some(()));
    for port in [PORT, 8082] {
        assert_eq!(get(routed.port(port), "a.test"), Some((200, "one 0".into())));
    }
}

#[test]
fn a_port_that_another_program_holds_is_named_and_nothing_is_changed() {
    let routed = Routed::new();
    let one = backend::start("one");
    let holder = TcpListener::bind(routed.at).unwrap();
    let _edge = routed.edge();
    let error = routed.try_put(route("a.test", &[one])).unwrap_err();
    assert_eq!(error.code, Code::RoutePort);
    assert!(error.message.contains(&std::process::id().to_string()), "{error:?}");
    assert_eq!(routed.drive(async |driver| driver.list().await).unwrap(), []);
    drop(holder);
    routed.put("a.test", &[one]);
    assert_eq!(get(routed.at, "a.test"), Some((200, "one 0".into())));
}

#[test]
fn a_port_that_another_program_holds_at_the_start_is_served_once_it_is_free() {
    let routed = Routed::new();
    let one = backend::start("one");
    let edge = routed.edge();
    routed.put("a.test", &[one]);
    let mut other = route("a.test", &[one]);
    other["listen"] = json!(8081);
    routed.try_put(other).unwrap();
    drop(edge);
    let holder = until("the port is free", || TcpListener::bind(routed.at).ok());
    let edge = routed.edge();
    assert_eq!(get(routed.port(8081), "a.test"), Some((200, "one 0".into())), "others are served");
    assert!(edge.stderr().contains("MC-G004"), "{}", edge.stderr());
    drop(holder);
    sees(routed.at, "a.test", "one");
}

#[test]
fn without_an_edge_nothing_is_recorded() {
    let routed = Routed::new();
    let error = routed.try_put(route("a.test", &[backend::start("one")])).unwrap_err();
    assert_eq!(error.code, Code::ProxyUnavailable);
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("mcrun serve")), "{error:?}");
    assert_eq!(routed.drive(async |driver| driver.list().await).unwrap(), []);
    routed.remove("a.test:8080").unwrap();
}

#[test]
fn a_route_that_cannot_be_served_leaves_the_one_that_is() {
    let routed = Routed::new();
    let one = backend::start("one");
    let _edge = routed.edge();
    routed.put("a.test", &[one]);
    let mut wrong = route("a.test", &[one]);
    wrong["cert"] = json!("nobody.test");
    let error = routed.try_put(wrong).unwrap_err();
    assert_eq!(error.code, Code::CertificateUnknown, "{error:?}");
    let recorded = routed.drive(async |driver| driver.list().await).unwrap();
    assert_eq!(recorded[0].route.cert, None);
    assert_eq!(get(routed.at, "a.test"), Some((200, "one 0".into())));
}

#[test]
fn two_services_cannot_both_have_a_host_name() {
    let routed = Routed::new();
    let one = backend::start("one");
    let _edge = routed.edge();
    let of = |service: &str, path: &str| {
        let mut route = route("a.test", &[one]);
        route["service"] = json!(service);
        route["path"] = json!(path);
        route
    };
    routed.try_put(of("mcq", "/")).unwrap();
    routed.try_put(of("mcq", "/api")).unwrap();
    for path in ["/", "/api", "/other"] {
        assert_eq!(routed.try_put(of("mcp", path)).unwrap_err().code, Code::RouteClaimed);
    }
    routed.remove("a.test:8080").unwrap();
    assert_eq!(routed.try_put(of("mcp", "/")).unwrap_err().code, Code::RouteClaimed);
    routed.remove("a.test:8080/api").unwrap();
    routed.try_put(of("mcp", "/")).unwrap();
}

#[test]
fn a_back_end_that_a_route_does_not_have_is_not_drained() {
    let routed = Routed::new();
    let one = backend::start("one");
    let _edge = routed.edge();
    routed.put("a.test", &[one]);
    let drain = |backend: &str| {
        routed.run(&["routes", "drain", "a.test:8080", "--backend", backend, "--within", "1s"])
    };
    let seen = drain("127.0.0.1:9");
    assert_eq!(seen.code, Some(1), "{seen}");
    seen.says(&["MC-G005", "`a.test:8080` has no back end `127.0.0.1:9`", &format!("it has {one}")]);
    let seen = drain(&one.to_string());
    assert_eq!(seen.code, Some(0), "{seen}");
    let seen = routed.ends(1, &["routes", "drain", "b.test:8080", "--backend", "127.0.0.1:9"]);
    seen.says(&["MC-G005", "b.test:8080"]);
}

/// Certificates that nobody asks for.
struct Nobody;

#[async_trait::async_trait]
impl routes::Certificates for Nobody {
    async fn material(&self, id: &str) -> effect::Result<routes::Material> {
        Err(effect::Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`")))
    }

    async fn check(&self, _: &str, _: &routes::Hostname) -> effect::Result<()> {
        Ok(())
    }
}

#[test]
fn whoever_follows_routes_is_told_at_once_of_what_others_change() {
    const CHANGES: usize = 12;
    let routed = Routed::new();
    let socket = routed.at("routes.sock");
    routed.settle_for(&format!("[routes.api]\nsocket = \"{socket}\""));
    let _daemon = routed.serve();
    let settings = serde_json::from_value(json!({ "socket": socket })).unwrap();
    let client = routes::remote::Client::new(&settings, std::sync::Arc::new(Nobody)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut watch = runtime.block_on(client.watch()).unwrap();
    let mut next = || runtime.block_on(async { watch.next().await.unwrap() });
    while next() != routes::remote::Change::Synced {}
    let one = backend::start("one");
    let mut took = Vec::new();
    for number in 0..CHANGES {
        let mut changed = route("a.test", &[one]);
        changed["retries"] = json!(number);
        routed.try_put(changed).unwrap();
        let done = Instant::now();
        let wanted = u8::try_from(number).unwrap();
        while !matches!(next(), routes::remote::Change::Put(standing) if standing.route.retries == wanted) {}
        took.push(done.elapsed());
    }
    // Who only looks each second finds each change after almost one: it comes right after the look that found the last.
    took.sort();
    assert!(took[CHANGES / 2] < std::time::Duration::from_millis(700), "{took:?}");
}

const CERTIFICATE: &str = r#"certs.ensure { hostnames = { "a.test" } }"#;

/// The certificate that is shown for `a.test`.
fn shown(routed: &Routed) -> Option<String> {
    let at = routed.at.to_string();
    let mut client = program("openssl");
    client.args(["s_client", "-connect", &at, "-servername", "a.test"]).stdin(std::process::Stdio::null());
    let said = client.output().expect("openssl is there");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let from = said.find("-----BEGIN CERTIFICATE-----")?;
    let to = said.find("-----END CERTIFICATE-----")?;
    Some(said[from..to].to_owned())
}

#[test]
fn a_renewed_certificate_is_shown_without_anybody_touching_the_route() {
    let routed = Routed::new();
    let script = routed.script("cert.lua", CERTIFICATE);
    routed.ends(0, &[&script, "--allow", "certs"]);
    let _edge = routed.edge();
    let mut with = route("a.test", &[backend::start("one")]);
    with["cert"] = json!("a.test");
    routed.try_put(with).unwrap();
    let first = shown(&routed).expect("a certificate is shown");
    routed.ends(0, &["certs", "renew", "a.test"]);
    until("the new certificate is shown", || shown(&routed).filter(|second| *second != first));
}

#[test]
fn a_change_is_served_soon_after_its_commit_whatever_else_is_served() {
    const CHANGES: u32 = 100;
    const OTHERS: u32 = 5_000;
    let routed = Routed::new();
    let backends = [backend::start("one"), backend::start("two")];
    let _edge = routed.edge();
    routed.put("a.test", &backends[..1]);
    let recorded = |host: &str, backend| {
        let standing = super::place::standing(route(host, &[backend]));
        (standing.route.key().to_string(), json!(standing).to_string())
    };
    let mut database = rusqlite::Connection::open(routed.database()).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let all = database.transaction().unwrap();
    for number in 0..OTHERS {
        let insert =
            "INSERT INTO records SELECT kind, node, ?, ?, run, at FROM records WHERE name = 'a.test:8080'
             AND kind = 'route'";
        all.execute(insert, recorded(&format!("host-{number}.test"), backends[0])).unwrap();
    }
    all.commit().unwrap();
    let last = format!("host-{}.test", OTHERS - 1);
    sees(routed.at, &last, "one");
    let mut client = Connection::open(routed.at).unwrap();
    let mut took = Vec::new();
    for change in 1..=CHANGES {
        let (name, backend) = [("one", backends[0]), ("two", backends[1])][change as usize % 2];
        let (key, value) = recorded("a.test", backend);
        let update = "UPDATE records SET value = ?2 WHERE kind = 'route' AND name = ?1";
        assert_eq!(database.execute(update, [key, value]).unwrap(), 1);
        let committed = Instant::now();
        until("the change is served", || {
            (0..1000).find_map(|_| client.get("a.test").unwrap().1.starts_with(name).then_some(()))
        });
        took.push(committed.elapsed());
    }
    took.sort();
    let figure = |part: usize| took[took.len() * part / 100].as_micros();
    report(
        &format!("commit to answer over a route: median {} µs, 99 % {} µs, most", figure(50), figure(99)),
        took.last().map_or(0, |most| usize::try_from(most.as_micros()).unwrap()),
        "µs",
        0,
    );
}
