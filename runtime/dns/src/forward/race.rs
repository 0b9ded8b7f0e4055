//! Owns the order in which upstreams are asked, and when the next one is: at once after a failure, a moment later
//! after silence. The first good answer counts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::peer::{Peer, now};
use super::question::Moment;
use super::reply::Reply;
use super::request::Asking;
use super::trace::{Failure, Steps};

/// All upstreams together have this long; clients give up after about as much.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to ask, best first.
#[derive(Clone, Default)]
pub(super) struct Upstreams {
    peers: Vec<Arc<Peer>>,
}

impl Upstreams {
    /// In the order of the settings, fallback after the others.
    pub(super) fn new(peers: Vec<Arc<Peer>>) -> Self {
        Self { peers }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Those who did not answer lately come last, which makes the fallback first when all resolvers are silent.
    fn ordered(&self, now: Moment) -> Vec<Arc<Peer>> {
        let (last, mut first): (Vec<_>, Vec<_>) =
            self.peers.iter().cloned().partition(|peer| peer.health().is_last(now));
        first.extend(last);
        first
    }

    /// Asks until one answers.
    ///
    /// # Errors
    /// Nobody did: the failure that says most.
    pub(super) async fn ask(&self, asking: &Asking, steps: &Steps) -> Result<Reply, Failure> {
        timeout(PATIENCE, self.race(asking, steps)).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn race(&self, asking: &Asking, steps: &Steps) -> Result<Reply, Failure> {
        let mut rest = self.ordered(now()).into_iter();
        let mut running = FuturesUnordered::new();
        let mut failure = Failure::TimedOut;
        let mut hedge = Duration::ZERO;
        let mut launch = |running: &mut FuturesUnordered<_>| {
            let peer = rest.next()?;
            let wait = peer.health().hedge();
            running.push(async move { peer.ask(asking, steps).await });
            Some(wait)
        };
        if let Some(wait) = launch(&mut running) {
            hedge = wait;
        }
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                outcome = running.next() => match outcome {
                    Some(Ok(reply)) => return Ok(reply),
                    Some(Err(next)) => {
                        failure = telling(failure, next);
                        match launch(&mut running) {
                            Some(wait) => hedge = wait,
                            None if running.is_empty() => return Err(failure),
                            None => more = false,
                        }
                    }
                    None => return Err(failure),
                },
                () = tokio::time::sleep(hedge), if more => match launch(&mut running) {
                    Some(wait) => hedge = wait,
                    None => more = false,
                },
            }
        }
    }
}

/// What an upstream said tells more than that another one said nothing.
fn telling(old: Failure, new: Failure) -> Failure {
    let weight = |failure: &Failure| match failure {
        Failure::Refused { ede: Some(_), .. } => 3,
        Failure::Refused { .. } => 2,
        Failure::TimedOut | Failure::Overtaken | Failure::Busy => 0,
        _ => 1,
    };
    if weight(&new) >= weight(&old) { new } else { old }
}
