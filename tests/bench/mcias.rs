//! Identity: tokens that are validated, and sign-ins while others ask for something else.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use effect::Sealer;
use journal::{Journal, SystemClock};
use mcias::driver::{Driver as _, Order, Planned, Question};
use mcias::embedded::{Embedded, Parts};
use mcias::policy::RuleSet;
use mcias::witness::Unheard;
use mcias::{Account, First, Kind, Live, Name, Outcome, Role, Settings, SignIn};
use serde_json::json;

use crate::{Row, millis, ratio};

pub(crate) const PASSWORD: &str = "correct horse battery";
const NODE: &str = "here";
const CACHED: u32 = 200_000;
/// As many as one account may have, nearly.
const TOKENS: u32 = 200;
const ROUNDS: u32 = 10;
pub(crate) const SIGN_INS: u32 = 200;
pub(crate) const PEOPLE: u32 = 20;
pub(crate) const EACH: Duration = Duration::from_millis(50);
/// Between two calls of somebody else.
const PAUSE: Duration = Duration::from_millis(2);

fn micros(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn service(journal: &Journal, sealer: &Arc<Sealer>, node: &str) -> Embedded {
    Embedded::new(Parts {
        journal: journal.clone(),
        node: node.into(),
        sealer: sealer.clone(),
        settings: Settings::default(),
        clock: Arc::new(SystemClock),
        witness: Arc::new(Unheard),
        live: Arc::new(Live::default()),
    })
}

pub(crate) async fn person(service: &Embedded, text: &str) -> Account {
    let mut account = Account::new(name(text), Kind::Human, 0).unwrap();
    account.roles.insert(Role::User);
    service.put(None, Some(&account)).await.unwrap();
    service.set_password(&account, PASSWORD).await.unwrap();
    account
}

pub(crate) async fn everybody_is_let_in(service: &Embedded) {
    let rules = json!({ "name": "all", "rules": [{ "name": "all", "allow": true }] });
    let rules: RuleSet = serde_json::from_value(rules).unwrap();
    service.put_rules(None, Some(&rules)).await.unwrap();
}

/// A thread's own runtime.
pub(crate) fn thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn rows() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let sealer = Arc::new(Sealer::open(folder.path()).unwrap());
    let mut rows = thread().block_on(validations(&journal, &sealer));
    rows.push(beside_sign_ins(&service(&journal, &sealer, NODE)));
    rows
}

async fn validations(journal: &Journal, sealer: &Arc<Sealer>) -> Vec<Row> {
    let first = service(journal, sealer, NODE);
    everybody_is_let_in(&first).await;
    let (account, mcq) = (person(&first, "alice").await, name("mcq"));
    let mut tokens = Vec::new();
    for number in 0..TOKENS {
        let id = format!("n{number}");
        let order = Order { account: &account, service: &mcq, lifetime: None, id: &id };
        tokens.push(first.issue(&order).await.unwrap().text);
    }
    let token = &tokens[0];
    assert!(first.validated(token, &mcq).await.unwrap().is_ok());
    let begin = Instant::now();
    for _ in 0..CACHED {
        black_box(first.validated(black_box(token), &mcq).await.unwrap().unwrap());
    }
    let cached = begin.elapsed() / CACHED;
    let begin = Instant::now();
    for _ in 0..CACHED {
        black_box(digest(&SHA256, black_box(token.as_bytes())));
    }
    let hashed = begin.elapsed() / CACHED;
    let mut uncached = Duration::ZERO;
    for _ in 0..ROUNDS {
        // Another process: nothing is kept there but the keys, once one of them was read.
        let other = service(journal, sealer, NODE);
        assert!(other.validated(&tokens[0], &mcq).await.unwrap().is_ok());
        let begin = Instant::now();
        for token in &tokens[1..] {
            black_box(other.validated(token, &mcq).await.unwrap().unwrap());
        }
        uncached += begin.elapsed() / (TOKENS - 1);
    }
    let uncached = uncached / ROUNDS;
    let pair = Ed25519KeyPair::generate().unwrap();
    let signature = pair.sign(token.as_bytes());
    let begin = Instant::now();
    for _ in 0..TOKENS * ROUNDS {
        let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        key.verify(black_box(token.as_bytes()), signature.as_ref()).unwrap();
    }
    let verified = begin.elapsed() / (TOKENS * ROUNDS);
    vec![
        Row {
            what: "a token validated from what is kept",
            measured: micros(cached),
            baseline: format!("its SHA-256 alone {}", micros(hashed)),
            ratio: ratio(cached, hashed),
            promise: "≤ 5 µs",
        },
        Row {
            what: "a token validated for the first time",
            measured: micros(uncached),
            baseline: format!("its signature alone {}", micros(verified)),
            ratio: ratio(uncached, verified),
            promise: "≤ 200 µs",
        },
    ]
}

/// The time within which 99 of 100 calls are answered, one after the other, until `is_over`.
async fn others(service: &Embedded, is_over: impl Fn() -> bool) -> Duration {
    let (account, mcq) = (name("alice"), name("mcq"));
    let mut times = Vec::new();
    while !is_over() {
        tokio::time::sleep(PAUSE).await;
        let begin = Instant::now();
        let planned = Planned::default();
        let question =
            Question { account: &account, service: &mcq, address: None, at: None, first: None, planned };
        assert!(service.explain(&question).await.unwrap().allowed);
        times.push(begin.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// Whether somebody is let in; who finds the queue full is not.
async fn sign_in(service: &Embedded, number: u32) -> bool {
    let who = format!("person-{}", number % PEOPLE);
    let address = Some([198, 51, 100, u8::try_from(number % 250).unwrap()].into());
    let first = First::Password(PASSWORD);
    let wish = SignIn { name: &who, first, second: None, service: "mcq", address };
    matches!(service.sign_in(&wish).await, Ok(Outcome::Token(_)))
}

/// How many a second there were, one begun each [`EACH`].
async fn sign_ins(service: &Embedded) -> f64 {
    let begin = Instant::now();
    let all = (0..SIGN_INS).map(|number| async move {
        tokio::time::sleep_until((begin + EACH * number).into()).await;
        sign_in(service, number).await
    });
    let let_in = futures_util::future::join_all(all).await.into_iter().filter(|is_in| *is_in).count();
    f64::from(u32::try_from(let_in).unwrap()) / begin.elapsed().as_secs_f64()
}

fn beside_sign_ins(service: &Embedded) -> Row {
    thread().block_on(async {
        for number in 0..PEOPLE {
            person(service, &format!("person-{number}")).await;
        }
    });
    let begin = Instant::now();
    let quiet = thread().block_on(others(service, || begin.elapsed() > Duration::from_secs(3)));
    let is_over = AtomicBool::new(false);
    let (rate, busy) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| thread().block_on(others(service, || is_over.load(Ordering::Relaxed))));
        let rate = thread().block_on(sign_ins(service));
        is_over.store(true, Ordering::Relaxed);
        (rate, asked.join().unwrap())
    });
    Row {
        what: "99 % of other calls during 20 sign-ins a second",
        measured: format!("{}, {rate:.1} sign-ins a second", millis(busy)),
        baseline: format!("{} without sign-ins", millis(quiet)),
        ratio: ratio(busy, quiet),
        promise: "≤ 10 ms",
    }
}
