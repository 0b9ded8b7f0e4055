use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::*;

/// A registry that says what a test wants it to say.
struct Fake {
    connector: Connector,
    reference: Reference,
    requests: Arc<Mutex<Vec<String>>>,
}

fn settings(der: CertificateDer<'static>, key: Vec<u8>) -> (ServerConfig, ClientConfig) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let server =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (
        server
            .with_no_client_auth()
            .with_single_cert(vec![der], PrivateKeyDer::try_from(key).unwrap())
            .unwrap(),
        client.with_root_certificates(roots).with_no_client_auth(),
    )
}

impl Fake {
    /// `answer` gets the host, the path and the head of a request.
    async fn new(answer: impl Fn(&str, &str, &str) -> Vec<u8> + Send + 'static) -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (server, client) = settings(made.cert.der().clone(), made.signing_key.serialize_der());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let reference = format!("{host}/web:v1").parse().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
                {}
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(head.clone());
                // Whoever has read enough hangs up.
                let _ = stream.write_all(&answer(&host, &path, &head)).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { connector: Connector::new(Arc::new(client)), reference, requests }
    }

    async fn resolve(&self, login: Option<&Login>) -> Result<Remote> {
        Registry::new(&self.connector, &self.reference, login)?.resolve().await
    }

    async fn refusal(answer: impl Fn(&str, &str, &str) -> Vec<u8> + Send + 'static) -> Error {
        Self::new(answer).await.resolve(None).await.unwrap_err()
    }
}

