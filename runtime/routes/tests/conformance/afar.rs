//! The driver of another mcrun's proxy: the whole list again, with every call on its way through the socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use routes::remote::{Caller, Client, Doorkeeper, Pass, Rules, Server, serve};
use routes::route::Backend;
use routes::{Certificates, Drained, Driver, Feature, Figures, Hostname, Key, Material, Standing};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::bench::Peer;
use crate::pki::Pki;

/// A proxy that is driven from afar.
pub(crate) struct Afar<P> {
    there: Arc<P>,
    client: Client,
    _over: watch::Sender<bool>,
    _folder: TempDir,
}

/// Everybody may everything: who may what is looked at elsewhere.
struct Everybody;

#[async_trait]
impl Doorkeeper for Everybody {
    async fn pass(&self, _: &str, _: &[u8]) -> Result<Arc<dyn Pass>> {
        Ok(Arc::new(Self))
    }
}

impl Pass for Everybody {
    fn may_see(&self, _: &Key) -> bool {
        true
    }
}

/// The driver of the other side.
struct Behind<P>(Arc<P>);

/// Nothing is shown over a socket.
struct None;

#[async_trait]
impl Certificates for None {
    async fn material(&self, id: &str) -> Result<Material> {
        Err(Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`")))
    }

    async fn check(&self, _: &str, _: &Hostname) -> Result<()> {
        Ok(())
    }
}

impl<P: Peer + 'static> Afar<P> {
    pub(crate) async fn from(there: P) -> Self {
        let there = Arc::new(there);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = Server::new(Arc::new(Behind(there.clone())), Rules::default(), "there", Option::None);
        let (over, ends) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    stream,
                    (Caller::Local, Arc::new(Everybody)),
                    server.clone(),
                    ends.clone(),
                ));
            }
        });
        let settings = toml::from_str(&format!("socket = {path:?}")).unwrap();
        let client = Client::new(&settings, Arc::new(None)).unwrap();
        // What the other side has is known from the first call.
        client.list().await.unwrap();
        Self { there, client, _over: over, _folder: folder }
    }
}

#[async_trait]
impl<P: Peer> Peer for Afar<P> {
    fn driver(&self) -> &dyn Driver {
        &self.client
    }

    fn pki(&self) -> &Arc<Pki> {
        self.there.pki()
    }

    fn plain(&self) -> SocketAddr {
        self.there.plain()
    }

    fn secure(&self) -> SocketAddr {
        self.there.secure()
    }

    async fn version(&self) -> String {
        self.there.version().await
    }

    fn breaks_connections(&self) -> bool {
        self.there.breaks_connections()
    }
}

#[async_trait]
impl<P: Peer> Driver for Behind<P> {
    fn name(&self) -> &'static str {
        self.0.driver().name()
    }

    fn features(&self) -> &[Feature] {
        self.0.driver().features()
    }

    async fn list(&self) -> Result<Vec<Standing>> {
        self.0.driver().list().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        self.0.driver().get(key).await
    }

    async fn admit(&self, standing: &Standing) -> Result<()> {
        self.0.driver().admit(standing).await
    }

    async fn put(&self, standing: &Standing) -> Result<()> {
        self.0.driver().put(standing).await
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.0.driver().remove(key).await
    }

    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Drained> {
        self.0.driver().drain(key, backend, within).await
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        self.0.driver().figures().await
    }
}
