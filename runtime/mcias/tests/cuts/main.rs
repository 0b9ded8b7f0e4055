//! A kill, or a full disk, at each operation on the database's files while a code or a passkey is redeemed, a token made or a
//! key rotated: nothing is taken twice, nothing is used up that lets nobody in, and what was told to have been done is there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../service/authenticator.rs"]
#[expect(dead_code, reason = "the other program uses the rest")]
mod authenticator;
mod codes;
mod joining;
mod keys;
#[path = "../../../journal/tests/disk/vfs.rs"]
#[expect(dead_code, reason = "the journal's own tests use the rest")]
mod vfs;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use effect::{Sealer, Timestamp};
use journal::{Clock, Journal};
use mcias::driver::Driver as _;
use mcias::embedded::{Embedded, Parts};
use mcias::passkey::{Assertion, Relying};
use mcias::policy::{Rule, RuleSet};
use mcias::witness::Unheard;
use mcias::{Account, First, FirstFactor, Kind, Name, Outcome, Role, Second, Settings, Shown, SignIn};

use crate::authenticator::{Device, Key, ORIGIN};
use crate::vfs::{Operation, Verdict, Watcher};

const PASSWORD: &str = "correct horse battery";

struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// What is done to the disk of one folder.
struct Disk {
    folder: PathBuf,
    operations: AtomicUsize,
    /// What a process that was killed before each operation leaves behind, while that is wanted.
    left: Mutex<Option<Vec<tempfile::TempDir>>>,
    /// From which operation on there is no room.
    full_from: AtomicUsize,
    is_struck: AtomicBool,
}

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

struct Router;

impl Watcher for Router {
    fn before(&self, path: &Path, operation: Operation<'_>) -> Verdict {
        let disk = DISKS.lock().unwrap().iter().find(|disk| path.starts_with(&disk.folder)).cloned();
        disk.map_or(Verdict::Go, |disk| disk.before(operation))
    }

    fn after(&self, _: &Path, _: Operation<'_>) {}
}

impl Disk {
    fn of(folder: &Path) -> Arc<Self> {
        let disk = Arc::new(Self {
            folder: folder.to_owned(),
            operations: AtomicUsize::new(0),
            left: Mutex::new(None),
            full_from: AtomicUsize::new(usize::MAX),
            is_struck: AtomicBool::new(false),
        });
        DISKS.lock().unwrap().push(disk.clone());
        vfs::watch(Box::new(Router));
        disk
    }

    fn before(&self, operation: Operation<'_>) -> Verdict {
        let number = self.operations.fetch_add(1, Ordering::Relaxed);
        if let Some(left) = self.left.lock().unwrap().as_mut() {
            left.push(copied(&self.folder));
        }
        let grows = matches!(operation, Operation::Write { .. });
        if grows && number >= self.full_from.load(Ordering::Relaxed) {
            self.is_struck.store(true, Ordering::Relaxed);
            return Verdict::Fail(rusqlite::ffi::SQLITE_FULL);
        }
        Verdict::Go
    }
}

/// What is in a folder, as the next process finds it: what processes shared in memory is gone.
fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name();
        if entry.path().is_file() && !name.to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), copy.path().join(name)).unwrap();
        }
    }
    copy
}

/// A state directory with `alice`, who has one-time codes, recovery codes and a passkey.
struct Place {
    folder: tempfile::TempDir,
    clock: Arc<Hands>,
    key: String,
    recovery: Vec<String>,
    device: Device,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn opened(folder: &Path, clock: &Arc<Hands>) -> Embedded {
    Embedded::new(Parts {
        journal: Journal::open(folder, clock.clone()).unwrap(),
        node: "here".into(),
        sealer: Arc::new(Sealer::open(folder).unwrap()),
        settings: Settings::default(),
        clock: clock.clone(),
        witness: Arc::new(Unheard),
        live: Arc::default(),
    })
}

fn relying() -> Relying {
    Relying::of(ORIGIN).unwrap()
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_767_355_200_000)));
        let service = opened(folder.path(), &clock);
        let mut alice = Account::new(name("alice"), Kind::Human, 0).unwrap();
        alice.roles.insert(Role::User);
        service.put(None, Some(&alice)).await.unwrap();
        service.set_password(&alice, PASSWORD).await.unwrap();
        let rule = Rule {
            name: name("all"),
            priority: 100,
            allow: true,
            roles: BTreeSet::new(),
            accounts: Vec::new(),
            kind: None,
            groups: BTreeSet::new(),
            services: Vec::new(),
            service_tags: BTreeSet::new(),
            addresses: Vec::new(),
            times: Vec::new(),
            first_factors: FirstFactor::ALL.into(),
            second_factor: false,
        };
        let system = Rule { name: name("system"), first_factors: BTreeSet::new(), ..rule.clone() };
        let rules = RuleSet { name: name("all"), rules: vec![rule, system] };
        service.put_rules(None, Some(&rules)).await.unwrap();
        let key = service.enrol_totp(&alice.name).await.unwrap().key.to_string();
        let place =
            Self { folder, clock, key, recovery: Vec::new(), device: Device::new(Key::es256(), b"one") };
        let codes = service.confirm_totp(&alice.name, &place.code()).await.unwrap();
        let recovery = codes.iter().map(|code| code.to_string()).collect();
        let mut place = Self { recovery, ..place };
        let options = service.begin_passkey(&alice.name, &relying()).await.unwrap();
        let made = place.device.register(&options);
        service.finish_passkey(&alice.name, &relying(), "a key", &made).await.unwrap();
        place.clock.0.fetch_add(60_000, Ordering::Relaxed);
        place
    }

    fn code(&self) -> String {
        let secret = totp_rs::Secret::try_from_base32(&self.key).unwrap();
        let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
        totp.generate(self.clock.now().0 as u64 / 1000).to_string()
    }
}

