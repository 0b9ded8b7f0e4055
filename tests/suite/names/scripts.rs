//! Scripts that change names: planned as they are carried out, undone, and killed wherever a kill can strike.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::place::{Names, everything, serials};
use crate::harness::{Place, in_memory, report};
use crate::plan_equals_apply::compare;

/// What was there before.
const BEFORE: &str = r#"
dns.zones.ensure { zone = "old.test", nameservers = { "ns" } }
dns.ensure { zone = "old.test", name = "www", type = "A", ttl = "1m", values = { "192.0.2.1" } }
dns.ensure { zone = "old.test", name = "gone", type = "TXT", values = { "one", "two" } }
dns.zones.ensure { zone = "moved.test" }
dns.ensure { zone = "moved.test", name = "www", type = "AAAA", values = { "2001:db8::1" } }
dns.zones.ensure { zone = "given-up.test", admin = "ada.lovelace@old.test" }
dns.ensure { zone = "given-up.test", name = "*", type = "A", values = { "192.0.2.9" } }
"#;

/// Every kind of change, and reads of what was changed.
const SCRIPT: &str = r#"
dns.zones.ensure { zone = "new.test", nameservers = { "ns1", "ns2.old.test." }, admin = "ops@new.test", ttl = "2h" }
local function set(name, rtype, ...)
    return dns.ensure { zone = "new.test", name = name, type = rtype, values = { ... } }
