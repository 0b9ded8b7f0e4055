//! Owns the embedded driver as one of the peers: routes in the database of a state directory, and a proxy in this process
//! in the place of the edge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use journal::{Journal, SystemClock};
use routes::proxy::Proxy;
use routes::route::Backend;
use routes::{Certificates as _, Drained, Driver, Embedded, Figures, Gateway, Key, Settings, Standing};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::bench::Peer;
use crate::countries;
use crate::pki::Pki;

/// The driver with the proxy behind it.
pub(crate) struct Here {
    driver: Embedded,
    pki: Arc<Pki>,
    plain: SocketAddr,
    secure: SocketAddr,
    over: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Here {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let geoip = folder.path().join("countries.mmdb");
        countries::write(&geoip, 127, "AQ");
        let settings = Settings {
            addresses: vec!["127.0.0.1".parse().unwrap()],
            geoip: Some(geoip),
            ..Settings::default()
        };
        let proxy = Proxy::new(&settings, Arc::new(SystemClock)).unwrap();
        let pki = Pki::new();
        let gateway = Arc::new(Inside { proxy: proxy.clone(), pki: pki.clone() });
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let driver = Embedded::new(journal, "rift", settings, gateway);
        let [plain, secure] = [(); 2].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let addresses = [&plain, &secure].map(|listener| listener.local_addr().unwrap());
        let (over, is_over) = watch::channel(false);
        let thread = std::thread::spawn(move || serve(&proxy, [plain, secure], &is_over));
        Self {
            driver,
            pki,
            plain: addresses[0],
            secure: addresses[1],
            over,
            thread: Some(thread),
            _folder: folder,
        }
    }
}

/// As a thread of the edge does.
fn serve(proxy: &Arc<Proxy>, listeners: [std::net::TcpListener; 2], over: &watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let serving = listeners.map(|listener| {
            listener.set_nonblocking(true).unwrap();
            let port = listener.local_addr().unwrap().port();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            proxy.clone().serve(listener, port, over.clone())
        });
        for ended in futures_util::future::join_all(serving).await {
            ended.unwrap();
        }
    });
}

impl Drop for Here {
    fn drop(&mut self) {
        self.over.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Peer for Here {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    fn plain(&self) -> SocketAddr {
        self.plain
    }

    fn secure(&self) -> SocketAddr {
        self.secure
    }

    async fn version(&self) -> String {
        format!("{:?}", self.driver.list().await.unwrap())
    }
}

/// The edge, in this process.
struct Inside {
    proxy: Arc<Proxy>,
    pki: Arc<Pki>,
}

#[async_trait]
impl Gateway for Inside {
    async fn is_there(&self) -> bool {
        true
    }

    async fn admit(&self, _: &Standing) -> Result<()> {
        Ok(())
    }

    async fn settle(&self, key: &Key, standing: Option<&Standing>, within: Duration) -> Result<()> {
        match standing {
            Some(standing) => {
                let certificate = match &standing.route.cert {
                    Some(id) => Some(self.pki.material(id).await?),
                    None => None,
                };
                self.proxy.put(standing.clone(), certificate)?;
            }
            None => self.proxy.remove(key),
        }
        tokio::time::timeout(within, self.proxy.settled(key))
            .await
            .map_err(|_| Error::new(Code::ProxyUnavailable, format!("`{key}` never settles")))
    }

    async fn settle_proof(&self, _: &str, _: bool) -> Result<()> {
        Ok(())
    }

    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Option<Drained>> {
        Ok(self.proxy.drain(key, backend, within).await)
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        Ok(self.proxy.figures())
    }
}
