//! How names are looked at over the network: what proves them, and what does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use certs::Name;
use certs::acme::server::prover::{Cause, Kind, Proof};
use certs::acme::server::{Network, Prover as _, Settings};
use daemon::listen::{Handler, Limits, serve};
use effect::units::Span;
use http::header::LOCATION;
use http::{Request, Response, StatusCode};
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::stage::free_port;
use crate::zone::Zone;

const KEY_AUTHORIZATION: &str = "token.thumbprint";

fn proof(kind: Kind, name: &str) -> Proof {
    let name: Name = name.parse().unwrap();
    Proof { kind, name, token: "token".into(), key_authorization: KEY_AUTHORIZATION.into() }
}

struct Web {
    settings: Settings,
    zone: Zone,
    _folder: TempDir,
    _end: Vec<watch::Sender<bool>>,
}

/// What a web server says, by path; the port is for redirects.
#[derive(Clone)]
struct Site(u16);

impl Handler for Site {
    async fn handle(&self, request: Request<Bytes>, _: SocketAddr) -> Response<Bytes> {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let host = host.split(':').next().unwrap();
        let port = self.0;
        let moved = |to: String| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(LOCATION, to.try_into().unwrap());
            response
        };
        let expected = "/.well-known/acme-challenge/token";
        match (host, request.uri().path()) {
            ("right.mcrun.test" | "localhost" | "127.0.0.1", path) if path == expected => {
                Response::new(format!("{KEY_AUTHORIZATION} \r\n").into())
            }
            ("moved.mcrun.test", path) if path == expected => {
                moved(format!("http://right.mcrun.test:{port}{expected}"))
            }
            ("moved80.mcrun.test", path) if path == expected => {
                moved(format!("http://right.mcrun.test{expected}"))
            }
            ("circle.mcrun.test", path) => moved(path.to_owned()),
            ("out.mcrun.test", _) => moved("http://right.mcrun.test:22/".into()),
            ("inward.mcrun.test", _) => moved(format!("http://169.254.169.254:{port}/latest/")),
            ("file.mcrun.test", _) => moved("file:///etc/passwd".into()),
            ("huge.mcrun.test", _) => Response::new(vec![b'a'; 1 << 20].into()),
            ("wrong.mcrun.test", _) => Response::new("a secret of the house".into()),
            ("slow.mcrun.test", _) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Response::new(Bytes::new())
            }
            _ => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }
}

