//! Snapshots of real folders: what comes back is what was there.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use age::x25519::{Identity, Recipient};

use super::about::{End, FORMAT, Head};
use super::compare::is_same;
use super::exchange::Exchange;
use super::pack::{Packing, pack};
use super::read::{self, Next, each};
use super::take::open_folder;
use super::unpack::Unpacker;
use super::*;
use effect::{Code, Result};

const BOUNDS: Bounds = Bounds { bytes: 1 << 30, entries: 10_000 };

struct Place {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("data")).unwrap();
        Self { _folder: folder, root }
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn file(&self) -> PathBuf {
        self.root.join("data.tar.zst")
    }

    fn take(&self, bounds: Bounds, still: bool) -> Result<End> {
        self.take_for(None, bounds, still)
    }

    fn take_for(&self, seal: Option<Recipient>, bounds: Bounds, still: bool) -> Result<End> {
        let data = self.data();
        let head = Head {
            mcrun_snapshot: FORMAT,
            service: "web".to_owned(),
            source: data.to_string_lossy().into_owned(),
            node: "rift".to_owned(),
            taken: 1_700_000_000_000,
        };
        let folder = open_folder(&data)?;
        let packing = Packing { folder, root: &data, head, level: 3, bounds, still, seal };
        pack(&mut fs::File::create(self.file()).unwrap(), packing)
    }

    fn verify(&self) -> Result<Option<(Head, End)>> {
        self.verify_with(None)
    }

    fn verify_with(&self, key: Option<&Identity>) -> Result<Option<(Head, End)>> {
        let file = read::open(&self.file())?.unwrap();
        each(&self.file(), file, key, BOUNDS, &mut |_| Ok(()), &mut |_, _| Ok(Next::GoOn))
    }

    fn restore(&self, target: &Path) -> Result<Option<PathBuf>> {
        let from = self.file();
        let file = read::open(&from)?.unwrap();
        Exchange::begin(target, "token")?.carry_out("kept", |new| {
            let mut unpacker = Unpacker::new(new, &from, target);
            each(&from, file, None, BOUNDS, &mut |_| Ok(()), &mut |item, content| {
                unpacker.add(item, content).map(|()| Next::GoOn)
            })?;
            unpacker.finish()
        })
    }

    fn is_same(&self, folder: &Path) -> bool {
        let file = read::open(&self.file()).unwrap().unwrap();
        let opened = open_folder(folder).unwrap();
        is_same(&self.file(), file, None, &opened, folder, BOUNDS, &mut |_| Ok(())).unwrap()
    }
}

