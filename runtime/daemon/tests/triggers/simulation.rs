//! The engine killed at any await, loaded again over the same journal, while the clock jumps and runs come and go: each
//! occurrence once, none lost, never two runs of one playbook at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use daemon::playbooks::{CatchUp, Definition, OnEvent, Overlap, Trigger};
use daemon::triggers::Engine;
use journal::Timestamp;
use serde_json::{Value, json};

use crate::stage::{BEGIN, DAY, HOUR, Set, Stage, cron, every, playbook};

/// Long enough that fewer times come to wait than are kept waiting.
const PERIOD: Duration = Duration::from_secs(1200);
const STEPS: usize = 250;

/// Chance that a seed makes repeatable.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }
}

fn definitions() -> Vec<Definition> {
    let at_most = Some((100_000, HOUR));
    let tick = Trigger::Event(OnEvent { pattern: "tick".into(), filter: BTreeMap::new(), at_most });
    vec![
        playbook("all", vec![every(PERIOD)], Overlap::Queue, CatchUp::All),
        playbook("once", vec![cron("*/7 * * * *")], Overlap::Skip, CatchUp::Once),
        playbook("skip", vec![cron("30 3,15 * * *"), every(HOUR)], Overlap::Queue, CatchUp::Skip),
        playbook("replace", vec![every(PERIOD)], Overlap::Replace, CatchUp::Once),
        playbook("heard", vec![tick], Overlap::Queue, CatchUp::Once),
    ]
}

struct World {
    stage: Stage,
    chance: Chance,
    engine: Option<Engine>,
    /// The latest that an engine has seen to the end of a pass.
    seen: Timestamp,
    latest: Timestamp,
    told: u64,
}

impl World {
    async fn step(&mut self) {
        match self.chance.below(20) {
            // Further back than two days in all, a clock is believed, and times count again.
            0 if self.behind() < DAY => self.clock().back(HOUR * 23),
            1 => self.clock().forward(HOUR * 26),
            2..=4 => self.clock().forward(HOUR),
            5..=8 => self.clock().forward(Duration::from_secs(61)),
            9..=11 => {
                self.told += 1;
                self.stage.journal.emit("tick", &json!(self.told).to_string()).await.unwrap();
            }
            _ => {
                let span = Duration::from_millis(self.chance.below(700_000));
                self.clock().forward(span);
            }
        }
        if self.chance.below(3) > 0 {
            for playbook in ["all", "once", "skip", "replace", "heard"] {
                self.stage.finish(playbook).await;
            }
        }
        let patience = match self.chance.below(4) {
            0 => u64::MAX,
            _ => 1 << self.chance.below(14),
        };
        self.pass(patience).await;
        for playbook in ["all", "once", "skip", "replace", "heard"] {
            let unfinished = self.stage.unfinished(playbook).await;
            assert!(unfinished.len() <= 1, "{playbook} runs {} times at once", unfinished.len());
        }
    }

    /// How far the clock is behind what it has shown.
    fn behind(&self) -> Duration {
        self.latest.since(self.stage.journal.clock().now())
    }

    fn clock(&self) -> &Set {
        &self.stage.clock
    }

    /// A pass that is killed once it has been polled so often, and everything that it knew with it.
    async fn pass(&mut self, patience: u64) {
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => Engine::load(self.stage.means()).await.unwrap(),
        };
        let now = self.stage.journal.clock().now();
        let mut waited = 0;
        let patience = async {
            while waited < patience {
                waited += 1;
                tokio::task::yield_now().await;
            }
        };
        let passed = {
            let passing = engine.pass();
            tokio::select! {
                biased;
                passed = passing => Some(passed),
                () = patience => None,
            }
        };
        if let Some(passed) = passed {
            passed.unwrap();
            self.seen = self.seen.max(now);
            self.engine = (self.chance.below(3) > 0).then_some(engine);
        }
        self.latest = self.latest.max(now);
    }

    /// Everything that waits is started, undisturbed.
    async fn settle(&mut self) {
        let latest = self.latest;
        let now = self.stage.journal.clock().now();
        self.clock().forward(latest.since(now));
        loop {
            self.pass(u64::MAX).await;
            let mut is_over = true;
            for playbook in ["all", "once", "skip", "replace", "heard"] {
                is_over &= self.stage.unfinished(playbook).await.is_empty();
                self.stage.finish(playbook).await;
            }
            if is_over {
                return;
            }
        }
    }

    async fn check(&self) {
        for playbook in ["all", "once", "skip", "replace", "heard"] {
            let mut names = BTreeSet::new();
            for run in self.stage.runs_of(playbook).await {
                let cause = run.cause.unwrap();
                let name = cause["occurrence"].as_str().unwrap().to_owned();
                assert!(names.insert(name.clone()), "{name} has two runs");
            }
        }
        let mut times: Vec<String> =
            self.stage.told("all").await.iter().map(|told| text(&told["at"])).collect();
        times.sort();
        let until = self.latest.max(self.seen);
        let expected: Vec<String> = (1..)
            .map(|count| BEGIN.after(PERIOD * count))
            .take_while(|time| *time <= until)
            .map(|time| time.to_string())
            .collect();
        let lost: Vec<&String> = expected.iter().filter(|time| !times.contains(time)).collect();
        assert_eq!((lost, times.len()), (Vec::new(), expected.len()));
        let mut heard: Vec<u64> =
            self.stage.told("heard").await.iter().map(|told| told["data"].as_u64().unwrap()).collect();
        heard.sort_unstable();
        assert_eq!(heard, (1..=self.told).collect::<Vec<_>>());
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn simulate(seed: u64) {
    let stage = Stage::with(definitions());
    let engine = Some(stage.engine().await);
    let mut world = World { stage, chance: Chance(seed), engine, seen: BEGIN, latest: BEGIN, told: 0 };
    for _ in 0..STEPS {
        world.step().await;
    }
    assert!(world.latest.since(BEGIN) > DAY);
    world.settle().await;
    world.check().await;
}

#[tokio::test]
async fn whatever_is_killed_and_however_the_clock_jumps_each_occurrence_is_there_once() {
    let seeds = match std::env::var("MCRUN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=3).collect(),
    };
    for seed in seeds {
        let simulated = tokio::spawn(simulate(seed)).await;
        assert!(simulated.is_ok(), "the seed was {seed}: set MCRUN_SEED to it");
    }
}
