//! Disks that are full and clocks that jump: zones stay whole and serials go up.

use std::fs;

use super::ask::{By, Stream};
use super::place::{Names, ZONE};
use crate::errors_of_state::Small;
use crate::harness::until;

const WWW: &str = "www.mcrun.test";
const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;

#[test]
fn a_full_disk_refuses_changes_and_stops_no_answer() {
    let names = Names::new();
    // Every table takes a page of its own before anything is in it.
    let _small = Small::at(names.state(), c"size=2m");
    names.make_zone();
    let edge = names.edge();
    names.sees("www", 1);
    let stream = Stream::start(By::Udp, names.at, WWW, ZONE);
    let path = names.state().join("junk");
    let mut refused = 0;
    for (round, left) in (0..96).step_by(8).enumerate() {
        let (serial, before) = (names.serial(), names.json(&["records", "list", ZONE, "--json"]));
        let mut junk = fs::File::create(&path).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut junk).expect_err("the file system is full");
        let size = junk.metadata().unwrap().len();
        junk.set_len(size.saturating_sub(left * 1024)).unwrap();
        let last = u8::try_from(round + 2).unwrap();
        let words = ["records", "set", ZONE, "www", "A", &format!("192.0.2.{last}")];
        let seen = names.run(&words);
        stream.goes_on(10);
        drop(junk);
        fs::remove_file(&path).unwrap();
        if seen.code != Some(0) {
            refused += 1;
            seen.says(&["error[MC-"]);
            let after = names.json(&["records", "list", ZONE, "--json"]);
            // A run that stopped after its change was committed has made it whole.
            if after == before {
                assert_eq!(names.serial(), serial, "{seen}");
            } else {
                assert!(names.serial() > serial, "{seen}");
            }
        }
        names.ends(0, &words);
        names.sees("www", last);
        assert!(names.serial() > serial);
    }
    assert!(refused >= 2, "the disk was full {refused} times only");
    assert_eq!(u64::from(stream.end().serial), names.serial());
    assert!(!edge.stderr().contains("panicked"), "{}", edge.stderr());
}

#[test]
fn an_edge_that_starts_on_a_full_disk_answers() {
    let names = Names::new();
    let _small = Small::mount(&names);
    names.make_zone();
    let mut junk = fs::File::create(names.state().join("junk")).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut junk).expect_err("the file system is full");
    let _edge = names.edge();
    names.sees("www", 1);
}

#[test]
fn a_clock_that_jumps_by_years_lets_serials_go_up_only() {
    let names = Names::new().with_zone();
    let mut last = 1;
    let mut serial = names.serial();
    let mut stream = None;
    for years in [0, 30, -20, 5, -50, 0] {
        let skew = (years * YEAR).to_string();
        let variables = [("MCRUN_CLOCK_SKEW", skew.as_str())];
        let mut daemon = names.serve_with(&variables);
        let first = names.process().expect("an edge answers");
        let stream = stream.get_or_insert_with(|| Stream::start(By::Udp, names.at, WWW, ZONE));
        stream.goes_on(10);
        last += 1;
        let value = format!("192.0.2.{last}");
        let set = ["records", "set", ZONE, "www", "A", &value];
        let seen = names.start_with(&set, &variables).end();
        assert_eq!(seen.code, Some(0), "{years} years: {seen}");
        names.sees("www", last);
        assert!(names.serial() > serial, "{years} years");
        serial = names.serial();
        daemon.kill();
        // A successor whose clock says the next: without one the edge would keep the clock that it was started with.
        let next = names.start_with(&["edge"], &variables);
        until("the successor answers", || names.process().filter(|process| *process == next.pid()));
        until("the first one has ended", || {
            crate::processes::all().iter().all(|process| process.pid != first).then_some(())
        });
        stream.goes_on(10);
        std::mem::forget(next);
    }
    let told = stream.expect("it was started").end();
    assert_eq!(u64::from(told.serial), serial);
}
