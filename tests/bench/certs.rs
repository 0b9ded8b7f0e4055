//! Certificates: durable ones from the embedded authority beside raw signatures, the list of revoked ones, and what a
//! hundred thousand of them cost a start.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certs::embedded::{Authority, Request, Settings};
use certs::{Key, KeyType, Names, Profile, Profiles, Reason};
use effect::Sealer;
use journal::{Journal, SystemClock};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{Row, millis, ratio, whole};

const CERTIFICATES: usize = 10_000;
/// How many ask at once.
const CLIENTS: usize = 16;
const REVOKED: usize = 100_000;

/// An authority in a folder of its own.
struct Scene {
    folder: TempDir,
    authority: Arc<Authority>,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let sealer = Arc::new(Sealer::open(folder.path()).unwrap());
    let authority = Authority::new(journal, sealer, "rift", folder.path(), Settings::default());
    Scene { folder, authority: Arc::new(authority) }
}

fn profile() -> Profile {
    Profiles::new(&Default::default()).unwrap().get("server").unwrap().clone()
}

/// The rows of the table.
pub(crate) fn rows(program: &Path) -> Vec<Row> {
    // As in the program: one thread computes, the journal's writes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = scene();
    let (rate, p99) = runtime.block_on(issue(&scene.authority, CERTIFICATES));
    let raw = raw_signatures();
    let mut rows = vec![Row {
        what: "durable certificates from 16 clients at once",
        measured: format!("{rate:.0} a second, 99 % within {}", millis(p99)),
        baseline: format!("raw certificates without a record, two threads: {raw:.0} a second"),
        ratio: format!("{:.2} × as many", rate / raw),
        promise: "≥ 1,000 a second, 99 % within 20 ms",
    }];
    let empty = tempfile::tempdir().unwrap();
    let before = whole::start_with_state(program, empty.path());
    let list = runtime.block_on(revoked_list(&scene.authority));
    rows.push(Row {
        what: "list of 100,000 revoked certificates, made anew",
        measured: millis(list),
        baseline: "–".into(),
        ratio: format!("{:.1} µs an entry", list.as_secs_f64() * 1e6 / REVOKED as f64),
        promise: "≤ 2 s",
    });
    let after = whole::start_with_state(program, scene.folder.path());
    rows.push(Row {
        what: "no-op start with 100,000 certificates on record",
        measured: millis(after),
        baseline: format!("without any: {}", millis(before)),
        ratio: ratio(after, before),
        promise: "costs nothing",
    });
    rows
}

/// Certificates a second, and the time within which 99 of 100 were there.
async fn issue(authority: &Arc<Authority>, count: usize) -> (f64, Duration) {
    authority.trusted().await.unwrap();
    let public = Arc::new(Key::generate(KeyType::P256).unwrap().public());
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (authority, public) = (authority.clone(), public.clone());
        clients.spawn(async move {
            let (profile, mut times) = (profile(), Vec::new());
            for number in 0..count / CLIENTS {
                let names = Names::parse(&[format!("host{number}.client{client}.test")]).unwrap();
                let token = format!("{client} {number}");
                let request = Request {
                    token: &token,
                    names: &names,
                    profile: &profile,
                    public: &public,
                    lifetime: None,
                    service: None,
                };
                let asked = Instant::now();
                authority.sign(&request).await.unwrap();
                times.push(asked.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client.unwrap());
    }
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    (rate, times[times.len() * 99 / 100])
}

/// What two threads sign when nothing is recorded.
fn raw_signatures() -> f64 {
    let begun = Instant::now();
    let signed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(sign_for_a_second)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    signed as f64 / begun.elapsed().as_secs_f64()
}

fn sign_for_a_second() -> usize {
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), key);
    let holder = rcgen::KeyPair::generate().unwrap();
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(1) {
        let params = rcgen::CertificateParams::new(vec![format!("host{count}.test")]).unwrap();
        params.signed_by(&holder, &issuer).unwrap();
        count += 1;
    }
    count
}

/// Issues and revokes until there are enough, then has the list made.
async fn revoked_list(authority: &Arc<Authority>) -> Duration {
    let public = Arc::new(Key::generate(KeyType::P256).unwrap().public());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (authority, public) = (authority.clone(), public.clone());
        clients.spawn(async move {
            let (profile, names) = (profile(), Names::parse(&["old.test"]).unwrap());
            for number in 0..REVOKED.div_ceil(CLIENTS) {
                let token = format!("revoked {client} {number}");
                let request = Request {
                    token: &token,
                    names: &names,
                    profile: &profile,
                    public: &public,
                    lifetime: None,
                    service: None,
                };
                let issued = authority.sign(&request).await.unwrap();
                let facts = certs::certificate::Facts::of(&issued.chain[0]).unwrap();
                authority.revoke_serial(&facts.serial, Reason::Superseded).await.unwrap();
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let id = authority.standing().await.unwrap().active.id;
    let begun = Instant::now();
    let list = authority.list_of_revoked(&id).await.unwrap();
    assert!(list.count >= REVOKED);
    begun.elapsed()
}
