//! Calls from afar: what a certificate allows, and which are none.

use std::net::SocketAddr;
use std::sync::Arc;

use api::v1;
use api::v1::runs_client::RunsClient;
use certs::embedded::Authority;
use daemon::api::client::request;
use daemon::api::{Settings, serve_tls};
use daemon::identity::Identity;
use daemon::routes::{Door, Issuers};
use effect::{Code, Error, Sealer};
use peer::calls::{Codes, Way, told};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;

use crate::stage::{NODE, Stage};

const HOST: &str = "daemon.mcrun.test";
const CODES: Codes = Codes {
    unavailable: Code::ApiUnavailable,
    answer: Code::ApiStranger,
    refused: Code::ApiUser,
    version: Code::ApiVersion,
};

pub(crate) struct Afar {
    pub(crate) stage: Stage,
    authority: Authority,
    door: Arc<Door>,
    address: SocketAddr,
}

pub(crate) type Held = (String, Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>);

impl Afar {
    pub(crate) async fn open() -> Self {
        let settings = Settings {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            host: Some(HOST.into()),
            operators: vec!["ops.mcrun.test".into()],
            readers: vec!["eyes.mcrun.test".into()],
            ..Settings::default()
        };
        settings.check().unwrap();
        let stage = Stage::new(settings).await;
        let sealer = Arc::new(Sealer::open(stage.folder.path()).unwrap());
        let authority = || {
            let (journal, sealer) = (stage.journal.clone(), sealer.clone());
            Authority::new(journal, sealer, NODE, stage.folder.path(), Default::default())
        };
        let names = certs::Names::parse(&[HOST.to_owned()]).unwrap();
        let identity = Identity::new(authority(), names);
        let door = Arc::new(Door::open(identity, Issuers::Authority(authority())).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_tls(listener, door.clone(), stage.api.clone(), stage.over()));
        let authority = authority();
        Self { stage, authority, door, address }
    }

    /// A certificate of a client with this name.
    pub(crate) async fn issue(&self, name: &str) -> Held {
        let key = certs::Key::generate(certs::KeyType::P256).unwrap();
        let profiles = certs::Profiles::new(&Default::default()).unwrap();
        let names = certs::Names::parse(&[name.to_owned()]).unwrap();
        let issued = self
            .authority
            .sign(&certs::embedded::Request {
                token: &certs::driver::new_token().unwrap(),
                names: &names,
                profile: profiles.get("client").unwrap(),
                public: &key.public(),
                lifetime: None,
                service: None,
            })
            .await
            .unwrap();
        let serial = certs::certificate::Facts::of(&issued.chain[0]).unwrap().serial;
        (serial.to_string(), issued.chain, PrivatePkcs8KeyDer::from(key.pair().serialize_der()))
    }

    async fn list(&self, (_, chain, key): &Held) -> Result<(), Error> {
        self.with(chain, key, |mut calls| async move {
            calls.list_runs(request(v1::ListRunsRequest::default())).await.map(drop)
        })
        .await
    }

    /// A connection of whoever holds a certificate.
    pub(crate) async fn stream(
        &self,
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'static>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for root in self.authority.trusted().await.unwrap() {
            roots.add(root).unwrap();
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(chain.to_vec(), PrivateKeyDer::from(key.clone_key()))
                .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        // A call of two segments does not wait for the first one's receipt.
        tcp.set_nodelay(true).unwrap();
        TlsConnector::from(Arc::new(config)).connect(HOST.try_into().unwrap(), tcp).await
    }

    async fn with<F: Future<Output = Result<(), Status>>>(
        &self,
        chain: &[CertificateDer<'static>],
        key: &PrivatePkcs8KeyDer<'static>,
        call: impl FnOnce(RunsClient<Way>) -> F,
    ) -> Result<(), Error> {
        let broken = |why: String| Error::new(Code::ApiUnavailable, why);
        let stream = self.stream(chain, key).await;
        let stream = stream.map_err(|error| broken(error.to_string()))?;
        let way = Way::over(stream, None).await.map_err(|why| broken(format!("{why:?}")))?;
        let calls = RunsClient::with_origin(way.clone(), http::Uri::from_static("https://mcrun"));
        match call(calls).await {
            Ok(()) => Ok(()),
            Err(status) => match told(&status, CODES, "there", None) {
                Some(error) => Err(error),
                None => Err(broken(format!("{:?}", way.reason(&status).await))),
            },
        }
    }
}

#[tokio::test]
async fn an_operator_may_do_everything_and_a_reader_only_read() {
    let afar = Afar::open().await;
    let (operator, reader) = (afar.issue("ops.mcrun.test").await, afar.issue("eyes.mcrun.test").await);
    afar.list(&operator).await.unwrap();
    afar.list(&reader).await.unwrap();
    let run = afar.stage.executor.any().await;
    let cancel = |mut calls: RunsClient<Way>| async move {
        calls.cancel_run(request(v1::CancelRunRequest { run: run.to_string() })).await.map(drop)
    };
    let error = afar.with(&reader.1, &reader.2, cancel).await.unwrap_err();
    assert_eq!(error.code, Code::ApiRole);
    assert!(
        error.message.contains("`certificate:eyes.mcrun.test`") && error.message.contains("`CancelRun`"),
        "{error}"
    );
    let found = afar.stage.journal.run(run.as_str()).await.unwrap();
    assert!(!found.cancel_requested);
    afar.with(&operator.1, &operator.2, cancel).await.unwrap();
}

#[tokio::test]
async fn whoever_only_reads_takes_no_place_of_the_command_line_and_answers_no_question() {
    const PLACES: usize = 1024;
    let afar = Afar::open().await;
    let _serving = afar.stage.listen().await;
    let reader = afar.issue("eyes.mcrun.test").await;
    let run = afar.stage.executor.any().await;
    let local = afar.stage.client().await;
    let following = |mut calls: RunsClient<Way>| async move {
        let mut following = Vec::with_capacity(PLACES);
        while following.len() < PLACES {
            let watch = v1::WatchRunRequest { run: run.to_string(), ..Default::default() };
            following.push(calls.watch_run(request(watch)).await?);
        }
        local.watch(&run, false, false).await.unwrap();
        Ok(())
    };
    afar.with(&reader.1, &reader.2, following).await.unwrap();
    let calls = afar.stage.executor.calls.lock().unwrap();
    assert_eq!(calls.iter().filter(|call| *call == "look on").count(), PLACES);
}

#[tokio::test]
async fn a_name_that_is_not_listed_is_refused_with_the_name() {
    let afar = Afar::open().await;
    let error = afar.list(&afar.issue("stranger.mcrun.test").await).await.unwrap_err();
    assert_eq!(error.code, Code::ApiUser);
    assert!(error.message.contains("`stranger.mcrun.test`"), "{error}");
}

#[tokio::test]
async fn a_revoked_certificate_opens_no_connection() {
    let afar = Afar::open().await;
    let held = afar.issue("ops.mcrun.test").await;
    afar.list(&held).await.unwrap();
    afar.authority.revoke_serial(&held.0, certs::Reason::KeyCompromise).await.unwrap();
    afar.door.refresh().await.unwrap();
    let error = afar.list(&held).await.unwrap_err();
    assert_eq!(error.code, Code::ApiUnavailable);
    assert!(error.message.contains("CertificateRevoked"), "{error}");
    afar.list(&afar.issue("ops.mcrun.test").await).await.unwrap();
}
