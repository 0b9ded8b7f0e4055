//! Owns HTTP on loopback, plain or by TLS: the server of the calls over any driver, and servers that are broken.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use dns::Driver;
use dns::rest::server::Server;
use dns::rest::{Client, Parts, Settings, Tokens};
use effect::policy::Grants;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::bench::{Peer, secrets};

pub(crate) const TOKEN: &str = "token-of-the-tests-0123456789";

type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;
type Answers = dyn Fn(Request<Bytes>, SocketAddr) -> Answering + Send + Sync;

/// A server that is gone when it is dropped.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Web {
    pub(crate) async fn start(tls: Option<TlsAcceptor>, answers: Arc<Answers>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let answers = answers.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answers = answers.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        Ok::<_, Infallible>(
                            answers(Request::from_parts(head, body), peer).await.map(Full::new),
                        )
                    }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    // Clients may go away as they like.
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, task }
    }

    /// One that gives the same answer to everything.
    pub(crate) async fn always(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let answers = move |_, _| -> Answering {
            let mut response = Response::new(body.clone());
            *response.status_mut() = status.try_into().unwrap();
            Box::pin(std::future::ready(response))
        };
        Self::start(None, Arc::new(answers)).await
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS with a certificate that names `name` alone, which is written to a file of `folder`.
pub(crate) fn tls(name: &str, folder: &TempDir) -> (TlsAcceptor, PathBuf) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let file = folder.path().join(format!("{name}.pem"));
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

/// The server of the calls over `driver`, for one token with these capabilities.
pub(crate) fn server(driver: Arc<dyn Driver>, allow: &[&str]) -> Arc<Server> {
    let mut tokens = Tokens::default();
    let allow = allow.iter().map(|text| (*text).to_owned()).collect();
    tokens.add("tests", TOKEN.as_bytes(), &Grants { allow, ..Grants::default() }).unwrap();
    Arc::new(Server::new(driver, tokens))
}

pub(crate) fn settings(url: String) -> Settings {
    toml::from_str(&format!("url = \"{url}\"\ntoken = \"dns/token\"\ntimeout = \"3s\"")).unwrap()
}

pub(crate) fn client(settings: Settings) -> Client {
    Client::new(settings, Parts { secrets: secrets(TOKEN, "dns:rest") }).unwrap()
}

/// The server of the calls, by TLS, with the driver that makes them.
pub(crate) struct Calls {
    _web: Web,
    _folder: TempDir,
    client: Arc<Client>,
}

impl Calls {
    pub(crate) async fn start(driver: Arc<dyn Driver>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (acceptor, ca) = tls("localhost", &folder);
        let server = server(driver, &["dns"]);
        let answers = move |request, peer| -> Answering {
            let server = server.clone();
            Box::pin(async move { server.handle(request, peer).await })
        };
        let web = Web::start(Some(acceptor), Arc::new(answers)).await;
        let url = format!("https://localhost:{}", web.address.port());
        let client = Arc::new(client(Settings { ca: Some(ca), ..settings(url) }));
        Self { _web: web, _folder: folder, client }
    }
}

impl Peer for Calls {
    fn driver(&self) -> Arc<dyn Driver> {
        self.client.clone()
    }
}