fn says(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

const CONFIG: &[u8] = br#"{"config":{"Cmd":["/run"]}}"#;

fn manifest() -> Vec<u8> {
    json!({ "config": { "digest": digest(CONFIG), "size": 1 }, "layers": [{ "digest": "x", "size": 5 }] })
        .to_string()
        .into()
}

fn whole(path: &str) -> Vec<u8> {
    let body = if path.contains("/manifests/") { manifest() } else { CONFIG.to_vec() };
    says("200 OK", "", &body)
}

fn login() -> Login {
    Login { username: "deploy".to_owned(), password: Zeroizing::new(b"hunter2".to_vec()) }
}

#[test]
fn challenges_are_taken_apart() {
    let challenge = r#"realm="https://auth.x.io/token",service="x.io",scope="repository:a:pull""#;
    assert_eq!(parameter(challenge, "realm").as_deref(), Some("https://auth.x.io/token"));
    assert_eq!(parameter(challenge, "service").as_deref(), Some("x.io"));
    assert_eq!(parameter(challenge, "error"), None);
    assert_eq!(parameter("xrealm=\"a\"", "realm"), None);
    assert_eq!(parameter("realm=\"", "realm").as_deref(), Some(""));
}

#[test]
fn digests_are_those_of_the_specification() {
    assert_eq!(digest(b""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[tokio::test]
async fn a_name_means_the_digest_of_what_was_sent() {
    let fake = Fake::new(|_, path, _| whole(path)).await;
    let remote = fake.resolve(None).await.unwrap();
    assert_eq!((remote.digest, remote.id, remote.size), (digest(&manifest()), digest(CONFIG), 5));
    assert_eq!(remote.defaults.cmd, ["/run"]);
}

#[tokio::test]
async fn of_several_platforms_the_one_of_this_machine_is_taken() {
    let fake = Fake::new(|_, path, _| {
        let of = |architecture: &str, digest: String| json!({ "digest": digest, "platform": { "os": "linux", "architecture": architecture } });
        let index = json!({ "manifests": [of("s390x", "sha256:0".to_owned()), of(architecture(), digest(&manifest()))] });
        if path.ends_with("/v1") { says("200 OK", "", index.to_string().as_bytes()) } else { whole(path) }
    });
    let remote = fake.await.resolve(None).await.unwrap();
    assert_ne!(remote.digest, digest(&manifest()), "the name means the index");
    assert_eq!(remote.id, digest(CONFIG));
    let none = Fake::refusal(|_, _, _| says("200 OK", "", br#"{"manifests":[{"digest":"sha256:0"}]}"#)).await;
    assert_eq!(none.code, Code::ImageUnknown);
}

#[tokio::test]
async fn other_content_than_its_digest_says_is_refused() {
    let forged =
        Fake::refusal(
            |_, path, _| {
                if path.contains("/manifests/") { whole(path) } else { says("200 OK", "", b"{}") }
            },
        );
    let forged = forged.await;
    assert_eq!((forged.code, forged.retryable), (Code::RegistryUnavailable, false), "{forged}");
    assert!(forged.cause.unwrap().contains("other content"));
    let climbing =
        Fake::refusal(|_, _, _| says("200 OK", "", br#"{"config":{"digest":"../../../secret"}}"#)).await;
    assert!(climbing.cause.unwrap().contains("not a digest"));
}

#[tokio::test]
async fn answers_that_make_no_sense_are_refused() {
    for body in ["", "null", "7", "[]", "{}", "{\"config\":null}", "\u{0}"] {
        let error = Fake::refusal(move |_, _, _| says("200 OK", "", body.as_bytes())).await;
        assert_eq!(error.code, Code::RegistryUnavailable, "{body:?}: {error}");
    }
    let garbage = Fake::refusal(|_, _, _| b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()).await;
    assert_eq!(garbage.code, Code::RegistryUnavailable);
    let large = Fake::refusal(|_, _, _| says("200 OK", "", &vec![b' '; LARGEST_MANIFEST + 1])).await;
    assert_eq!(large.code, Code::TooLarge);
}

#[tokio::test]
async fn only_what_may_pass_is_worth_another_attempt() {
    for (status, code, retryable) in [
        ("500 Internal Server Error", Code::RegistryUnavailable, true),
        ("503 Service Unavailable", Code::RegistryUnavailable, true),
        ("429 Too Many Requests", Code::RegistryUnavailable, true),
        ("404 Not Found", Code::ImageUnknown, false),
        ("401 Unauthorized", Code::RegistryRefused, false),
        ("403 Forbidden", Code::RegistryRefused, false),
    ] {
        let error = Fake::refusal(move |_, _, _| says(status, "", b"{}")).await;
        assert_eq!((error.code, error.retryable), (code, retryable), "{status}: {error}");
    }
}

#[tokio::test]
async fn redirects_are_followed_without_credentials_and_never_to_plain_http() {
    let fake = Fake::new(|host, path, head| {
        let elsewhere = host.replace("127.0.0.1", "localhost");
        if head.contains(&format!("host: {elsewhere}")) {
            return whole(path);
        }
        if !head.contains("authorization: Basic") {
            return says("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", b"");
        }
        says("307 Temporary Redirect", &format!("location: https://{elsewhere}{path}\r\n"), b"")
    });
    let fake = fake.await;
    fake.resolve(Some(&login())).await.unwrap();
    let requests = fake.requests.lock().unwrap().clone();
    assert!(requests.iter().any(|head| head.contains("host: localhost")));
    assert!(!requests.iter().any(|head| head.contains("host: localhost") && head.contains("authorization")));

    let plain =
        Fake::refusal(|host, path, _| says("302 Found", &format!("location: http://{host}{path}\r\n"), b""))
            .await;
    assert!(!plain.retryable && plain.cause.unwrap().contains("HTTPS only"));
    let circle = Fake::refusal(|_, path, _| says("302 Found", &format!("location: {path}\r\n"), b"")).await;
    assert!(circle.cause.unwrap().contains("again and again"));
}

#[tokio::test]
async fn a_token_is_asked_for_where_the_registry_wants_one() {
    let fake = Fake::new(|host, path, head| {
        if path.starts_with("/token") {
            let is_known =
                head.contains("authorization: Basic") && path.contains("scope=repository%3Aweb%3Apull");
            return if is_known {
                says("200 OK", "", br#"{"token":"abc"}"#)
            } else {
                says("401 Unauthorized", "", b"")
            };
        }
        if head.contains("authorization: Bearer abc") {
            return whole(path);
        }
        let challenge = format!("www-authenticate: Bearer realm=\"https://{host}/token\",service=\"x\"\r\n");
        says("401 Unauthorized", &challenge, b"")
    });
    let fake = fake.await;
    fake.resolve(Some(&login())).await.unwrap();
    let refused = fake.resolve(None).await.unwrap_err();
    assert_eq!(refused.code, Code::RegistryRefused);
}
