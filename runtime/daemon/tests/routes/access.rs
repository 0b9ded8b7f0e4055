//! Who may make which call on routes: every call that the descriptors tell of, at its own door.

use std::sync::Arc;
use std::time::Duration;

use api::v1;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD;
use bytes::Bytes;
use effect::Code;
use h2::client::SendRequest;
use http::Request;
use journal::audit::Filter;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use routes::Driver as _;
use routes::remote::{Change, Client};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::stage::{HOST, Side, route};

/// Whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every call on routes, with the message that it takes.
fn calls() -> Vec<(String, DescriptorProto)> {
    let set = FileDescriptorSet::decode(api::DESCRIPTORS).unwrap();
    let messages: Vec<&DescriptorProto> = set.file.iter().flat_map(|file| &file.message_type).collect();
    let service = set.file.iter().flat_map(|file| &file.service).find(|one| one.name() == "Routes").unwrap();
    let of = |name: &str| messages.iter().find(|one| name.ends_with(&format!(".{}", one.name()))).unwrap();
    let calls = service.method.iter();
    calls.map(|method| (method.name().to_owned(), DescriptorProto::clone(of(method.input_type())))).collect()
}

/// A message in its frame that is about the route of `hostname`, where the call is about one.
fn about(takes: &DescriptorProto, hostname: &str) -> Bytes {
    let key = v1::Key { listen: 443, hostname: hostname.into(), path: String::new() };
    let standing = v1::Standing {
        route: Some(v1::Route { key: Some(key.clone()), ..v1::Route::default() }),
        ..v1::Standing::default()
    };
    let mut message = Vec::new();
    for field in &takes.field {
        let value = match field.name() {
            "key" => key.encode_to_vec(),
            "standing" => standing.encode_to_vec(),
            _ => continue,
        };
        message.extend([u8::try_from(field.number() << 3 | 2).unwrap(), u8::try_from(value.len()).unwrap()]);
        message.extend(value);
    }
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message].concat().into()
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A connection that shows a certificate with `name`.
async fn holding(side: &Side, name: &str) -> SendRequest<Bytes> {
    let address = side.listen().await;
    let (chain, key) = side.pki.client(name, |_| {});
    let mut roots = rustls::RootCertStore::empty();
    for root in side.authority().trusted().await.unwrap() {
        roots.add(root).unwrap();
    }
    let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(address).await.unwrap();
    connect(connector.connect(HOST.try_into().unwrap(), tcp).await.unwrap()).await
}

