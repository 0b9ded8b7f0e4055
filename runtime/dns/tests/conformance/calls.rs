//! The calls of mcns beyond what every driver does: who may what, what malformed calls get, that both sides keep to
//! `proto/mcns`, and servers that are broken.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use dns::rest::Settings;
use dns::rest::server::Server;
use dns::{Change, Driver, RecordSet};
use effect::Code;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

use crate::bench::{assert_failed, name, rtype, set, zone};
use crate::memory::Memory;
use crate::program::port;
use crate::web::{TOKEN, Web, client, server, settings, tls};

async fn call(server: &Server, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let (status, _, answer) = raw(server, method, path, Some(&format!("Bearer {TOKEN}")), body).await;
    (status, answer)
}

async fn raw(
    server: &Server,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Bytes,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    let answer = server.handle(request.body(body).unwrap(), peer).await;
    let (head, body) = answer.into_parts();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    assert!(head.status.is_success() || body["error"].is_string(), "{path}: {body}");
    (head.status, head.headers, body)
}

fn memory() -> (Arc<Memory>, Arc<dyn Driver>) {
    let memory = Arc::new(Memory::new());
    (memory.clone(), memory)
}

const RECORDS: &str = "/v1/zones/mcrun.test/records";

fn address(owner: &str, value: &str) -> Value {
    json!({ "name": owner, "type": "A", "value": value, "ttl": 60 })
}

#[tokio::test]
async fn a_system_account_changes_its_own_name_alone() {
    let (memory, driver) = memory();
    let server = server(driver, &["dns:write:mcrun.test/mcq"]);
    let (status, made) = call(&server, "POST", RECORDS, address("mcq", "192.0.2.1")).await;
    assert_eq!(status, 201, "{made}");
    let own = format!("{RECORDS}/{}", made["id"].as_str().unwrap());
    assert_eq!(call(&server, "GET", &own, Value::Null).await, (StatusCode::OK, made));
    for other in ["mcr", "@", "*", "x.mcq", "mcq.mcrun.test.mcrun.test."] {
        let (status, told) = call(&server, "POST", RECORDS, address(other, "192.0.2.1")).await;
        assert_eq!(status, 403, "{other} {told}");
    }
    let (status, told) = call(&server, "GET", &format!("{RECORDS}?name=mcr"), Value::Null).await;
    assert_eq!(status, 403, "{told}");
    let (_, seen) = call(&server, "GET", RECORDS, Value::Null).await;
    assert_eq!(seen["records"].as_array().unwrap().len(), 1, "{seen}");
    // Others' records and zones, by whatever way.
    let foreign = set("mcr", "A", 60, &["192.0.2.9"]);
    memory.change(&zone(), &Change::putting(foreign.clone())).await.unwrap();
    let admin = crate::web::server(memory.clone(), &["dns"]);
    let (_, all) = call(&admin, "GET", &format!("{RECORDS}?name=mcr&type=A"), Value::Null).await;
    let theirs = format!("{RECORDS}/{}", all["records"][0]["id"].as_str().unwrap());
    for (method, path, body) in [
        ("GET", theirs.as_str(), Value::Null),
        ("PUT", &theirs, address("mcr", "192.0.2.1")),
        ("DELETE", &theirs, Value::Null),
        ("PUT", "/v1/zones/mcrun.test", Value::Null),
        ("DELETE", "/v1/zones/mcrun.test", Value::Null),
        ("GET", "/v1/zones/mcrun.test", Value::Null),
        ("DELETE", "/v1/zones/nowhere.test", Value::Null),
    ] {
        assert_eq!(call(&server, method, path, body).await.0, 403, "{method} {path}");
    }
    // A record does not become another's.
    assert_eq!(call(&server, "PUT", &own, address("mcr", "192.0.2.1")).await.0, 400);
    assert_eq!(memory.get(&zone(), &name("mcr"), rtype("A")).await.unwrap(), Some(foreign));
    assert_eq!(call(&server, "GET", "/v1/zones", Value::Null).await.1, json!({ "zones": [] }));
}

#[tokio::test]
async fn nobody_calls_without_a_token() {
    let server = server(memory().1, &["*"]);
    for token in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer wrong-wrong-wrong-wrong"),
        Some(TOKEN),
        Some("Basic eDp5"),
    ] {
        let (status, headers, told) = raw(&server, "GET", "/v1/zones", token, Bytes::new()).await;
        assert_eq!(
            (status.as_u16(), headers["www-authenticate"].as_bytes()),
            (401, &b"Bearer"[..]),
            "{told}"
        );
    }
    let longer = format!("Bearer {TOKEN}x");
    assert_eq!(raw(&server, "GET", "/v1/zones", Some(&longer), Bytes::new()).await.0, 401);
    let lower = format!("bearer  {TOKEN}");
    assert_eq!(raw(&server, "GET", "/v1/zones", Some(&lower), Bytes::new()).await.0, 200);
}

