//! Owns random programs: scripts of acts, files, steps, branches, retries and sleeps that come from a seed.

use std::fmt::Write as _;

/// Numbers from a seed: the same ones every time.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64: short, and good enough to choose with.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

/// What every program begins with. An act tells the ledger which acts its script has seen end, in which order: a replay
/// in another order would ask for something else, which is a divergence.
const PRELUDE: &str = r#"
local seen = {}
local assumed = { status = 200, body = "", headers = {}, url = "" }
local function act(label, on_doubt, delay, fail)
    local body = { label = label, seen = table.clone(seen), delay = delay, fail = fail }
    http.request { url = params.url, json = body, check = true, on_doubt = on_doubt, assume = assumed }
    table.insert(seen, label)
end
local function write(name)
    files.write { path = params.out .. "/" .. name, content = table.concat(seen, " ") }
end
local function flaky(label, times, fails)
    local tries = 0
    retry({ times = times, backoff = "1ms" }, function()
        tries += 1
        act(`{label}-{tries}`, "redo", 0, tries <= fails)
    end)
end
"#;

/// It ends with a pause, so that everything is recorded and the last resume replays all of it.
const END: &str = "act(\"end\", \"redo\")\npause { reason = \"the rest is a replay\" }\n";

struct Writer {
    dice: Dice,
    text: String,
    names: u32,
    effects: u32,
}

/// The script that comes from a seed.
pub(super) fn program(seed: u64) -> String {
    let mut writer = Writer { dice: Dice::new(seed), text: PRELUDE.to_owned(), names: 0, effects: 0 };
    let statements = 2 + writer.dice.roll(4);
    for _ in 0..statements {
        writer.statement(0);
    }
    writer.text + END
}

impl Writer {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn line(&mut self, depth: usize, line: &str) {
        writeln!(self.text, "{:width$}{line}", "", width = depth * 4).expect("a string takes text");
    }

    fn statement(&mut self, depth: usize) {
        self.effects += 1;
        let name = self.name();
        // Small programs: what matters is how often they are killed.
        let simple = depth >= 3 || self.effects > 14;
        match self.dice.roll(if simple { 7 } else { 11 }) {
            0..=2 => {
                let on_doubt = self.dice.pick(&["ask", "redo"]);
                let delay = self.dice.pick(&[0, 0, 1, 3]);
                self.line(depth, &format!("act(\"{name}\", \"{on_doubt}\", {delay})"));
            }
            3 => self.line(depth, &format!("write(\"{name}\")")),
            4 => {
                let span = self.dice.roll(4) + 1;
                self.line(depth, &format!("sleep(\"{span}ms\")"));
            }
            5 => self.line(depth, &format!("pcall(act, \"{name}\", \"redo\", 0, true)")),
            6 => self.line(depth, &format!("log.info(\"{name}\", {{ seen = #seen }})")),
            7 => {
                let (times, fails) = (1 + self.dice.roll(3), self.dice.roll(4));
                self.line(depth, &format!("pcall(flaky, \"{name}\", {times}, {fails})"));
            }
            8 => {
                self.line(depth, &format!("step(\"{name}\", function()"));
                self.block(depth + 1);
                self.line(depth, "end)");
            }
            _ => self.branches(depth),
        }
    }

    fn block(&mut self, depth: usize) {
        for _ in 0..=self.dice.roll(2) {
            self.statement(depth);
        }
    }

    fn branches(&mut self, depth: usize) {
        let limit = self.dice.pick(&["", "{ limit = 1 }, ", "{ limit = 2 }, "]);
        self.line(depth, &format!("parallel({limit}{{"));
        for branch in 0..2 + self.dice.roll(2) {
            self.line(depth + 1, &format!("b{branch} = function()"));
            self.block(depth + 2);
            self.line(depth + 1, "end,");
        }
        self.line(depth, "})");
    }
}

#[test]
fn a_seed_makes_one_program() {
    assert_eq!(program(7), program(7));
    assert_ne!(program(7), program(8));
    let all: String = (0..100).map(program).collect();
    for part in
        ["parallel({", "limit = 2", "step(", "pcall(flaky", "sleep(", "write(\"", "log.info", "\"ask\""]
    {
        assert!(all.contains(part), "no program has {part}");
    }
}
