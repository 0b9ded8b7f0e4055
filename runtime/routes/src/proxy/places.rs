//! Owns how many connections there may be: altogether, of one address, and of those that have not said yet what they want.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tally::{Counted, Tally};

/// The places that connections take.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Arc<Tally>,
    unfinished: Arc<Tally>,
    free: Arc<Semaphore>,
    of_one: usize,
    most_unfinished: usize,
    clients: Arc<Mutex<HashMap<IpAddr, usize, RandomState>>>,
}

/// A connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    _free: OwnedSemaphorePermit,
    _taken: Counted,
}

/// One of the places that an address may take.
#[derive(Debug)]
pub(crate) struct OfClient {
    address: IpAddr,
    clients: Arc<Mutex<HashMap<IpAddr, usize, RandomState>>>,
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.address);
            }
        }
    }
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            taken: Arc::default(),
            unfinished: Arc::default(),
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            // One address leaves room for three like it.
            of_one: (most / 4).max(16),
            most_unfinished: (most / 2).max(16),
            clients: Arc::default(),
        }
    }

    /// Every connection.
    pub(crate) fn taken(&self) -> &Tally {
        &self.taken
    }

    /// Waits for a place.
    pub(crate) async fn next(&self) -> Option<Place> {
        let free = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(Place { _free: free, _taken: self.taken.enter() })
    }

    /// A place among those that have not said what they want.
    pub(crate) fn unfinished(&self) -> Option<Counted> {
        self.unfinished.enter_within(self.most_unfinished)
    }

    /// One of the places of `address`.
    pub(crate) fn of(&self, address: IpAddr) -> Option<OfClient> {
        let address = address.to_canonical();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(address).or_default();
        if *count >= self.of_one {
            return None;
        }
        *count += 1;
        Some(OfClient { address, clients: Arc::clone(&self.clients) })
    }
}
