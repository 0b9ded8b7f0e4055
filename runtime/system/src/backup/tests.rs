//! Backups of real state directories: what comes back is what was there, and nothing else is put in place.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::effect::{Code, Result, Sealer, Timestamp};
use journal::{Expect, Journal, SystemClock, Write};
use zeroize::Zeroizing;

use super::*;

/// Nobody stops it.
static ON: AtomicBool = AtomicBool::new(false);

struct Place {
    folder: tempfile::TempDir,
    journal: Journal,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let journal = Journal::open(&state, Arc::new(SystemClock)).unwrap();
        Sealer::open(&state).unwrap();
        fs::write(state.join("root-1.passphrase"), "correct horse").unwrap();
        fs::create_dir_all(state.join("edge/zones")).unwrap();
        fs::write(state.join("edge/zones/mcrun.test.zone"), "a zone").unwrap();
        fs::write(state.join("edge/edge.log"), "a log").unwrap();
        fs::create_dir_all(state.join("process/web")).unwrap();
        fs::write(state.join("process/web/spec.json"), "{}").unwrap();
        fs::write(state.join("process/web/log"), "output").unwrap();
        let record = Write {
            kind: "service".to_owned(),
            node: "rift".to_owned(),
            name: "web".to_owned(),
            value: Some("{\"service\":\"web\",\"spec\":{}}".to_owned()),
            expect: Expect::Any,
        };
        journal.write(vec![record]).await.unwrap();
        Self { folder, journal }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    async fn take(&self, name: &str, passphrase: Option<&str>) -> Result<Taken> {
        let taking = Taking {
            out: self.path(name),
            node: "rift".to_owned(),
            taken: Timestamp(1_700_000_000_000),
            passphrase: passphrase.map(|text| Zeroizing::new(text.to_owned())),
            parents: false,
            token: "token".to_owned(),
        };
        take(&self.journal, taking).await
    }

    fn restore(&self, name: &str, state: &str) -> Result<Restored> {
        restore(&self.path(name), &mut || Ok(None), &self.path(state), &ON)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn beneath(folder: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let mode = fs::metadata(&entry).unwrap().permissions().mode() & 0o777;
                let name = entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, (fs::read(&entry).unwrap(), mode));
            }
        }
    }
    found
}

#[tokio::test]
async fn what_comes_back_is_what_was_there_to_the_byte() {
    let place = Place::new().await;
    let taken = place.take("backup", None).await.unwrap();
    assert_eq!(fs::metadata(place.path("backup")).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = place.restore("backup", "again").unwrap();
    assert_eq!((restored.rested, restored.found.inspected.services), (0, 1));
    let (before, mut after) = (beneath(&place.path("state")), beneath(&place.path("again")));
    let expected = [
        "edge/zones/mcrun.test.zone",
        "journal.db",
        "process/web/spec.json",
        "root-1.passphrase",
        "seal.key",
    ];
    assert_eq!(after.keys().collect::<Vec<_>>(), expected);
    assert_eq!(taken.manifest.files.iter().map(|kept| kept.path.as_str()).collect::<Vec<_>>(), expected);
    after.remove("journal.db");
    for (name, content) in after {
        assert_eq!(before[&name], content, "{name}");
    }
    let again = Journal::open(&place.path("again"), Arc::new(SystemClock)).unwrap();
    let records = (
        again.records("service", None).await.unwrap(),
        place.journal.records("service", None).await.unwrap(),
    );
    assert_eq!(records.0, records.1);
    assert_eq!(place.names(), ["again", "backup", "state"]);
    // A backup of what came back holds the very same.
    drop(again);
    let check = check(&place.path("backup"), &mut || Ok(None), &ON).unwrap();
    assert_eq!(check.manifest, taken.manifest);
    assert_eq!(check.passphrases, 1);
}

#[tokio::test]
async fn a_backup_is_not_restored_where_something_is() {
    let place = Place::new().await;
    place.take("backup", None).await.unwrap();
    assert_eq!(place.take("backup", None).await.unwrap_err().code, Code::FileFailed);
    assert_eq!(place.restore("backup", "state").unwrap_err().code, Code::StateUnusable);
    let lock = place.journal.lock_daemon().unwrap();
    let held = place.restore("backup", "state").unwrap_err();
    assert_eq!(held.code, Code::Locked);
    assert!(held.hint.unwrap().contains("stop it first"));
    drop(lock);
    fs::create_dir(place.path("empty")).unwrap();
    fs::set_permissions(place.path("empty"), fs::Permissions::from_mode(0o711)).unwrap();
    place.restore("backup", "empty").unwrap();
    assert_eq!(fs::metadata(place.path("empty")).unwrap().permissions().mode() & 0o777, 0o711);
    assert_eq!(place.names(), ["backup", "empty", "state"]);
}

#[tokio::test]
async fn a_torn_changed_or_foreign_backup_is_refused_and_nothing_is_put_in_place() {
    let place = Place::new().await;
    place.take("backup", None).await.unwrap();
    let whole = fs::read(place.path("backup")).unwrap();
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"no archive at all".to_vec()];
    damaged.extend((1..9).map(|part| whole[..whole.len() * part / 9].to_vec()));
    damaged.push(whole[..whole.len() - 1].to_vec());
    damaged.push([whole.clone(), b"more".to_vec()].concat());
    damaged.extend((1..9).map(|part| {
        let mut changed = whole.clone();
        let at = changed.len() * part / 9;
        changed[at] ^= 0x20;
        changed
    }));
    for (number, bytes) in damaged.iter().enumerate() {
        fs::write(place.path("damaged"), bytes).unwrap();
        let error = place.restore("damaged", "again").unwrap_err();
        assert_eq!(error.code, Code::BackupUnusable, "{number}: {error}");
        assert_eq!(place.names(), ["backup", "damaged", "state"], "{number}");
    }
    assert_eq!(place.restore("nowhere", "again").unwrap_err().code, Code::FileFailed);
}