/// What is redeemed.
enum Thing {
    Code(String),
    Recovery(String),
    Passkey(Box<Assertion>),
    /// A passkey as the first factor, and a one-time code.
    Both(Box<Assertion>, String),
}

/// How many there are.
const THINGS: usize = 4;

/// Whether it lets somebody in. A full disk is an answer as well.
async fn is_let_in(service: &Embedded, thing: &Thing) -> bool {
    let relying = relying();
    let shown = |answer| Shown { relying: &relying, answer };
    let password = First::Password(PASSWORD);
    let (first, second) = match thing {
        Thing::Code(code) => (password, Second::Totp(code)),
        Thing::Recovery(code) => (password, Second::Recovery(code)),
        Thing::Passkey(answer) => (password, Second::Passkey(shown(answer))),
        Thing::Both(answer, code) => (First::Passkey(shown(answer)), Second::Totp(code)),
    };
    let wish = SignIn { name: "alice", first, second: Some(second), service: "mcq", address: None };
    match service.sign_in(&wish).await {
        Ok(Outcome::Token(issued)) => {
            let valid = service.validate(&issued.text, &name("mcq")).await.unwrap();
            assert_eq!(valid.unwrap().account, name("alice"));
            true
        }
        Ok(Outcome::Refused) | Err(_) => false,
        Ok(other) => panic!("{other:?}"),
    }
}

async fn tokens(service: &Embedded) -> usize {
    service.tokens(&name("alice")).await.unwrap().len()
}

/// One of them, which was never used.
fn thing(place: &Place, service: &Embedded, which: usize) -> Thing {
    let is_first = which == 3;
    let options = service.ask_for_passkey(&relying(), is_first).unwrap();
    let answer = Box::new(place.device.answer(&options));
    match which {
        0 => Thing::Code(place.code()),
        1 => Thing::Recovery(place.recovery[0].clone()),
        2 => Thing::Passkey(answer),
        _ => Thing::Both(answer, place.code()),
    }
}

#[tokio::test]
async fn a_kill_anywhere_in_a_sign_in_lets_nobody_in_twice_and_costs_no_code() {
    let place = Place::new().await;
    let service = opened(place.folder.path(), &place.clock);
    // The first key is made by then.
    assert!(is_let_in(&service, &Thing::Recovery(place.recovery[1].clone())).await);
    let disk = Disk::of(place.folder.path());
    let service = opened(place.folder.path(), &place.clock);
    for which in 0..THINGS {
        place.clock.0.fetch_add(60_000, Ordering::Relaxed);
        let thing = thing(&place, &service, which);
        let before = tokens(&service).await;
        *disk.left.lock().unwrap() = Some(Vec::new());
        assert!(is_let_in(&service, &thing).await);
        let left = disk.left.lock().unwrap().take().unwrap();
        assert!(left.len() >= 4, "{} operations", left.len());
        let (mut first_try, mut made_before) = (0, 0);
        for folder in left {
            let killed = opened(folder.path(), &place.clock);
            let made = tokens(&killed).await - before;
            let again = usize::from(is_let_in(&killed, &thing).await);
            first_try += again;
            made_before += made;
            assert_eq!(made + again, 1, "{which}: let in twice, or used up for nothing");
            assert!(!is_let_in(&killed, &thing).await, "taken twice");
            assert_eq!(tokens(&killed).await - before, 1);
        }
        assert!(first_try >= 1 && made_before >= 1, "{which}: the kill came before and after the commit");
        assert!(!is_let_in(&opened(place.folder.path(), &place.clock), &thing).await);
    }
}

#[tokio::test]
async fn a_full_disk_anywhere_in_a_sign_in_lets_nobody_in_twice_and_costs_no_code() {
    let place = Place::new().await;
    let mut struck = 0;
    for from in 0..12 {
        for which in 0..THINGS {
            let folder = copied(place.folder.path());
            let disk = Disk::of(folder.path());
            let service = opened(folder.path(), &place.clock);
            let thing = &thing(&place, &service, which);
            let begin = disk.operations.load(Ordering::Relaxed);
            disk.full_from.store(begin + from, Ordering::Relaxed);
            let first = usize::from(is_let_in(&service, thing).await);
            drop(service);
            disk.full_from.store(usize::MAX, Ordering::Relaxed);
            struck += usize::from(disk.is_struck.load(Ordering::Relaxed));
            let service = opened(folder.path(), &place.clock);
            let made = tokens(&service).await;
            assert!(made >= first, "who was let in is in");
            let again = usize::from(is_let_in(&service, thing).await);
            assert_eq!(made + again, 1, "{which}: let in twice, or used up for nothing");
            assert!(!is_let_in(&service, thing).await, "taken twice");
            assert_eq!(tokens(&service).await, 1);
        }
    }
    assert!(struck >= 12, "the disk was full {struck} times only");
}
