//! Archives by the hundred, each damaged in its own way from a seed: extracted or refused with the code of an archive, in
//! time, with nothing written beside the folder and nothing left over of a refused one.

use std::fs;
use std::time::{Duration, Instant};

use effect::Code;
use serde_json::json;
use tar::{EntryType, Header};

use crate::archives::{archive, file, gzip, header, link, zstd};
use crate::bench::Bench;

const PATIENCE: Duration = Duration::from_secs(5);
const EACH: u64 = 60;

/// Numbers that are the same in every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

fn sound() -> Vec<u8> {
    let long = "n/".repeat(80) + "long\0";
    let length = long.len() as u64;
    let pax = b"14 mtime=1.00\n";
    archive(&[
        file("a/b"),
        (header("d/", EntryType::Directory, 0, 0o755), b""),
        (header("big", EntryType::Regular, 3000, 0o600), &[7; 3000]),
        (header("././@LongLink", EntryType::GNULongName, length, 0o644), long.as_bytes()),
        file("cut"),
        (header("pax", EntryType::XHeader, pax.len() as u64, 0o644), pax),
        file("timed"),
        file("last"),
    ])
}

/// Where the headers of [`sound`] lie, found by their mark.
fn headers(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len() / 512)
        .map(|block| block * 512)
        .filter(|at| bytes[at + 257..].starts_with(b"ustar"))
        .collect()
}

fn with_sum(bytes: &mut [u8], at: usize) {
    let mut block = Header::new_gnu();
    block.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
    block.set_cksum();
    bytes[at..at + 512].copy_from_slice(block.as_bytes());
}

/// One way of damaging an archive.
type Damage = fn(&mut Vec<u8>, &mut Numbers);

const WAYS: [(&str, Damage); 8] = [
    ("flipped", |bytes, numbers| {
        for _ in 0..=numbers.below(8) {
            let at = numbers.below(bytes.len());
            bytes[at] ^= 1 << numbers.below(8);
        }
    }),
    ("cut", |bytes, numbers| bytes.truncate(numbers.below(bytes.len()))),
    ("header with its sum put right", |bytes, numbers| {
        let all = headers(bytes);
        let at = all[numbers.below(all.len())];
        for _ in 0..=numbers.below(4) {
            bytes[at + numbers.below(512)] = numbers.byte();
        }
        with_sum(bytes, at);
    }),
    ("size", |bytes, numbers| {
        let all = headers(bytes);
        let at = all[numbers.below(all.len())];
        let sizes: [&[u8; 12]; 6] = [
            b"77777777777\0",
            b"00000000000\0",
            b"-0000000001\0",
            b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"zzzzzzzzzzzz",
        ];
        bytes[at + 124..at + 136].copy_from_slice(sizes[numbers.below(6)]);
        with_sum(bytes, at);
    }),
    ("kind", |bytes, numbers| {
        let all = headers(bytes);
        let at = all[numbers.below(all.len())];
        bytes[at + 156] = numbers.byte();
        with_sum(bytes, at);
    }),
    ("name", |bytes, numbers| {
        let all = headers(bytes);
        let at = all[numbers.below(all.len())];
        let names: [&[u8]; 8] = [b"../x", b"/x", b"a/../../x", b"\xff\xfe", b"a//b", b"./.", b"..", b"a\0b"];
        let name = names[numbers.below(8)];
        bytes[at..at + 100].fill(0);
        bytes[at..at + name.len()].copy_from_slice(name);
        with_sum(bytes, at);
    }),
    ("mixed up", |bytes, numbers| {
        let blocks = bytes.len() / 512;
        for _ in 0..=numbers.below(3) {
            let (from, to) = (numbers.below(blocks) * 512, numbers.below(blocks) * 512);
            bytes.copy_within(from..from + 512, to);
        }
    }),
    ("grown", |bytes, numbers| {
        let at = numbers.below(bytes.len() / 512) * 512;
        let more: Vec<u8> = (0..numbers.below(5000)).map(|_| numbers.byte()).collect();
        bytes.splice(at..at, more);
    }),
];