#[tokio::test]
async fn malformed_calls_are_told_so() {
    let server = server(memory().1, &["dns"]);
    for (method, path, body, status) in [
        ("GET", "/", Value::Null, 404),
        ("GET", "/v1", Value::Null, 404),
        ("GET", "/v1/zones/", Value::Null, 400),
        ("GET", "/v1/zones/a..b", Value::Null, 400),
        ("GET", "/v1/zones/%FF", Value::Null, 400),
        ("GET", "/v1/zones/nowhere.test", Value::Null, 404),
        ("GET", "/v1/zones/nowhere.test/records", Value::Null, 404),
        ("PATCH", "/v1/zones", Value::Null, 405),
        ("POST", "/v1/zones/mcrun.test", Value::Null, 405),
        ("DELETE", RECORDS, Value::Null, 405),
        ("GET", "/v1/zones/mcrun.test/records/none", Value::Null, 404),
        ("GET", "/v1/zones/mcrun.test/records?color=red", Value::Null, 400),
        ("GET", "/v1/zones/mcrun.test/records?type=NOPE", Value::Null, 400),
        ("POST", RECORDS, Value::Null, 400),
        ("POST", RECORDS, json!([]), 400),
        ("POST", RECORDS, json!({ "name": "a", "type": "A", "value": "192.0.2.1" }), 400),
        ("POST", RECORDS, json!({ "name": "a", "type": "A", "value": "192.0.2.1", "ttl": 60, "x": 1 }), 400),
        ("POST", RECORDS, json!({ "name": "a", "type": "A", "value": "192.0.2.1", "ttl": -1 }), 400),
        (
            "POST",
            RECORDS,
            json!({ "name": "a", "type": "A", "value": "192.0.2.1", "ttl": 4_294_967_295_u32 }),
            400,
        ),
        ("POST", RECORDS, address("a", "300.0.0.1"), 400),
        ("POST", RECORDS, address("a b", "192.0.2.1"), 400),
        ("POST", RECORDS, address("a.example.", "192.0.2.1"), 404),
        ("POST", RECORDS, json!({ "name": "@", "type": "SOA", "value": "a. b. 1 2 3 4 5", "ttl": 60 }), 400),
        ("POST", RECORDS, address("ns1", "192.0.2.53"), 409),
        ("POST", RECORDS, json!({ "name": "ns1", "type": "CNAME", "value": "x.", "ttl": 60 }), 409),
        (
            "POST",
            "/v1/zones",
            json!({ "zone": "mcrun.test", "primary": "a", "admin": "b", "refresh": 1, "retry": 1, "expire": 1, "minimum": 1, "nameservers": ["a."], "ttl": 1 }),
            409,
        ),
        (
            "POST",
            "/v1/zones",
            json!({ "zone": "new.test", "primary": "a", "admin": "b", "refresh": 1, "retry": 1, "expire": 1, "minimum": 1, "nameservers": [], "ttl": 1 }),
            400,
        ),
    ] {
        let (told, answer) = call(&server, method, path, body.clone()).await;
        assert_eq!(told, status, "{method} {path} {body} {answer}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let large = Bytes::from(vec![b' '; dns::rest::server::LARGEST_BODY + 1]);
    assert_eq!(raw(&server, "POST", RECORDS, Some(&bearer), large).await.0, 413);
    let (_, headers, _) = raw(&server, "PATCH", "/v1/zones", Some(&bearer), Bytes::new()).await;
    assert_eq!(headers["allow"], "GET, POST");
}

/// Calls that come at once add what each of them has.
#[tokio::test]
async fn calls_at_once_do_not_undo_each_other() {
    let (memory, driver) = memory();
    let server = server(driver, &["dns"]);
    let add = async |n: u32| call(&server, "POST", RECORDS, address("busy", &format!("192.0.2.{n}"))).await.0;
    let added = futures_util::future::join_all((1..=20).map(add)).await;
    assert!(added.iter().all(|status| *status == 201));
    let found = memory.get(&zone(), &name("busy"), rtype("A")).await.unwrap().unwrap();
    assert_eq!(found.values.len(), 20);
}

/// `proto/mcns/v1.json` has the paths, methods and fields that the server has.
#[tokio::test]
async fn the_contract_is_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/mcns/v1.json");
    let contract: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(contract["openapi"], "3.1.0");
    let server = server(memory().1, &["dns"]);
    let (_, made) = call(&server, "POST", RECORDS, address("a", "192.0.2.1")).await;
    let id = made["id"].as_str().unwrap();
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH"];
    for (path, calls) in contract["paths"].as_object().unwrap() {
        // Removing comes last, of the record before the zone.
        let here = path.replace("{zone}", "mcrun.test").replace("{id}", id);
        for method in methods.iter().filter(|method| **method != "DELETE") {
            let (status, told) = call(&server, method, &here, Value::Null).await;
            let described = &calls[method.to_ascii_lowercase()];
            assert_eq!(status != 405, described.is_object(), "{method} {path}: {status} {told}");
            let codes = &described["responses"];
            assert!(status == 405 || codes[status.as_str()].is_object(), "{method} {path}: {status}");
        }
    }
    let schemas = &contract["components"]["schemas"];
    let fields = |schema: &str| {
        let mut fields: Vec<String> = schemas[schema]["required"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| field.as_str().unwrap().to_owned())
            .collect();
        fields.sort();
        fields
    };
    let has = |value: &Value| {
        let mut fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        fields
    };
    assert_eq!(has(&made), fields("Record"));
    assert_eq!(has(&address("a", "192.0.2.1")), fields("NewRecord"));
    assert_eq!(has(&call(&server, "GET", "/v1/zones/mcrun.test", Value::Null).await.1), fields("Zone"));
    for path in [format!("{RECORDS}/{id}"), "/v1/zones/mcrun.test".into()] {
        assert_eq!(call(&server, "DELETE", &path, Value::Null).await.0, 204);
        assert_eq!(call(&server, "DELETE", &path, Value::Null).await.0, 404);
    }
}

async fn all(settings: Settings, code: Code, words: &str) -> bool {
    let client = client(settings);
    let set: RecordSet = set("broken", "A", 60, &["192.0.2.1"]);
    assert_failed(client.zones().await, code, words);
    assert_failed(client.list(&zone()).await, code, words);
    assert_failed(client.get(&zone(), &set.name, set.rtype).await, code, words);
    assert_failed(client.change(&zone(), &Change::putting(set)).await, code, words).retryable
}

#[tokio::test]
async fn a_server_of_calls_that_is_broken_is_told_with_the_reason() {
    let down = settings(format!("http://{}", port()));
    assert!(all(down, Code::DnsUnavailable, "refused").await);
    for (status, body, code, words, retryable) in [
        (502, "bad gateway", Code::DnsUnavailable, "502", true),
        (503, "{\"error\":\"sealed\"}", Code::DnsUnavailable, "sealed", true),
        (429, "{\"error\":\"slowly\"}", Code::DnsRefused, "slowly", true),
        (401, "{\"error\":\"who?\"}", Code::DnsRefused, "dns/token", false),
        (403, "{\"error\":\"not you\"}", Code::DnsRefused, "not you", false),
        (404, "<html>", Code::DnsAnswer, "url", false),
        (400, "{\"error\":\"bad name\"}", Code::DnsValue, "bad name", false),
        (200, "<html>welcome</html>", Code::DnsAnswer, "", false),
        (200, "{}", Code::DnsAnswer, "", false),
        (200, "", Code::DnsAnswer, "", false),
    ] {
        let web = Web::always(status, body).await;
        let told = all(settings(format!("http://{}", web.address)), code, words).await;
        assert_eq!(told, retryable, "{status} {body}");
    }
    let wrong = json!({ "records": [{ "id": "x", "name": "a.example.", "type": "A", "value": "192.0.2.1", "ttl": 1 }] });
    let web = Web::always(200, wrong.to_string()).await;
    let client = client(settings(format!("http://{}", web.address)));
    assert_failed(client.list(&zone()).await, Code::DnsAnswer, "outside of the zone");
}

#[tokio::test]
async fn tls_that_fails_is_told_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let silent: Arc<dyn Fn(_, _) -> _ + Send + Sync> = Arc::new(|_, _| Box::pin(std::future::pending()) as _);
    let (acceptor, ca) = tls("mcns.mcrun.test", &folder);
    let web = Web::start(Some(acceptor), silent).await;
    // As the platform had it: a certificate that names host names, asked for by address.
    let named = Settings { ca: Some(ca), ..settings(format!("https://{}", web.address)) };
    assert!(!all(named, Code::DnsUnavailable, "its certificate is for other names only").await);
    let unknown = settings(format!("https://localhost:{}", web.address.port()));
    assert!(!all(unknown, Code::DnsUnavailable, "not trusted").await);
    let plain = Web::always(200, "hello").await;
    assert!(
        !all(settings(format!("https://localhost:{}", plain.address.port())), Code::DnsUnavailable, "TLS")
            .await
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let made = |url: &str| {
        let parts = dns::rest::Parts { secrets: crate::bench::secrets(TOKEN, "dns:rest") };
        dns::rest::Client::new(settings(url.into()), parts)
    };
    for bad in [
        "mcns",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "https://user@mcns.example/",
        "https://mcns.example/?a=b",
    ] {
        assert_eq!(made(bad).err().map(|error| error.code), Some(Code::Config), "{bad}");
    }
    assert_eq!(made("https://192.0.2.1:8443/mcns").unwrap().servers(), ["192.0.2.1:53".parse().unwrap()]);
    assert!(made("https://mcns.example").unwrap().servers().is_empty());
}