end
set("ns1", "A", "192.0.2.53")
set("@", "MX", "10 mail", "20 mail.old.test.")
set("@", "TXT", "v=spf1 mx -all")
set("mail", "AAAA", "2001:db8::25")
set("www", "CNAME", "mail")
set("_imap._tcp", "SRV", "0 1 143 mail")
set("@", "CAA", "0 issue \"ca.test\"")
set("odd", "TYPE65280", "\\# 2 0a0b")
set("*.apps", "A", "192.0.2.80", "192.0.2.81")
dns.ensure { zone = "old.test", name = "www", type = "A", ttl = "2m", values = { "192.0.2.1", "192.0.2.2" } }
dns.remove { zone = "old.test", name = "gone", type = "TXT" }
dns.remove { zone = "old.test", name = "never", type = "A" }
dns.zones.import {
    zone = "moved.test",
    file = "moved.zone",
    content = "$TTL 300\n@ IN SOA ns hostmaster 7 3600 600 604800 60\n@ IN NS ns\nns IN A 192.0.2.53\nmail IN MX 5 mx\n",
}
dns.zones.remove { zone = "given-up.test" }
assert(dns.get({ zone = "new.test", name = "www", type = "CNAME" }).values[1] == "mail.new.test.")
assert(dns.get { zone = "old.test", name = "gone", type = "TXT" } == nil)
assert(#dns.list { zone = "new.test" } == 10, #dns.list { zone = "new.test" })
assert(#dns.list { zone = "new.test", name = "@" } == 4)
assert(#dns.zones.list {} == 3)
assert(dns.zones.export({ zone = "moved.test" }).content:find("mail", 1, true))
"#;

/// What is asked of a server, beside.
const ASKED: &str = r#"
local found = dns.resolve { name = "www.mcrun.test", server = params.server }
assert(found.values[1] == "192.0.2.1")
assert(dns.resolve { name = "never.mcrun.test", server = params.server } == nil)
dns.wait_for { name = "www.mcrun.test", values = { "192.0.2.1" }, servers = { params.server } }
"#;

fn staged(place: Place) -> (Place, String) {
    let before = place.script("before.lua", BEFORE);
    place.ends(0, &[&before, "--allow", "dns"]);
    let script = place.script("names.lua", &format!("{SCRIPT}{ASKED}"));
    (place, script)
}

fn words<'a>(script: &'a str, server: &'a str) -> [&'a str; 5] {
    [script, "--allow", "*", "--set", server]
}

fn answering() -> (Names, String) {
    let names = Names::new().with_zone();
    let server = format!("server={}", names.at);
    (names, server)
}

#[test]
fn a_plan_lists_what_the_run_does_and_a_second_run_changes_nothing() {
    let (names, server) = answering();
    let _edge = names.edge();
    let (place, script) = staged(Place::new());
    compare(&place, "names", &words(&script, &server), false);
    let after = (everything(&place), serials(&place));
    // A zone that is gone cannot be removed from again, but that changes nothing either.
    let again = place.ends(0, &words(&script, &server));
    assert!(again.stderr.contains("0 changed"), "{again}");
    assert_eq!((everything(&place), serials(&place)), after);
    compare(&place, "names again", &words(&script, &server), true);
}

#[test]
fn every_single_change_is_planned_as_it_is_made() {
    let (place, _) = staged(Place::new());
    for (what, text) in [
        ("zone", "dns.zones.ensure { zone = \"a.test\" }"),
        ("nameservers", "dns.zones.ensure { zone = \"a.test\", nameservers = { \"ns1\", \"ns2\" } }"),
        (
            "timers",
            "dns.zones.ensure { zone = \"a.test\", nameservers = { \"ns1\", \"ns2\" }, minimum = \"5m\" }",
        ),
        (
            "ttl",
            "dns.ensure { zone = \"old.test\", name = \"www\", type = \"A\", ttl = \"1h\", values = { \"192.0.2.1\" } }",
        ),
        (
            "values",
            "dns.ensure { zone = \"old.test\", name = \"www\", type = \"A\", ttl = \"1h\", values = { \"192.0.2.2\" } }",
        ),
        (
            "another type",
            "dns.remove { zone = \"old.test\", name = \"www\", type = \"A\" } dns.ensure { zone = \"old.test\", name = \"www\", type = \"CNAME\", values = { \"ns\" } }",
        ),
        (
            "import into a new zone",
            "dns.zones.ensure { zone = \"b.test\" } dns.zones.import { zone = \"b.test\", content = \"$TTL 60\\nx IN A 192.0.2.3\\n\" }",
        ),
        (
            "import that merges",
            "dns.zones.import { zone = \"b.test\", merge = true, content = \"$TTL 60\\ny IN A 192.0.2.3\\n\" }",
        ),
        ("zone goes", "dns.zones.remove { zone = \"b.test\" }"),
    ] {
        let script = place.script("one.lua", &format!("{text}\n"));
        compare(&place, what, &[&script, "--allow", "dns"], what != "another type");
    }
}

#[test]
fn an_undo_brings_back_zones_and_records_and_no_serial_goes_back() {
    let (names, server) = answering();
    let _edge = names.edge();
    let (place, script) = staged(Place::new());
    let (before, first) = (everything(&place), serials(&place));
    place.ends(0, &words(&script, &server));
    let run = place.newest_id();
    assert_ne!(everything(&place), before);
    let second = serials(&place);
    let undone = place.ends(0, &["undo", &run, "--yes"]);
    assert_eq!(everything(&place), before, "{undone}");
    assert_further(&first, &second, "by the run");
    assert_further(&second, &serials(&place), "by its undo");
    // What was taken away by the undo is made again, further on.
    place.ends(0, &words(&script, &server));
    assert_further(&second, &serials(&place), "by the run again");
}

/// No zone that is in both has a lower serial later.
#[track_caller]
fn assert_further(earlier: &[(String, u64)], later: &[(String, u64)], when: &str) {
    for (zone, serial) in earlier {
        if let Some((_, now)) = later.iter().find(|(name, _)| name == zone) {
            assert!(now >= serial, "{zone} went from {serial} to {now} {when}");
        }
    }
}

/// Every point that an undisturbed run passes, and what it leaves.
fn undisturbed(server: &str) -> (Vec<String>, Value) {
    let (place, script) = staged(Place::within(in_memory()));
    let log = place.at("points");
    let seen = place.start_with(&words(&script, server), &[("MCRUN_CRASH_LOG", &log)]).end();
    assert_eq!(seen.code, Some(0), "{seen}");
    let passed = place.read("points");
    let passed: BTreeSet<&str> = passed.lines().filter(|point| !point.starts_with("barrier:")).collect();
    (passed.into_iter().map(str::to_owned).collect(), everything(&place))
}

#[test]
fn a_kill_anywhere_leaves_each_record_once_and_no_serial_goes_back() {
    let (names, server) = answering();
    let _edge = names.edge();
    let (points, wanted) = undisturbed(&server);
    assert!(points.len() > 50, "{points:?}");
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = killed_at(point, &server, &wanted) {
                        failed.lock().expect("nobody panics").push(format!("{point}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics");
    report("kills at every point of a script of names", points.len(), "kills", failed.len());
    assert_eq!(failed, [""; 0], "of {} kills", points.len());
}

fn killed_at(point: &str, server: &str, wanted: &Value) -> Result<(), String> {
    let (place, script) = staged(Place::within(in_memory()));
    let first = serials(&place);
    let killed = place.start_with(&words(&script, server), &[("MCRUN_CRASH_AT", point)]).end();
    let second = serials(&place);
    let resumed = match place.newest() {
        run if run["state"] == "done" && killed.code == Some(0) => killed,
        run if run["resumable"] == true => place.run(&["resume", run["id"].as_str().expect("an id")]),
        _ => place.run(&words(&script, server)),
    };
    if resumed.code != Some(0) {
        return Err(resumed.to_string());
    }
    let now = everything(&place);
    if now != *wanted {
        return Err(format!("{now:#}"));
    }
    let third = serials(&place);
    for (earlier, later) in [(&first, &second), (&second, &third)] {
        let back = earlier
            .iter()
            .find(|(zone, serial)| later.iter().any(|(name, now)| name == zone && now < serial));
        if let Some((zone, serial)) = back {
            return Err(format!("{zone} went back from {serial}: {later:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_script_waits_until_what_it_changed_is_answered() {
    let (names, _) = answering();
    let _edge = names.edge();
    let at: SocketAddr = names.at;
    let script = names.script(
        "wait.lua",
        &format!(
            "dns.ensure {{ zone = \"mcrun.test\", name = \"hello\", type = \"A\", values = {{ \"192.0.2.4\" }} }}\n\
             dns.wait_for {{ name = \"hello.mcrun.test\", values = {{ \"192.0.2.4\" }} }}\n\
             print(dns.resolve({{ name = \"hello.mcrun.test\" }}).server)\n\
             dns.remove {{ zone = \"mcrun.test\", name = \"hello\", type = \"A\" }}\n\
             dns.wait_for {{ name = \"hello.mcrun.test\", values = {{}}, servers = {{ \"{at}\" }} }}\n"
        ),
    );
    let seen = names.ends(0, &[&script, "--allow", "dns", "--allow", "dns:servers"]);
    assert!(seen.stdout.contains(&at.to_string()), "{seen}");
}

#[test]
fn a_zone_that_moves_here_goes_on_from_its_serial() {
    let place = Place::new();
    let file =
        "$TTL 300\n@ IN SOA ns hostmaster 2026112201 3600 600 604800 60\n@ IN NS ns\nwww IN A 192.0.2.1\n";
    std::fs::write(place.at("moved.zone"), file).unwrap();
    let import = ["zones", "import", "moved.test", &place.at("moved.zone")];
    place.ends(0, &import);
    let serial = |zone: &str| super::place::serial(&place, zone);
    assert!(serial("moved.test") > 2_026_112_201, "secondaries take it");
    let first = serial("moved.test");
    let again = place.ends(0, &import);
    assert_eq!(serial("moved.test"), first, "{again}");
    // A file that says nothing new but its serial is a new version, too.
    std::fs::write(place.at("moved.zone"), file.replace("2026112201", "2026112302")).unwrap();
    let planned = place.ends(0, &[&import[..], &["--plan"]].concat());
    assert!(planned.stdout.contains("serial"), "{planned}");
    place.ends(0, &import);
    assert!(serial("moved.test") > 2_026_112_302);
    let whole = |serial: u32| {
        format!(
            "dns.zones.ensure {{ zone = \"b.test\" }} dns.zones.import {{ zone = \"b.test\", content = \"$TTL 3600\\n@ SOA ns h {serial} 1 1 1 1\\n@ NS ns\\nx A 192.0.2.3\\n\" }}\n"
        )
    };
    for number in [1, 2, 4_000_000_000, 77] {
        let script = place.script("import.lua", &whole(number));
        compare(&place, &format!("serial {number}"), &[&script, "--allow", "dns"], true);
    }
}
