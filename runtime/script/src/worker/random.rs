//! Owns the random numbers of a run: one generator for each branch, seeded by the run's seed and the branch's scope, so
//! that a replay draws the same numbers whatever the other branches do.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The generators of all branches.
pub(super) struct Streams {
    seed: u64,
    streams: Vec<ChaCha8Rng>,
}

impl Streams {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, streams: Vec::new() }
    }

    /// Starts the stream of the branch `scope`; its number.
    pub(super) fn start(&mut self, scope: &[u8]) -> usize {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(scope);
        self.streams.push(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()));
        self.streams.len() - 1
    }

    /// A number of at least 0 and less than 1.
    pub(super) fn number(&mut self, stream: usize) -> f64 {
        let bits = self.streams[stream].next_u64() >> 11;
        bits as f64 / (1u64 << 53) as f64
    }

    /// A version 4 UUID.
    pub(super) fn uuid(&mut self, stream: usize) -> String {
        let mut bytes = [0; 16];
        self.streams[stream].fill_bytes(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_draws_the_same_numbers_whatever_others_do() {
        let mut alone = Streams::new(7);
        let branch = alone.start(b"parallel.a");
        let expected: Vec<f64> = (0..3).map(|_| alone.number(branch)).collect();

        let mut among_others = Streams::new(7);
        let other = among_others.start(b"parallel.b");
        let branch = among_others.start(b"parallel.a");
        let drawn: Vec<f64> = (0..3)
            .map(|_| {
                among_others.number(other);
                among_others.number(branch)
            })
            .collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let mut streams = Streams::new(1);
        let stream = streams.start(b"");
        let uuid = streams.uuid(stream);
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]));
    }
}
