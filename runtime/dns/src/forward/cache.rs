//! Owns where answers are kept: bounded by bytes, and not washed out by names that are asked for once.

use std::sync::Arc;

use quick_cache::sync::{Cache as Quick, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::stored::Stored;

/// What the cache itself needs for an entry beyond key and answer.
const OVERHEAD: u64 = 128;
/// What an entry takes in the mean; a guess that only sizes the first allocation.
const USUAL_ENTRY: u64 = 512;
/// A shard must hold the longest answer several times over.
const SMALLEST_SHARD: u64 = 512 * 1024;
const MOST_SHARDS: u64 = 16;

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<Stored>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, stored: &Arc<Stored>) -> u64 {
        key.len() as u64 + stored.size() as u64 + OVERHEAD
    }
}

/// Answers by question.
pub(super) struct Cache {
    answers: Quick<Box<[u8]>, Arc<Stored>, Bytes>,
}

impl Cache {
    /// A cache of at most `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        let shards = (size / SMALLEST_SHARD).clamp(1, MOST_SHARDS);
        let entries = (size / USUAL_ENTRY) as usize;
        let answers = match OptionsBuilder::new()
            .shards(shards as usize)
            .estimated_items_capacity(entries)
            .weight_capacity(size)
            .build()
        {
            Ok(options) => Quick::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Quick::with_weighter(entries, size, Bytes),
        };
        Self { answers }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Stored>> {
        self.answers.get(key)
    }

    pub(super) fn insert(&self, key: &[u8], stored: Arc<Stored>) {
        self.answers.insert(key.into(), stored);
    }

    pub(super) fn clear(&self) {
        self.answers.clear();
    }

    pub(super) fn entries(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.answers.weight()
    }
}
