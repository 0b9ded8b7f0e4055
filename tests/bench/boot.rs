//! A boot in stages, beside its critical path: what the slowest service of each stage takes by itself to become healthy.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::engine::{IMAGE, request};
use crate::lab::{Lab, answers, at_once, free_port, wait_until};
use crate::whole::{command, timed};
use crate::{Row, median, millis, ratio};

/// How many services each stage has; the platform's.
const STAGES: [usize; 4] = [1, 3, 1, 7];
const TIMES: usize = 3;
/// What the slowest service of a stage takes before it answers, and the others, in seconds.
const SLOWEST: u32 = 2;
const OTHERS: u32 = 1;

struct Booted {
    name: String,
    port: u16,
    warms_up: u32,
}

impl Booted {
    fn lua(&self) -> String {
        let Self { name, port, warms_up } = self;
        let entry = format!("/bin/busybox sleep {warms_up}; exec /bin/busybox httpd -f -p 127.0.0.1:{port}");
        format!(
            "{{ name = \"{name}\", service = \"{name}\", image = \"{IMAGE}\", cmd = {{ \"{entry}\" }}, \
             network = \"host\", stop_timeout = \"0s\", health = {{ tcp = true, port = {port} }} }}"
        )
    }
}

fn stages() -> Vec<Vec<Booted>> {
    let booted = |stage: usize, number: usize| Booted {
        name: format!("bench-{}-{number}", stage + 1),
        port: free_port(),
        warms_up: if number == 1 { SLOWEST } else { OTHERS },
    };
    let stage = |(stage, count): (usize, &usize)| (1..=*count).map(|number| booted(stage, number)).collect();
    STAGES.iter().enumerate().map(stage).collect()
}

fn script(stages: &[Vec<Booted>]) -> String {
    let stage = |(number, stage): (usize, &Vec<Booted>)| {
        let names: Vec<String> = stage.iter().map(|booted| format!("\"{}\"", booted.name)).collect();
        format!("    {{ stage = \"stage {}\", services = {{ {} }} }},\n", number + 1, names.join(", "))
    };
    let list: String = stages.iter().enumerate().map(stage).collect();
    format!("require(\"@std/boot\").sequence {{\n{list}}}\n")
}

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    if !crate::engine::podman(&["--version"]) {
        eprintln!("podman is not installed: the row on booting is left out");
        return Vec::new();
    }
    let lab = Lab::new();
    let stages = stages();
    lab.deploy(program, &stages.iter().flatten().map(Booted::lua).collect::<Vec<_>>());
    let file = lab.script("platform.lua", &script(&stages));
    let (mut own, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        lab.podman(&["stop", "--all", "--time", "0"]);
        own.push(timed(command(program, lab.path(), &[OsStr::new("boot"), file.as_os_str()])));
        lab.podman(&["stop", "--all", "--time", "0"]);
        raw.push(by_the_engine(&lab, &stages));
    }
    let (measured, baseline) = (median(own), median(raw));
    vec![Row {
        what: "boot of four stages",
        measured: millis(measured),
        baseline: format!("its critical path: the engine's start until each answers {}", millis(baseline)),
        ratio: ratio(measured, baseline),
        promise: "≤ critical path + 10 %",
    }]
}

/// Every stage by the engine's own calls: all of its services at once, until the last one answers.
fn by_the_engine(lab: &Lab, stages: &[Vec<Booted>]) -> Duration {
    let started = Instant::now();
    let socket = lab.socket();
    for stage in stages {
        at_once(stage.len(), stage, |booted| {
            request(&socket, "POST", &format!("/v4.0.0/libpod/containers/{}/start", booted.name), "");
            wait_until(|| answers(booted.port));
        });
    }
    started.elapsed()
}
