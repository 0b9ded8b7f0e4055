//! A proxy with a route, served on the thread of the test, and clients that speak to it byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use journal::SystemClock;
use routes::proxy::Proxy;
use routes::{Material, Route, Settings, Standing};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;
use zeroize::Zeroizing;

/// Tests fail after that instead of hanging.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs a test as the edge runs the proxy: on one thread.
pub(crate) fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(PATIENCE, test).await.expect("it takes too long") };
    LocalSet::new().block_on(&runtime, test)
}

pub(crate) struct Stage {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    material: Material,
    pub(crate) over: watch::Sender<bool>,
}

pub(crate) const PORT: u16 = 8443;

impl Stage {
    /// A proxy without a route.
    pub(crate) async fn empty(settings: Settings) -> Self {
        let proxy = Proxy::new(&settings, Arc::new(SystemClock)).unwrap();
        let (over, is_over) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(Arc::clone(&proxy).serve(listener, PORT, is_over));
        let certified = rcgen::generate_simple_self_signed(["a.example".into(), "b.example".into()]).unwrap();
        let material = Material {
            chain: vec![certified.cert.der().clone()],
            key: Zeroizing::new(certified.signing_key.serialize_der()),
        };
        Self { proxy, address, ca: certified.cert.pem(), material, over }
    }

    /// A proxy with a route for every host to `backend`; `terms` are laid over it.
    pub(crate) async fn plain(backend: SocketAddr, terms: Value) -> Self {
        let stage = Self::empty(Settings::default()).await;
        stage.route(backend, json!({ "hostname": "*" }), terms);
        stage
    }

    /// The same by TLS.
    pub(crate) async fn secure(backend: SocketAddr, terms: Value) -> Self {
        let stage = Self::empty(Settings::default()).await;
        stage.route(backend, json!({ "hostname": "a.example", "cert": "c" }), terms);
        stage
    }

    /// Adds a route.
    pub(crate) fn route(&self, backend: SocketAddr, what: Value, terms: Value) {
        let mut route = json!({ "listen": PORT, "backends": [backend.to_string()] });
        for part in [what, terms] {
            for (name, value) in part.as_object().unwrap() {
                route[name] = value.clone();
            }
        }
        let route: Route = serde_json::from_value(route).unwrap();
        let material = route.cert.is_some().then(|| self.material.clone());
        self.proxy.put(Standing { route, paused: false }, material).unwrap();
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// Sends `bytes` and reads until the proxy closes.
    pub(crate) async fn to_end(&self, bytes: &[u8]) -> String {
        let mut raw = self.connect().await;
        raw.send(bytes).await;
        raw.rest().await
    }

    /// A connection by TLS, with HTTP/2 where `protocol` is `h2`.
    pub(crate) async fn tls(
        &self,
        name: &str,
        protocol: &[u8],
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        let ca = rustls::pki_types::CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address).await.unwrap();
        connector.connect(name.to_owned().try_into().unwrap(), stream).await.unwrap()
    }

    /// A client that speaks HTTP/2.
    pub(crate) async fn http2(&self) -> h2::client::SendRequest<bytes::Bytes> {
        let stream = self.tls("a.example", b"h2").await;
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        sender.ready().await.unwrap()
    }
}

/// A client that says exactly what the test says.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// What comes until the proxy closes.
    pub(crate) async fn rest(&mut self) -> String {
        // A reset after an answer to something refused is as good as an end.
        while matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// What comes up to and with `mark`.
    pub(crate) async fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                let rest = self.read.split_off(at + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            let octets = self.stream.read_buf(&mut self.read).await.unwrap();
            assert!(octets > 0, "the end came before {mark:?}: {:?}", String::from_utf8_lossy(&self.read));
        }
    }
}