/// The code that a call is refused with; nothing where it goes well.
async fn code(sender: &SendRequest<Bytes>, call: &str, message: Bytes) -> Option<String> {
    let mut ready = timeout(PATIENCE, sender.clone().ready()).await.unwrap().unwrap();
    let head = Request::post(format!("http://mcrun/mcrun.v1.Routes/{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = ready.send_request(head, false).unwrap();
    let _ = body.send_data(message, true);
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    let failure = response.headers().get(api::FAILURE)?;
    let octets = STANDARD_NO_PAD.decode(failure.to_str().unwrap().trim_end_matches('=')).unwrap();
    Some(v1::Failure::decode(&octets[..]).unwrap().code)
}

fn is_reading(call: &str) -> bool {
    ["List", "Get", "Watch", "Check"].iter().any(|begin| call.starts_with(begin))
}

/// What the gate answers with, and nothing behind it.
const OF_THE_GATE: [&str; 3] = ["MC-V003", "MC-V004", "MC-P020"];

#[tokio::test]
async fn every_caller_makes_the_calls_on_routes_that_the_policy_allows_it_and_no_other() {
    let side = Side::new();
    side.rule(json!([
        { "principals": ["certificate:lab.*"], "actions": ["routes.write"], "effect": "deny", "priority": 5 },
        { "principals": ["certificate:lab.*"], "actions": ["*"], "objects": ["b.lab.example:*"], "effect": "deny", "priority": 5 },
    ]));
    side.listen_here().await;
    let mut callers = vec![("owner", connect(UnixStream::connect(side.socket()).await.unwrap()).await)];
    for name in ["rift.mcrun.test", "lab.mcrun.test", "stranger.mcrun.test"] {
        callers.push((name, holding(&side, name).await));
    }
    let (calls, mut cells) = (calls(), 0);
    for (who, sender) in &callers {
        for (call, takes) in &calls {
            for hostname in ["a.lab.example", "B.lab.example"] {
                let found = code(sender, call, about(takes, hostname)).await;
                let is_about_one =
                    takes.field.iter().any(|field| ["key", "standing"].contains(&field.name()));
                let wanted = match *who {
                    "stranger.mcrun.test" => Some("MC-G010"),
                    "lab.mcrun.test" if !is_reading(call) => Some("MC-P020"),
                    "lab.mcrun.test" if is_about_one && hostname.starts_with('B') => Some("MC-P020"),
                    _ => None,
                };
                let place = format!("{who} {call} {hostname}: {found:?}");
                match wanted {
                    None => assert!(!found.is_some_and(|found| OF_THE_GATE.contains(&&*found)), "{place}"),
                    wanted => assert_eq!(found.as_deref(), wanted, "{place}"),
                }
                cells += 1;
            }
        }
    }
    assert_eq!((calls.len(), cells), (10, 10 * 2 * 4));
    let audited = side.journal.audited(Filter::default(), 0, 1000).await.unwrap();
    let told = |who: &str, outcome: &str| {
        audited.iter().filter(|record| record.principal.contains(who) && record.outcome == outcome).count()
    };
    let changing = calls.iter().filter(|(call, _)| !is_reading(call)).count();
    assert_eq!((told("stranger", "denied"), told("stranger", "allowed")), (20, 0));
    assert_eq!((told("rift", "denied"), told("rift", "allowed")), (0, 2 * changing));
    assert_eq!(told("lab", "allowed"), 0);
    assert!(told("lab", "denied") > 2 * changing);
    let written = audited.iter().find(|record| record.principal.contains("rift")).unwrap();
    assert_eq!((written.action.as_str(), written.object.as_str()), ("routes.write", "a.lab.example:443/"));
    assert!(written.address.is_some());
}

#[tokio::test]
async fn lists_of_routes_hold_what_the_policy_lets_the_caller_see() {
    let side = Side::new();
    side.rule(json!([
        { "principals": ["certificate:lab.*"], "actions": ["routes.read"], "objects": ["hidden.*"], "effect": "deny" },
    ]));
    for name in ["seen.lab.example", "hidden.lab.example"] {
        side.driver.put(&route(name, json!({}))).await.unwrap();
    }
    let lab = side.afar("lab.mcrun.test").await;
    let names = |found: Vec<routes::Standing>| -> Vec<String> {
        found.iter().map(|standing| standing.route.hostname.to_string()).collect()
    };
    assert_eq!(names(lab.list().await.unwrap()), ["seen.lab.example"]);
    // Somebody who is ruled by nothing of that.
    assert_eq!(names(side.here().await.list().await.unwrap()).len(), 2);
}

#[tokio::test]
async fn whoever_follows_routes_is_told_what_he_may_see_as_long_as_he_may() {
    let side = Side::new();
    side.driver.put(&route("a.lab.example", json!({}))).await.unwrap();
    let lab: Client = side.afar("lab.mcrun.test").await;
    let mut watch = lab.watch().await.unwrap();
    assert!(matches!(watch.next().await.unwrap(), Change::Put(_)));
    assert_eq!(watch.next().await.unwrap(), Change::Synced);
    // What may not be seen is not there.
    side.rule(
        json!([{ "principals": ["*"], "actions": ["routes.*"], "objects": ["a.*"], "effect": "deny" }]),
    );
    let hidden = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
    assert_eq!(hidden, Change::Removed("a.lab.example:443".parse().unwrap()));
    side.forget_clients();
    let error = timeout(PATIENCE, watch.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::ApiUser, "{error:?}");
}
