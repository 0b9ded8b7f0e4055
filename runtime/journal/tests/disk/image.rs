//! Owns what a disk may hold after the power was lost: all of what was synced, and any part of the rest.

use std::path::Path;

use tempfile::TempDir;

use crate::recorder::{File, Files, Pending};

/// What survives of it as a whole or not at all.
const SECTOR: usize = 512;

/// What becomes of the unsynced bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Survives {
    Nothing,
    Everything,
    /// Each sector by itself, with this many chances of 8.
    Some {
        seed: u64,
        chances: u64,
    },
}

/// Numbers from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64: short, and good enough to choose with.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// The content of one file, or nothing where it is not there.
fn content(file: &File, survives: Survives, dice: &mut Dice) -> Option<Vec<u8>> {
    let mut keep = || match survives {
        Survives::Nothing => false,
        Survives::Everything => true,
        Survives::Some { chances, .. } => dice.roll(8) < chances,
    };
    let mut content = match (&file.durable, &file.deleted) {
        (Some(durable), _) => durable.clone(),
        // Its deletion was lost, and nothing has been written to its name since that is known to be there.
        (None, Some(deleted)) if file.pending.is_empty() => return (!keep()).then(|| deleted.clone()),
        (None, _) if file.pending.is_empty() || !keep() => return None,
        (None, _) => Vec::new(),
    };
    for pending in &file.pending {
        match pending {
            Pending::Truncate { .. } => {
                if keep() {
                    pending.apply(&mut content);
                }
            }
            Pending::Write { offset, data } => {
                for (part, offset) in sectors(*offset, data) {
                    if keep() {
                        Pending::Write { offset, data: part.to_vec() }.apply(&mut content);
                    }
                }
            }
        }
    }
    Some(content)
}

/// The parts of a write that lie in one sector each.
fn sectors(offset: usize, data: &[u8]) -> Vec<(&[u8], usize)> {
    let mut parts = Vec::new();
    let mut done = 0;
    while done < data.len() {
        let length = (SECTOR - (offset + done) % SECTOR).min(data.len() - done);
        parts.push((&data[done..done + length], offset + done));
        done += length;
    }
    parts
}

/// A folder with what survived.
pub(crate) fn restored(files: &Files, survives: Survives) -> TempDir {
    let folder = in_memory();
    let mut dice = Dice(if let Survives::Some { seed, .. } = survives { seed } else { 0 });
    for (name, file) in files {
        if let Some(content) = content(file, survives, &mut dice) {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
    }
    folder
}

pub(crate) fn in_memory() -> TempDir {
    tempfile::tempdir_in(Path::new("/dev/shm")).or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a_write_is_torn_at_the_borders_of_sectors() {
    let lengths: Vec<_> = sectors(500, &[0; 1000]).into_iter().map(|(part, at)| (part.len(), at)).collect();
    assert_eq!(lengths, [(12, 500), (512, 512), (476, 1024)]);
}