/// A backup whose manifest and files are as given.
fn forged(file: &Path, manifest: &serde_json::Value, files: &[(&str, &[u8])]) {
    let mut builder = tar::Builder::new(Vec::new());
    let text = manifest.to_string();
    for (name, content) in [("manifest.json", text.as_bytes())].iter().chain(files) {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    fs::write(file, zstd::encode_all(builder.into_inner().unwrap().as_slice(), 1).unwrap()).unwrap();
}

#[tokio::test]
async fn a_newer_backup_and_one_that_means_harm_are_refused() {
    let place = Place::new().await;
    let manifest = |format: u32, database: u32, path: &str| {
        let file = serde_json::json!({ "path": path, "size": 1, "mode": 0o600, "sha256": "00" });
        serde_json::json!({
            "mcrun_backup": format, "mcrun": "9.9.9", "database": database, "node": "rift", "taken": 0, "files": [file],
        })
    };
    let refused = |manifest: &serde_json::Value, files: &[(&str, &[u8])]| {
        forged(&place.path("forged"), manifest, files);
        let error = place.restore("forged", "again").unwrap_err();
        assert_eq!(place.names(), ["forged", "state"]);
        error.code
    };
    assert_eq!(refused(&manifest(2, 1, "journal.db"), &[]), Code::StateNewer);
    assert_eq!(refused(&manifest(1, 9999, "journal.db"), &[]), Code::StateNewer);
    for path in ["../out", "/etc/out", "seal.key"] {
        assert_eq!(refused(&manifest(1, 1, path), &[]), Code::BackupUnusable, "{path}");
    }
    let plain = manifest(1, 1, "journal.db");
    assert_eq!(refused(&plain, &[("files/journal.db", b"x")]), Code::BackupUnusable);
    assert_eq!(refused(&plain, &[("files/../out", b"x")]), Code::BackupUnusable);
    assert_eq!(refused(&plain, &[("files/other", b"x")]), Code::BackupUnusable);
}

#[tokio::test]
async fn a_sealed_backup_is_opened_by_its_passphrase_alone() {
    let place = Place::new().await;
    place.take("sealed", Some("correct horse")).await.unwrap();
    let bytes = fs::read(place.path("sealed")).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(is_sealed(&place.path("sealed")).unwrap());
    let with = |passphrase: Option<&'static str>| {
        let given = passphrase.map(|text| Zeroizing::new(text.to_owned()));
        check(&place.path("sealed"), &mut move || Ok(given.clone()), &ON)
    };
    assert_eq!(with(Some("correct horse")).unwrap().inspected.services, 1);
    let wrong = with(Some("another")).unwrap_err();
    assert_eq!(wrong.code, Code::BackupUnusable);
    assert!(wrong.cause.unwrap().contains("passphrase"));
    assert_eq!(with(None).unwrap_err().code, Code::Usage);
    // Cut off, it is noticed, too.
    fs::write(place.path("sealed"), &bytes[..bytes.len() - 40]).unwrap();
    assert_eq!(with(Some("correct horse")).unwrap_err().code, Code::BackupUnusable);
}