fn fill(data: &Path) {
    let long = "a-long-name-".repeat(12);
    fs::create_dir_all(data.join("deep/er").join(&long)).unwrap();
    fs::write(data.join("empty"), "").unwrap();
    fs::write(data.join("deep/file"), "x".repeat(1_000_003)).unwrap();
    fs::write(data.join("deep/er").join(&long).join(&long), "long").unwrap();
    fs::write(data.join(std::ffi::OsStr::from_bytes(b"not \xff text\n")), "odd").unwrap();
    fs::set_permissions(data.join("empty"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("../outside/of/it", data.join("link")).unwrap();
    symlink(format!("./{}//{}", "far/".repeat(50), "away"), data.join("deep/long-link")).unwrap();
    fs::hard_link(data.join("deep/file"), data.join("same-file")).unwrap();
    let old = fs::File::options().write(true).open(data.join("empty")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    fs::set_permissions(data, fs::Permissions::from_mode(0o750)).unwrap();
}

#[test]
fn what_comes_back_is_what_was_there() {
    let place = Place::new();
    fill(&place.data());
    let end = place.take(BOUNDS, true).unwrap();
    assert_eq!((end.skipped, end.changed), (0, 0));
    let (head, read) = place.verify().unwrap().unwrap();
    assert_eq!((head.service.as_str(), read), ("web", end));
    let target = place.root.join("again");
    assert_eq!(place.restore(&target).unwrap(), None);
    assert!(place.is_same(&target) && place.is_same(&place.data()));
    let stat = |name: &str| fs::symlink_metadata(target.join(name)).unwrap();
    assert_eq!((stat("empty").mode() & 0o7777, stat("empty").mtime()), (0o640, 1_000_000_000));
    assert_eq!(stat("").mode() & 0o7777, 0o750);
    assert_eq!(stat("same-file").ino(), stat("deep/file").ino());
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("../outside/of/it"));
    assert_eq!(
        fs::read_link(target.join("deep/long-link")).unwrap(),
        fs::read_link(place.data().join("deep/long-link")).unwrap()
    );
}

#[test]
fn any_difference_is_noticed() {
    let changes: [fn(&Path); 6] = [
        |data| fs::write(data.join("more"), "").unwrap(),
        |data| fs::remove_file(data.join("link")).unwrap(),
        |data| fs::set_permissions(data.join("empty"), fs::Permissions::from_mode(0o600)).unwrap(),
        |data| {
            // The same size and time, and another content.
            let modified = fs::metadata(data.join("deep/file")).unwrap().modified().unwrap();
            fs::write(data.join("deep/file"), "y".repeat(1_000_003)).unwrap();
            fs::File::options()
                .write(true)
                .open(data.join("deep/file"))
                .unwrap()
                .set_modified(modified)
                .unwrap();
        },
        |data| {
            fs::remove_file(data.join("same-file")).unwrap();
            fs::copy(data.join("deep/file"), data.join("same-file")).unwrap();
        },
        |data| {
            fs::remove_file(data.join("link")).unwrap();
            symlink("elsewhere", data.join("link")).unwrap();
        },
    ];
    for change in changes {
        let place = Place::new();
        fill(&place.data());
        place.take(BOUNDS, true).unwrap();
        assert!(place.is_same(&place.data()));
        change(&place.data());
        assert!(!place.is_same(&place.data()));
    }
}

#[test]
fn a_torn_or_changed_snapshot_is_refused_and_nothing_is_put_in_place() {
    let place = Place::new();
    fill(&place.data());
    place.take(BOUNDS, true).unwrap();
    let whole = fs::read(place.file()).unwrap();
    let target = place.root.join("again");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "stays").unwrap();
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"no archive at all".to_vec()];
    damaged.extend((1..12).map(|part| whole[..whole.len() * part / 12].to_vec()));
    damaged.push(whole[..whole.len() - 1].to_vec());
    damaged.extend((1..12).map(|part| {
        let mut changed = whole.clone();
        let place = changed.len() * part / 12;
        changed[place] ^= 0x40;
        changed
    }));
    for (number, bytes) in damaged.iter().enumerate() {
        fs::write(place.file(), bytes).unwrap();
        assert_eq!(place.verify().unwrap_err().code, Code::ArchiveBroken, "{number}");
        let code = place.restore(&target).unwrap_err().code;
        assert!(
            matches!(code, Code::ArchiveBroken | Code::ArchiveRefused | Code::FileFailed),
            "{number}: {code}"
        );
        assert_eq!(fs::read_to_string(target.join("mine")).unwrap(), "stays");
        assert_eq!(fs::read_dir(&place.root).unwrap().count(), 3, "{number}");
    }
}

#[test]
fn a_folder_that_is_written_to_is_packed_whole_or_refused() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = Place::new();
    fill(&place.data());
    let over = AtomicBool::new(false);
    let (growing, data) = (place.data().join("growing"), place.data());
    fs::write(&growing, vec![7; 8 << 20]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u32;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                let file = fs::File::options().write(true).open(&growing).unwrap();
                file.set_len(if number.is_multiple_of(2) { 8 << 20 } else { 3 << 20 }).unwrap();
                fs::write(data.join(format!("passing-{}", number % 7)), "x").unwrap();
                let _ = fs::remove_file(data.join(format!("passing-{}", (number + 3) % 7)));
            }
        });
        let mut refused = None;
        for _ in 0..200 {
            match place.take(BOUNDS, true) {
                Ok(_) => assert!(place.verify().unwrap().is_some()),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let refused = refused.unwrap();
        assert!(refused.retryable && refused.message.contains("changed while it was packed"), "{refused}");
        let live = place.take(BOUNDS, false).unwrap();
        over.store(true, Ordering::Relaxed);
        assert_eq!(place.verify().unwrap().unwrap().1, live);
    });
    place.restore(&place.root.join("again")).unwrap();
    assert_eq!(fs::read(place.root.join("again/deep/file")).unwrap().len(), 1_000_003);
}

