//! A day of work in a few seconds: upstreams come and go, hang, lie and break, and every question has an answer in time,
//! the right one as long as anybody gives it or gave it lately.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::*;

/// The day that is always lived through; `MCRUN_SEED` is another one.
const SEED: u64 = 0x5eed_0f0a_da11;
const DAY: Duration = Duration::from_secs(86_400);
const NAMES: u64 = 300;
const UPSTREAMS: usize = 3;
const BEHAVIOURS: u8 = 9;
const GOOD: u8 = 0;
const SILENT: u8 = 1;

struct Chance(u64);

impl Chance {
    /// A number below `end`: xorshift, which is chance enough.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The right address of a name.
fn truth(name: &str) -> u8 {
    name.to_lowercase().trim_end_matches('.').bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31) ^ byte)
}

fn behave(query: &fake::Query, behaviour: u8) -> Vec<Vec<u8>> {
    let right = query.address(truth(&query.text()), 300);
    let wrong = || query.address(truth(&query.text()).wrapping_add(1), 300).remove(0);
    match behaviour {
        GOOD => right,
        SILENT => Vec::new(),
        2 => query.refuse(Rcode::SERVFAIL),
        3 => query.refuse(Rcode::REFUSED),
        4 => {
            let mut forged = wrong();
            forged[0] ^= 0xff;
            vec![forged, right.concat()]
        }
        5 => {
            let mut broken = wrong();
            broken[7] = 200;
            vec![broken]
        }
        6 if !query.over_tcp => {
            let mut answer = query.answer(Rcode::NOERROR);
            answer.truncated = true;
            vec![answer.bytes()]
        }
        7 => {
            let answer = query.answer(Rcode::NOERROR);
            vec![answer.a("other.example", 66, 300).bytes()]
        }
        8 if query.over_tcp => vec![Vec::new()],
        _ => right,
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_work_leaves_no_question_without_its_answer() {
    let states: [Arc<AtomicU8>; UPSTREAMS] = Default::default();
    let mut upstreams = Vec::new();
    for state in &states {
        let state = Arc::clone(state);
        upstreams.push(Fake::start(move |query| behave(query, state.load(Relaxed))).await);
    }
    let forwarder = forwarder(&upstreams.iter().collect::<Vec<_>>());
    let seed = std::env::var("MCRUN_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let mut chance = Chance(seed);
    let (begun, mut asked, mut unanswered) = (Instant::now(), 0, 0);
    while begun.elapsed() < DAY {
        let good = change(&states, &mut chance);
        // Failures of before are forgotten by then.
        advance(Duration::from_secs(6)).await;
        for _ in 0..30 {
            advance(Duration::from_millis(chance.below(20_000))).await;
            let number = chance.below(NAMES) * chance.below(NAMES) / NAMES;
            let name = format!("host-{number}.example");
            let before = Instant::now();
            let answer = ask(&forwarder, &name).await;
            assert!(before.elapsed() <= Duration::from_secs(5), "{name}: {:?}", before.elapsed());
            asked += 1;
            match answer.header().rcode() {
                Rcode::NOERROR => assert_eq!(addresses(&answer)[0].0, truth(&name), "{name}"),
                other => {
                    assert_eq!(other, Rcode::SERVFAIL, "{name}");
                    assert!(!good, "{name}: {:?}", forwarder.metrics());
                    unanswered += 1;
                }
            }
        }
    }
    let metrics = forwarder.metrics();
    assert!(asked > 5000 && unanswered * 20 < asked, "{seed}: {unanswered} of {asked}: {metrics:?}");
    assert!(metrics.hits > 0 && metrics.stale > 0 && metrics.prefetches > 0, "{metrics:?}");
}

/// Gives each upstream another behaviour; now and then all are gone. Whether one is good.
fn change(states: &[Arc<AtomicU8>; UPSTREAMS], chance: &mut Chance) -> bool {
    let night = chance.below(10) == 0;
    for state in states {
        let behaviour = if night { SILENT } else { chance.below(BEHAVIOURS.into()) as u8 };
        state.store(behaviour, Relaxed);
    }
    if !night {
        states[chance.below(UPSTREAMS as u64) as usize].store(GOOD, Relaxed);
    }
    !night
}

/// As the server does it.
async fn ask(forwarder: &Arc<Forwarder>, name: &str) -> Message<Vec<u8>> {
    match cached(forwarder, name) {
        (Lookup::Hit { prefetch }, Some(message)) => {
            if prefetch {
                forwarder.refresh(question(name)).await;
            }
            message
        }
        _ => resolve(forwarder, name).await,
    }
}
