//! Power is lost under the whole program: what is on the device afterwards is consistent, and the run goes on from there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::carry::{Carried, Fate};
use super::device::Device;
use super::ledger::Ledger;
use super::matrix::positions;
use super::scenes::{SCENES, Scene};
use crate::harness::report;

/// Every so many positions of the matrix: a device takes its time.
const STRIDE: usize = 30;

#[test]
fn a_run_whose_machine_loses_power_is_resumed_to_the_same_end() {
    let ledger = Ledger::start();
    let mut lost = 0;
    let mut failed = Vec::new();
    // Acts of `exec` are left out: what their programs write is synced when those programs say so.
    for scene in [&SCENES[0], &SCENES[2]] {
        let positions = positions(scene, &ledger);
        for position in positions.iter().step_by(STRIDE).map(String::as_str).chain(["never@1"]) {
            match catch_unwind(AssertUnwindSafe(|| lose_power_at(scene, position, &ledger))) {
                Ok(()) => lost += 1,
                Err(_) => failed.push(format!("{}: {position}", scene.name)),
            }
        }
    }
    report("power lost under the whole program, a file system on a device", lost, "losses", failed.len());
    assert_eq!(failed, [""; 0]);
    assert!(lost > 15, "{lost}");
}

fn lose_power_at(scene: &Scene, position: &str, ledger: &Ledger) {
    let device = Device::new();
    let stage = scene.stage_in(ledger, tempfile::tempdir_in(device.mounted_at()).unwrap());
    device.sync();
    let mut carried = Carried::new(&stage.place, &stage.page, &stage.words, scene.run, scene.takes_back);
    carried.device = Some(&device);
    carried.attempt(&Fate::At(position.to_owned()));
    let observed = carried.finish();
    scene.check(&stage, &observed);
}
