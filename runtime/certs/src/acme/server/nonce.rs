//! Owns the nonces against replays (RFC 8555, section 6.5): handed out, taken back once, forgotten at the next start.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::problem::Outcome;
use super::random;

/// The nonces that wait to be used.
#[derive(Debug)]
pub(super) struct Nonces {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    known: HashSet<String>,
    /// In the order in which they were made; used ones leave their place when it is their turn.
    order: VecDeque<String>,
}

impl Nonces {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), waiting: Mutex::default() }
    }

    /// A new one.
    pub(super) fn issue(&self) -> Outcome<String> {
        let nonce = random::word()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.known.insert(nonce.clone());
        waiting.order.push_back(nonce.clone());
        while waiting.order.len() > self.most {
            if let Some(oldest) = waiting.order.pop_front() {
                waiting.known.remove(&oldest);
            }
        }
        Ok(nonce)
    }

    /// Takes one back; false where it was never handed out, was used, or is too old.
    pub(super) fn take(&self, nonce: &str) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).known.remove(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_counts_once() {
        let nonces = Nonces::new(10);
        let nonce = nonces.issue().unwrap();
        assert!(random::is_word(&nonce));
        assert!(nonces.take(&nonce));
        assert!(!nonces.take(&nonce));
        assert!(!nonces.take("AAAAAAAAAAAAAAAAAAAAAA"));
    }

    #[test]
    fn only_so_many_nonces_are_kept() {
        let nonces = Nonces::new(100);
        let first = nonces.issue().unwrap();
        let later: Vec<String> = (0..1000).map(|_| nonces.issue().unwrap()).collect();
        assert!(!nonces.take(&first));
        assert!(later[900..].iter().all(|nonce| nonces.take(nonce)));
        let waiting = nonces.waiting.lock().unwrap();
        assert!(waiting.order.len() <= 100 && waiting.known.is_empty());
    }
}
