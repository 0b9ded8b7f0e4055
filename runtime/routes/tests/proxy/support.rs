//! A proxy on a port of its own, certificates, back ends, and clients that do what ordinary ones would not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use journal::SystemClock;
use routes::driver::{Material, Standing};
use routes::proxy::Proxy;
use routes::settings::Settings;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::sync::watch;

/// For whatever should have happened at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy that serves one port on a thread of its own.
pub(crate) struct Running {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) address: SocketAddr,
    over: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::with(&Settings::default())
    }

    pub(crate) fn with(settings: &Settings) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let proxy = Proxy::new(settings, Arc::new(SystemClock)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (over, is_over) = watch::channel(false);
        let serving = Arc::clone(&proxy);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let idle = Arc::clone(&serving);
                serving.serve(listener, address.port(), is_over).await.unwrap();
                // A test that failed leaves connections open.
                let _ = tokio::time::timeout(Duration::from_secs(1), idle.idle()).await;
            });
        });
        Self { proxy, address, over, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves a route for `hostname` at the port; `more` is what else it says.
    pub(crate) fn put(&self, hostname: &str, more: Value, certificate: Option<&Material>) {
        self.proxy.put(self.standing(hostname, more), certificate.cloned()).unwrap();
    }

    pub(crate) fn standing(&self, hostname: &str, more: Value) -> Standing {
        let mut route = json!({ "listen": self.port(), "hostname": hostname });
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(route).unwrap()
    }

    pub(crate) fn key(&self, hostname: &str) -> routes::Key {
        format!("{hostname}:{}", self.port()).parse().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn figures(&self, hostname: &str) -> routes::Figures {
        let key = self.key(hostname).to_string();
        self.proxy.figures().into_iter().find(|figures| figures.route == key).unwrap()
    }

    /// Waits until the figures of a route are as they should be.
    pub(crate) fn until(&self, hostname: &str, is: impl Fn(&routes::Figures) -> bool) -> routes::Figures {
        until(
            || Some(self.figures(hostname)).filter(|figures| is(figures)),
            || format!("{:#?}", self.figures(hostname)),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(ask: impl Fn() -> Option<T>, otherwise: impl Fn() -> String) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "{}", otherwise());
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A back end that says its name and whatever it is sent, and what it was sent first.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) fn start(name: &'static str) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    pub(crate) fn at(listener: TcpListener, name: &'static str) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        // It ends with the process of the test.
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _ = stream.write_all(name.as_bytes());
                    let mut octets = [0; 16 << 10];
                    while let Ok(count @ 1..) = stream.read(&mut octets) {
                        if stream.write_all(&octets[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An address at which nothing listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Certificates of an authority of the test.
pub(crate) struct Authority {
    pub(crate) issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // Some take a certificate whose subject is its issuer's for one that is signed by itself.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {} of a test", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        Self { issuer: rcgen::CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub(crate) fn issue(&self, name: &str) -> Material {
        self.issue_as(rcgen::CertificateParams::new([name.to_owned()]).unwrap())
    }

    pub(crate) fn issue_as(&self, params: rcgen::CertificateParams) -> Material {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Material { chain: vec![certificate.der().clone()], key: key.serialize_der().into() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A client that speaks one version of TLS.
    pub(crate) fn client_of(&self, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_protocol_versions(&[version]);
        Arc::new(builder.with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// A client that offers `protocols`.
    pub(crate) fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A client by TLS after its handshake.
pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The handshake of a client that asks for `name`.
pub(crate) fn handshake(config: &Arc<ClientConfig>, name: &str, mut stream: TcpStream) -> io::Result<Secure> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

/// What a client was shown.
pub(crate) fn shown(secure: &Secure) -> CertificateDer<'static> {
    secure.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A ClientHello that asks for `name`, with `protocols`; long ones make it long.
pub(crate) fn client_hello(name: &str, protocols: &[Vec<u8>]) -> Vec<u8> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = protocols.to_vec();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

pub(crate) fn read_exactly(stream: &mut impl Read, octets: usize) -> Vec<u8> {
    let mut read = vec![0; octets];
    stream.read_exact(&mut read).unwrap();
    read
}

/// What comes until the other side closes, or resets.
pub(crate) fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    read
}
