//! Rules on countries, looked up in databases that MaxMind's layout describes and its library reads.

use std::io::{Read as _, Write as _};

use routes::settings::Settings;
use serde_json::json;

use crate::backend;
use crate::stage::{HOST, Stage, run, script};
use crate::support::until;

const BRITISH: &str = "81.2.69.142";
const SWEDISH: &str = "89.160.20.112";
const JAPANESE: &str = "2001:218::1";
const UNKNOWN: &str = "192.0.2.1";

fn write(path: &str, entries: &[&str]) {
    run(script("countries.py").arg(path).args(entries));
}

fn stage() -> Stage {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Stage::with(|folder| {
        let file = folder.path().join("countries.mmdb");
        let known = ["81.2.69.0/24=GB", "89.160.20.0/24=SE", "2001:218::/32=JP"];
        write(file.to_str().unwrap(), &known);
        let settings = json!({ "geoip": file, "proxy_from": ["127.0.0.1/32"] });
        serde_json::from_value::<Settings>(settings).unwrap()
    })
}

/// The status for a client at an address, as another proxy tells it.
fn status(stage: &Stage, client: &str) -> u16 {
    let mut stream = stage.running.connect();
    let (family, own) = if client.contains(':') { ("TCP6", "2001:db8::1") } else { ("TCP4", "192.0.2.2") };
    let request = format!(
        "PROXY {family} {client} {own} 40000 443\r\nGET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

fn statuses(stage: &Stage) -> [u16; 4] {
    [BRITISH, SWEDISH, JAPANESE, UNKNOWN].map(|client| status(stage, client))
}

#[test]
fn countries_may_come_or_may_not() {
    let (stage, backend) = (stage(), backend::start());
    for (access, wanted) in [
        (json!({}), [200, 200, 200, 200]),
        (json!({ "allow_countries": ["GB", "JP"] }), [200, 403, 200, 403]),
        (json!({ "allow_countries": ["gb"] }), [200, 403, 403, 403]),
        (json!({ "deny_countries": ["SE"] }), [200, 403, 200, 200]),
        (json!({ "allow_countries": ["SE"], "allow": ["192.0.2.0/24"] }), [403, 200, 403, 200]),
        (json!({ "allow_countries": ["GB", "SE"], "deny": ["81.2.69.142/32"] }), [403, 200, 403, 403]),
    ] {
        stage.plain(backend, json!({ "access": access }));
        assert_eq!(statuses(&stage), wanted, "{access}");
    }
}

#[test]
fn a_database_that_was_replaced_is_taken_and_garbage_is_not() {
    let (stage, backend) = (stage(), backend::start());
    stage.plain(backend, json!({ "access": { "allow_countries": ["GB"] } }));
    assert_eq!(statuses(&stage), [200, 403, 403, 403]);
    write(&stage.path("countries.mmdb"), &["89.160.20.0/24=GB", "2001:218::/32=GB"]);
    until(|| (statuses(&stage) == [403, 200, 200, 403]).then_some(()), || format!("{:?}", statuses(&stage)));
    let whole = std::fs::read(stage.file("countries.mmdb")).unwrap();
    std::fs::write(stage.file("countries.mmdb"), &whole[..whole.len() / 2]).unwrap();
    // In that while it is looked at, perhaps twice.
    let until_seen = std::time::Instant::now() + std::time::Duration::from_secs(6);
    while std::time::Instant::now() < until_seen {
        assert_eq!(statuses(&stage), [403, 200, 200, 403]);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