#[test]
fn a_sealed_snapshot_is_opened_by_its_key_alone_and_says_what_it_is_of_without() {
    let place = Place::new();
    fill(&place.data());
    let (key, another) = (Identity::generate(), Identity::generate());
    let end = place.take_for(Some(key.to_public()), BOUNDS, true).unwrap();
    let (head, read) = place.verify_with(Some(&key)).unwrap().unwrap();
    assert_eq!(read, end);
    let open = || read::open(&place.file()).unwrap().unwrap();
    assert_eq!(read::head(&place.file(), open()).unwrap(), head);
    let code = |key: Option<&Identity>| place.verify_with(key).unwrap_err().code;
    assert_eq!((code(None), code(Some(&another))), (Code::ArchiveRefused, Code::ArchiveRefused));
    let whole = fs::read(place.file()).unwrap();
    assert!(!whole.windows(12).any(|bytes| bytes == b"a-long-name-"), "what is in it cannot be read");
    let mut damaged: Vec<Vec<u8>> = (0..12).map(|part| whole[..whole.len() * part / 12].to_vec()).collect();
    damaged.push(whole[..whole.len() - 1].to_vec());
    damaged.extend((0..12).map(|part| {
        let mut changed = whole.clone();
        let place = changed.len() * part / 12;
        changed[place] ^= 0x01;
        changed
    }));
    for (number, bytes) in damaged.iter().enumerate() {
        fs::write(place.file(), bytes).unwrap();
        let code = code(Some(&key));
        assert!(matches!(code, Code::ArchiveBroken | Code::ArchiveRefused), "{number}: {code}");
    }
}

#[test]
fn bounds_hold() {
    let place = Place::new();
    fill(&place.data());
    let few = place.take(Bounds { entries: 3, ..BOUNDS }, false).unwrap_err();
    let small = place.take(Bounds { bytes: 1000, ..BOUNDS }, false).unwrap_err();
    assert_eq!((few.code, small.code), (Code::TooLarge, Code::TooLarge));
    place.take(BOUNDS, false).unwrap();
    for bounds in [Bounds { entries: 3, ..BOUNDS }, Bounds { bytes: 1000, ..BOUNDS }] {
        let file = read::open(&place.file()).unwrap().unwrap();
        let read = each(&place.file(), file, None, bounds, &mut |_| Ok(()), &mut |_, _| Ok(Next::GoOn));
        assert_eq!(read.unwrap_err().code, Code::TooLarge);
    }
}

/// An archive that somebody else has made, with the beginning and the end of a snapshot.
fn forged(place: &Place, build: impl FnOnce(&mut tar::Builder<&mut Vec<u8>>)) {
    let mut bytes = Vec::new();
    let mut builder = tar::Builder::new(&mut bytes);
    let head = Head {
        mcrun_snapshot: FORMAT,
        service: "web".to_owned(),
        source: "/srv/web".to_owned(),
        node: "rift".to_owned(),
        taken: 0,
    };
    about::write(&mut builder, &head).unwrap();
    build(&mut builder);
    let sum = blake3::hash(builder.get_ref()).to_hex().to_string();
    about::write(&mut builder, &End { entries: 1, bytes: 0, skipped: 0, changed: 0, sum }).unwrap();
    builder.finish().unwrap();
    drop(builder);
    fs::write(place.file(), zstd::encode_all(bytes.as_slice(), 1).unwrap()).unwrap();
}

#[test]
fn an_archive_that_means_harm_is_refused() {
    fn header(kind: tar::EntryType, name: &str, link: &str, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_mtime(0);
        header.set_link_name_literal(link).unwrap();
        header.set_size(size);
        header.set_cksum();
        header
    }
    use tar::EntryType::{Block, Link, Regular, Symlink};
    let harm: [&[(tar::EntryType, &str, &str)]; 6] = [
        &[(Regular, "../out", "")],
        &[(Regular, "/etc/out", "")],
        &[(Symlink, "way", "/tmp"), (Regular, "way/out", "")],
        &[(Link, "out", "../../etc/passwd")],
        &[(Symlink, "way", "/etc"), (Link, "out", "way/passwd")],
        &[(Block, "device", "")],
    ];
    for entries in harm {
        let place = Place::new();
        forged(&place, |builder| {
            for (kind, name, link) in entries {
                builder.append(&header(*kind, name, link, 0), std::io::empty()).unwrap();
            }
        });
        let error = place.restore(&place.root.join("again")).unwrap_err();
        assert_eq!(error.code, Code::ArchiveRefused, "{entries:?}: {error}");
        assert_eq!(fs::read_dir(&place.root).unwrap().count(), 2, "{entries:?}");
    }
}
