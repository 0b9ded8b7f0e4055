//! Owns what a run holds: the lease of every service that it changes, from the first change to the run's end, so that
//! soaking and health checks are under it as well.

use std::time::Duration;

use journal::{Fence, Identity, Journal, Lease, RunId};
use tokio::sync::watch;

use super::{Event, Request, Session, Stop};
use crate::{Error, Result};

/// How often a lease is tried that somebody else holds. The kernel frees it, and tells nobody.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// How long a run waits for a lease that somebody else holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// Not at all.
    #[default]
    None,
    /// So long.
    For(Duration),
    /// As long as it takes.
    Endless,
}

/// Takes the lease of a service, waiting as `patience` says; `waits` is told once who holds it.
///
/// # Errors
/// `MC-J003` when somebody else holds it still.
pub async fn take_lease(
    journal: &Journal,
    (node, service): (&str, &str),
    (run, why): (&RunId, &str),
    patience: Patience,
    waits: impl FnOnce(&Error),
) -> Result<Lease> {
    let first = match journal.lease(node, service, run, why).await {
        Err(error @ journal::Error::Locked { .. }) if patience != Patience::None => error,
        taken => return Ok(taken?),
    };
    waits(&Error::from(first));
    let taken = async {
        loop {
            match journal.lease(node, service, run, why).await {
                Err(journal::Error::Locked { .. }) => tokio::time::sleep(BETWEEN_ATTEMPTS).await,
                taken => return taken,
            }
        }
    };
    match patience {
        Patience::For(time) => match tokio::time::timeout(time, taken).await {
            Ok(taken) => Ok(taken?),
            // Who holds it now may be another than at first.
            Err(_) => Ok(journal.lease(node, service, run, why).await?),
        },
        _ => Ok(taken.await?),
    }
}

impl Session {
    /// Holds the lease of a service until the run ends.
    pub(super) async fn hold(&self, service: &str, request: &Request) -> Result<(), Stop> {
        let name = &request.identity.name;
        let why = match &request.place {
            Some(place) => format!("{place} {name}"),
            None => name.clone(),
        };
        self.lease(service, &why, &request.identity).await.map_err(|stop| match stop {
            Stop::Pause(error) => Stop::Pause(self.attribute(error, request)),
            stop => stop,
        })?;
        self.progress().under.insert(request.identity.clone(), service.to_owned());
        Ok(())
    }

    /// Takes again what an earlier attempt at the run held, before anything else: what it did is not over.
    ///
    /// # Errors
    /// A [`Stop`] when somebody else holds one of them, or the run is to stop while it waits.
    pub async fn hold_again(&self) -> Result<(), Stop> {
        let identity = Identity { scope: String::new(), counter: 0, name: String::new() };
        for (node, service) in self.journal().held(&self.shared.run).await? {
            if node == self.shared.node {
                self.lease(&service, "goes on with what it did", &identity).await?;
            }
        }
        Ok(())
    }

    async fn lease(&self, service: &str, why: &str, identity: &Identity) -> Result<(), Stop> {
        // Two branches must not wait for one another.
        let _turn = self.leasing.lock().await;
        if self.progress().leases.contains_key(service) {
            return Ok(());
        }
        let shared = &self.shared;
        let waits = |error: &Error| {
            let reason = error.message.as_str();
            self.observer.event(Event::Held { identity, reason });
        };
        let place = (shared.node.as_str(), service);
        let taken = take_lease(&shared.journal, place, (&shared.run, why), self.patience, waits);
        let lease = tokio::select! {
            taken = taken => taken.map_err(Stop::Pause)?,
            () = asked_to_stop(self.stopping.clone()) => return Err(Stop::Unanswered),
        };
        self.progress().leases.insert(service.to_owned(), lease);
        Ok(())
    }

    /// Whether it holds the lease of any service: it may have changed what is recorded of one.
    #[must_use]
    pub fn holds_leases(&self) -> bool {
        !self.progress().leases.is_empty()
    }

    /// The lease that an effect acts under.
    pub(super) fn fence(&self, identity: &Identity) -> Option<Fence> {
        let progress = self.progress();
        let service = progress.under.get(identity)?;
        progress.leases.get(service).map(|lease| lease.fence().clone())
    }
}

async fn asked_to_stop(stopping: Option<watch::Receiver<bool>>) {
    let Some(mut stopping) = stopping else { return std::future::pending().await };
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        // Nobody can ask any more.
        std::future::pending().await
    }
}
