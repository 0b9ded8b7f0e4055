//! The ACME server (RFC 8555) on whatever authority stands behind it: anything on the network gets its certificates
//! here. A pure service: a request and its sender go in, a response comes out.
//!
//! Owns the protocol, and what it records: accounts, orders, the keys that let clients register. Leaves signing and policy
//! to [`Signer`], looking at names to [`Prover`], and sockets to the daemon.

mod account;
mod answer;
mod authorization;
pub mod eab;
mod finalize;
pub mod fuzz;
mod jwk;
mod jws;
mod limits;
mod nonce;
mod order;
mod problem;
pub mod prover;
mod prune;
mod random;
mod record;
mod renewal;
mod revoke;
mod route;
mod settings;
mod signer;
mod store;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use effect::{Code, Error, Result, Sealer};
use http::{Request, Response};
use journal::Journal;
use tokio::sync::{OnceCell, Semaphore};

pub use self::jws::LONGEST as LONGEST_BODY;
use self::limits::Counter;
use self::nonce::Nonces;
use self::problem::Outcome;
pub use self::prover::{Network, Prover};
use self::settings::Base;
pub use self::settings::{Limits, Settings};
pub use self::signer::{SignOrder, Signer, Standing};
use self::store::Store;

/// So many accounts with slow hosts it takes until others wait for their proofs.
const SHARES: usize = 8;

/// The server. Clones share it.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("base", &self.inner.base).finish_non_exhaustive()
    }
}

/// What the server works with.
struct Inner {
    settings: Settings,
    base: Base,
    store: Store,
    sealer: Arc<Sealer>,
    signer: Arc<dyn Signer>,
    prover: Arc<dyn Prover>,
    nonces: Nonces,
    proofs: Semaphore,
    /// What of them one account may have at once, by the stripe of the account.
    shares: Vec<Semaphore>,
    looking: authorization::Looking,
    failures: Counter,
    registrations: Counter,
    /// How many accounts there are, counted when it first matters.
    accounts: OnceCell<AtomicUsize>,
}

impl Server {
    /// A server that records in `journal` under `node`.
    ///
    /// # Errors
    /// `MC-U002` where the settings make no sense.
    pub fn new(
        settings: Settings,
        node: &str,
        journal: Journal,
        sealer: Arc<Sealer>,
        signer: Arc<dyn Signer>,
        prover: Arc<dyn Prover>,
    ) -> Result<Self> {
        let base = Base::new(&settings)?;
        let proofs = settings.limits.proofs.clamp(1, Semaphore::MAX_PERMITS);
        let share = proofs.div_ceil(SHARES);
        let inner = Inner {
            base,
            store: Store::new(journal, node),
            sealer,
            signer,
            prover,
            nonces: Nonces::new(settings.limits.nonces),
            proofs: Semaphore::new(proofs),
            shares: (0..store::LOCKS).map(|_| Semaphore::new(share)).collect(),
            looking: authorization::Looking::default(),
            failures: Counter::default(),
            registrations: Counter::default(),
            accounts: OnceCell::new(),
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The address of the directory, which clients are given.
    #[must_use]
    pub fn directory(&self) -> String {
        self.inner.base.at(route::DIRECTORY)
    }

    /// Whether a path is one of the server's; where others share its port, the rest is theirs.
    #[must_use]
    pub fn owns(&self, path: &str) -> bool {
        self.inner.base.beneath(path).is_some()
    }

    /// Answers a request of `peer`. What is refused is answered as well, so there is no error.
    pub async fn handle(&self, request: Request<Bytes>, peer: SocketAddr) -> Response<Bytes> {
        self.inner.respond(&request, peer).await
    }

    /// Takes out what has expired; then, how much that was. To be called every hour or so.
    ///
    /// # Errors
    /// Where the journal cannot be read or written.
    pub async fn prune(&self) -> Result<usize> {
        let failed = |problem: problem::Problem| Error::new(Code::Internal, problem.detail).retryable();
        self.inner.prune().await.map_err(failed)
    }
}

impl Inner {
    /// How many accounts there are.
    async fn accounts(&self) -> Outcome<usize> {
        let count = || async {
            Ok::<_, problem::Problem>(AtomicUsize::new(self.store.count(record::ACCOUNT).await?))
        };
        Ok(self.accounts.get_or_try_init(count).await?.load(Ordering::Relaxed))
    }

    fn registered(&self) {
        if let Some(accounts) = self.accounts.get() {
            accounts.fetch_add(1, Ordering::Relaxed);
        }
    }
}