async fn web() -> Web {
    let folder = tempfile::tempdir().unwrap();
    let zone = Zone::start(folder.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http_port = listener.local_addr().unwrap().port();
    let (end, ending) = watch::channel(false);
    tokio::spawn(serve(listener, None, Site(http_port), Limits::default(), ending));
    let settings =
        Settings { resolvers: vec![zone.address], http_port, tls_port: free_port(), ..Settings::default() };
    Web { settings, zone, _folder: folder, _end: vec![end] }
}

impl Web {
    async fn prove(&self, kind: Kind, name: &str) -> Result<(), (Cause, String)> {
        let outcome = Network::new(&self.settings).prove(&proof(kind, name)).await;
        outcome.map_err(|failure| (failure.cause, failure.detail))
    }

    async fn fails(&self, kind: Kind, name: &str, cause: Cause, words: &str) {
        let (found, detail) = self.prove(kind, name).await.unwrap_err();
        assert!(found == cause && detail.contains(words), "{name}: {found:?} {detail}");
        assert!(!detail.contains("secret of the house"), "what was found is not told: {detail}");
    }
}

#[tokio::test]
async fn a_file_on_the_web_server_proves_its_name() {
    let web = web().await;
    for name in
        ["right.mcrun.test", "right.alias.test", "moved.mcrun.test", "moved80.mcrun.test", "127.0.0.1"]
    {
        // Whoever is reached by an alias is asked for the name itself.
        let outcome = web.prove(Kind::Http, name).await;
        match name {
            "right.alias.test" => assert_eq!(outcome.unwrap_err().0, Cause::Wrong),
            _ => assert_eq!(outcome, Ok(()), "{name}"),
        }
    }
}

#[tokio::test]
async fn a_web_server_that_says_something_else_proves_nothing() {
    let web = web().await;
    for (name, cause, words) in [
        ("wrong.mcrun.test", Cause::Wrong, "something else"),
        ("huge.mcrun.test", Cause::Wrong, "something else"),
        ("none.mcrun.test", Cause::Wrong, "404"),
        ("circle.mcrun.test", Cause::Connection, "redirected more than"),
        ("out.mcrun.test", Cause::Connection, "another port"),
        ("inward.mcrun.test", Cause::Connection, "no address that is contacted"),
        ("file.mcrun.test", Cause::Wrong, "redirected to no web address"),
        ("metadata.mcrun.test", Cause::Connection, "no address that is contacted"),
        ("169.254.169.254", Cause::Connection, "no address that is contacted"),
        ("nowhere.example", Cause::Dns, "no such name"),
    ] {
        web.fails(Kind::Http, name, cause, words).await;
    }
}

#[tokio::test]
async fn a_web_server_that_does_not_answer_is_not_waited_for() {
    let mut web = web().await;
    web.settings.limits.patience = Span(Duration::from_millis(300));
    web.fails(Kind::Http, "slow.mcrun.test", Cause::Connection, "took longer than 300ms").await;
}

#[tokio::test]
async fn nobody_listening_is_said() {
    let mut web = web().await;
    web.settings.http_port = free_port();
    web.fails(Kind::Http, "right.mcrun.test", Cause::Connection, "refused").await;
    web.fails(Kind::TlsAlpn, "right.mcrun.test", Cause::Connection, "refused").await;
    web.settings.resolvers = vec![SocketAddr::from(([127, 0, 0, 1], free_port()))];
    web.fails(Kind::Http, "right.mcrun.test", Cause::Dns, "cannot be looked up").await;
}

#[tokio::test]
async fn a_txt_record_proves_a_name_also_by_alias_and_by_tcp() {
    let web = web().await;
    let digest = proof(Kind::Dns, "a.mcrun.test").digest_text();
    web.fails(Kind::Dns, "a.mcrun.test", Cause::Dns, "no TXT record").await;
    web.zone.show("_acme-challenge.a.mcrun.test", "something else");
    web.fails(Kind::Dns, "a.mcrun.test", Cause::Wrong, "none of the 1").await;
    web.zone.show("_acme-challenge.a.mcrun.test", &format!("something else\n{digest}"));
    assert_eq!(web.prove(Kind::Dns, "a.mcrun.test").await, Ok(()));
    assert_eq!(web.prove(Kind::Dns, "*.a.mcrun.test").await, Ok(()));
    assert_eq!(web.prove(Kind::Dns, "a.alias.test").await, Ok(()));
    web.zone.show("_acme-challenge.b.large.mcrun.test", &digest);
    assert_eq!(web.prove(Kind::Dns, "b.large.mcrun.test").await, Ok(()));
}

/// What a TLS server shows to whoever speaks `acme-tls/1`.
struct Shown {
    names: Vec<SanType>,
    digest: Option<Vec<u8>>,
    is_critical: bool,
    protocol: &'static [u8],
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

impl Shown {
    fn right(name: SanType) -> Self {
        let digest = digest::digest(&digest::SHA256, KEY_AUTHORIZATION.as_bytes()).as_ref().to_vec();
        Self {
            names: vec![name],
            digest: Some(digest),
            is_critical: true,
            protocol: b"acme-tls/1",
            versions: rustls::ALL_VERSIONS,
        }
    }

    fn certificate(self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = self.names;
        if let Some(digest) = self.digest {
            let value = [vec![4, u8::try_from(digest.len()).unwrap()], digest].concat();
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 31], value);
            extension.set_criticality(self.is_critical);
            params.custom_extensions = vec![extension];
        }
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (certificate, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// Listens with it; then, the port.
    async fn listen(self, web: &mut Web) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        web.settings.tls_port = listener.local_addr().unwrap().port();
        let (protocol, versions) = (self.protocol.to_vec(), self.versions);
        let (certificate, key) = self.certificate();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        // The usual way checks what it shows, and does not know the extension.
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![protocol];
        let (end, ending) = watch::channel(false);
        web._end.push(end);
        tokio::spawn(serve(listener, Some(Arc::new(config)), Site(0), Limits::default(), ending));
    }
}

const OLD: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[tokio::test]
async fn a_certificate_proves_the_name_that_it_bears() {
    let mut web = web().await;
    for versions in [rustls::ALL_VERSIONS, OLD] {
        Shown { versions, ..Shown::right(dns("A.mcrun.test")) }.listen(&mut web).await;
        assert_eq!(web.prove(Kind::TlsAlpn, "a.mcrun.test").await, Ok(()));
    }
    Shown::right(SanType::IpAddress([127, 0, 0, 1].into())).listen(&mut web).await;
    assert_eq!(web.prove(Kind::TlsAlpn, "127.0.0.1").await, Ok(()));
}

#[tokio::test]
async fn a_certificate_that_is_not_for_this_proof_proves_nothing() {
    let mut web = web().await;
    let right = || Shown::right(dns("a.mcrun.test"));
    for (shown, cause, words) in [
        (Shown { digest: Some(vec![7; 32]), ..right() }, Cause::Wrong, "another challenge"),
        (Shown { digest: Some(vec![]), ..right() }, Cause::Wrong, "another challenge"),
        (Shown { digest: None, ..right() }, Cause::Wrong, "no acmeIdentifier"),
        (Shown { is_critical: false, ..right() }, Cause::Wrong, "not critical"),
        (Shown { names: vec![dns("b.mcrun.test")], ..right() }, Cause::Wrong, "another name"),
        (
            Shown { names: vec![dns("a.mcrun.test"), dns("b.mcrun.test")], ..right() },
            Cause::Wrong,
            "more than one",
        ),
        (Shown { protocol: b"http/1.1", ..right() }, Cause::Tls, "handshake"),
    ] {
        shown.listen(&mut web).await;
        web.fails(Kind::TlsAlpn, "a.mcrun.test", cause, words).await;
    }
    web.settings.tls_port = web.settings.http_port;
    web.fails(Kind::TlsAlpn, "a.mcrun.test", Cause::Tls, "handshake").await;
}
