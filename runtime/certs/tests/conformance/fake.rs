//! Owns small authorities that are broken in one way: plain HTTP on loopback, answers by path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is answered to a path with a body.
pub(crate) type Answers = dyn Fn(&Fake, &str, &[u8]) -> Response<Full<Bytes>> + Send + Sync;

/// A server that is gone when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What answers may need.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// How often this path was asked for, this time included.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

impl Server {
    pub(crate) async fn start(
        answers: impl Fn(&Fake, &str, &[u8]) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let fake = Arc::new(Fake { address, asked: asked.clone() });
        let answers: Arc<Answers> = Arc::new(answers);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (fake, answers) = (fake.clone(), answers.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (fake, answers) = (fake.clone(), answers.clone());
                    async move {
                        let path = request.uri().path().trim_start_matches('/').to_owned();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        fake.asked.lock().unwrap().push(path.clone());
                        Ok::<_, Infallible>(answers(&fake, &path, &body))
                    }
                });
                tokio::spawn(async move {
                    // Clients may go away as they like.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that shows a certificate of its own for `name` with this life, and hangs up; the certificate in PEM.
pub(crate) async fn tls(name: &str, life: (OffsetDateTime, OffsetDateTime)) -> (SocketAddr, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = life;
    let certificate = params.self_signed(&key).unwrap();
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client is expected to refuse.
            let _ = acceptor.accept(stream).await;
        }
    });
    (address, certificate.pem())
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).header("Replay-Nonce", "bm9uY2U").body(Full::new(body.into())).unwrap()
}

pub(crate) fn json(status: u16, body: &serde_json::Value) -> Response<Full<Bytes>> {
    answer(status, body.to_string())
}

pub(crate) fn with(
    mut answer: Response<Full<Bytes>>,
    header: &'static str,
    value: &str,
) -> Response<Full<Bytes>> {
    answer.headers_mut().append(header, value.parse().unwrap());
    answer
}

/// An ACME authority whose orders are carried out at once; `certificate` in PEM is the answer to each.
pub(crate) fn acme(fake: &Fake, path: &str, certificate: &str) -> Response<Full<Bytes>> {
    match path {
        "dir" => json(
            200,
            &serde_json::json!({
                "newNonce": fake.url("nonce"), "newAccount": fake.url("account"), "newOrder": fake.url("order"),
                "revokeCert": fake.url("revoke"), "renewalInfo": fake.url("renewal"),
            }),
        ),
        "account" => {
            with(json(201, &serde_json::json!({ "status": "valid" })), "Location", &fake.url("account/1"))
        }
        "order" | "order/1" => with(
            json(
                201,
                &serde_json::json!({
                    "status": "valid", "authorizations": [], "finalize": fake.url("finalize"), "certificate": fake.url("certificate"),
                }),
            ),
            "Location",
            &fake.url("order/1"),
        ),
        "certificate" => answer(200, certificate.to_owned()),
        _ => answer(200, ""),
    }
}
