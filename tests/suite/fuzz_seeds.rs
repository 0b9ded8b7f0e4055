//! The seeds of fuzzing, and what is made of them by chance that is the same in every run, through the functions that
//! `make fuzz` drives. Whatever fuzzing finds becomes a seed, and so is tried here for ever.

use std::path::Path;

use fuzz_targets::{TARGETS, Target};

use crate::harness::report;

/// How much computing one input may take, in hundredths of a second: a disk that others keep busy is not its doing.
const MOST_TICKS: u64 = 500;
const MADE_OF_EACH: u64 = 150;

/// The processor time of this process so far.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

/// `seed` changed in a few places.
fn changed(seed: &[u8], others: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |limit: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % limit.max(1) as u64).unwrap()
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=below(5) {
        let at = below(bytes.len());
        match below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 0xff, 0x7f, 0x80, b'"', b'0', b'-', b'{'][below(8)],
            2 => bytes.truncate(at),
            3 => {
                let other = &others[below(others.len())];
                let start = below(other.len());
                bytes.splice(at..at, other[start..].iter().copied().take(512));
            }
            4 => {
                let end = (at + 1 + below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + 1 + below(32)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

fn replay(name: &str, target: Target) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
    let mut count = 0;
    for (file, seed) in files.iter().zip(&seeds) {
        for number in 0..=MADE_OF_EACH {
            let bytes = if number == 0 { seed.clone() } else { changed(seed, &seeds, number) };
            let started = ticks();
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{}: changed in way {number}", file.display());
            let took = ticks() - started;
            assert!(took < MOST_TICKS, "{}: way {number} took {took}0 ms", file.display());
            count += 1;
        }
    }
    count
}

#[test]
fn every_seed_of_fuzzing_is_taken_in() {
    let count: usize = TARGETS.iter().map(|(name, target)| replay(name, *target)).sum();
    assert!(count > 2000, "{count}");
    report("seeds of fuzzing and what is made of them", count, "inputs", 0);
}