type Pack = fn(&[u8]) -> Vec<u8>;
const PACKERS: [(&str, Pack); 3] = [("tar", <[u8]>::to_vec), ("tar.zst", zstd), ("tar.gz", gzip)];

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn try_all(
    count: &mut usize,
    refused: &mut usize,
    make: impl Fn(&mut Numbers, Damage, Pack) -> Vec<u8>,
) {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    let before = descriptors();
    for (way, damage) in WAYS {
        for seed in 0..EACH {
            let (form, pack) = PACKERS[usize::try_from(seed % 3).unwrap()];
            let what = format!("{way}, {form}, seed {seed}");
            let bytes = make(&mut Numbers::of(seed + 1), damage, pack);
            fs::write(root.join("a.tar"), &bytes).unwrap();
            let started = Instant::now();
            let answer = script.call("files.extract", json!({ "path": "out", "archive": "a.tar" })).await;
            assert!(started.elapsed() < PATIENCE, "{what}: took {:?}", started.elapsed());
            let mut expected = vec!["a.tar"];
            match answer {
                Ok(_) => expected.push("out"),
                Err(error) => {
                    *refused += 1;
                    let known = [Code::ArchiveBroken, Code::ArchiveRefused, Code::TooLarge];
                    assert!(known.contains(&error.code), "{what}: {error}");
                    assert!(error.message.len() < 4096, "{what}: a long error");
                    assert!(!error.message.contains(|c: char| c.is_control()), "{what}: {:?}", error.message);
                }
            }
            *count += 1;
            let mut found: Vec<String> = fs::read_dir(&root)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            found.sort();
            assert_eq!(found, expected, "{what}");
            if root.join("out").exists() {
                fs::remove_dir_all(root.join("out")).unwrap();
            }
        }
    }
    assert_eq!(descriptors(), before);
    assert!(!root.parent().unwrap().join("x").exists());
}

#[tokio::test]
async fn an_archive_that_was_damaged_before_it_was_packed_does_no_harm() {
    let (mut count, mut refused) = (0, 0);
    try_all(&mut count, &mut refused, |numbers, damage, pack| {
        let mut bytes = sound();
        damage(&mut bytes, numbers);
        pack(&bytes)
    })
    .await;
    assert!(count >= 480 && refused > 250, "{refused} of {count} were refused");
}

#[tokio::test]
async fn an_archive_that_was_damaged_after_it_was_packed_does_no_harm() {
    let (mut count, mut refused) = (0, 0);
    try_all(&mut count, &mut refused, |numbers, _, pack| {
        let mut bytes = pack(&sound());
        // Only these know nothing of what lies within.
        WAYS[numbers.below(2)].1(&mut bytes, numbers);
        bytes
    })
    .await;
    assert!(count >= 480 && refused > 250, "{refused} of {count} were refused");
}

#[tokio::test]
async fn a_chain_of_links_and_folders_does_no_harm() {
    let bench = Bench::new();
    let script = bench.run().await;
    let deep = "d/".repeat(49) + "x";
    let chains = [
        archive(&[link("a", EntryType::Symlink, "."), link("a/b", EntryType::Symlink, ".."), file("a/b/x")]),
        archive(&[link("a", EntryType::Link, "../a.tar")]),
        archive(&[file(&deep), link(&deep, EntryType::Symlink, "/etc")]),
        [archive(&[file("one")]), archive(&[file("two"), file("../x")])].concat(),
    ];
    for (index, bytes) in chains.iter().enumerate() {
        fs::write(bench.root().join("a.tar"), bytes).unwrap();
        let answer = script.call("files.extract", json!({ "path": "out", "archive": "a.tar" })).await;
        assert!(!bench.root().parent().unwrap().join("x").exists());
        match answer {
            // What follows the end of an archive is no part of it.
            Ok(_) => assert_eq!(index, 3),
            Err(error) => assert_eq!(error.code, Code::ArchiveRefused, "{index}: {error}"),
        }
    }
}
