//! What a script may do to names, and no more.

use super::place::{Names, address};
use crate::harness::Place;

const MCQ: &str = "dns:write:svc.mcp.metacircular.net/mcq";

fn zones() -> Place {
    let place = Place::new();
    place.ends(0, &["zones", "set", "svc.mcp.metacircular.net"]);
    place.ends(0, &["zones", "set", "mcp.metacircular.net"]);
    place
}

fn ensure(zone: &str, name: &str) -> String {
    format!(
        "dns.ensure {{ zone = \"{zone}\", name = \"{name}\", type = \"A\", values = {{ \"192.0.2.1\" }} }}\n"
    )
}

/// Runs `text` with these capabilities; it must be refused for want of `wanted`, planned and run.
#[track_caller]
fn refused(place: &Place, text: &str, allowed: &[&str], wanted: &str) {
    let script = place.script("refused.lua", text);
    let grants: Vec<&str> = allowed.iter().flat_map(|grant| ["--allow", grant]).collect();
    for words in [[&["plan", &script], &grants[..]].concat(), [&[script.as_str()], &grants[..]].concat()] {
        let seen = place.ends(4, &words);
        assert!(format!("{}{}", seen.stdout, seen.stderr).contains(wanted), "{wanted}: {seen}");
    }
}

#[track_caller]
fn allowed(place: &Place, text: &str, allowed: &[&str]) {
    let script = place.script("allowed.lua", text);
    let grants: Vec<&str> = allowed.iter().flat_map(|grant| ["--allow", grant]).collect();
    place.ends(0, &[&[script.as_str()], &grants[..]].concat());
}

#[test]
fn a_capability_for_one_name_allows_that_name_only() {
    let place = zones();
    let (zone, above) = ("svc.mcp.metacircular.net", "mcp.metacircular.net");
    allowed(&place, &ensure(zone, "mcq"), &[MCQ]);
    // However it is written, it is the same name.
    allowed(&place, &ensure("SVC.mcp.Metacircular.net.", "MCQ"), &[MCQ]);
    allowed(&place, &ensure(zone, "mcq.svc.mcp.metacircular.net."), &[MCQ]);
    for (zone, name, wanted) in [
        (zone, "mcr", "dns:write:svc.mcp.metacircular.net/mcr"),
        (zone, "@", "dns:write:svc.mcp.metacircular.net/@"),
        (zone, "*", "dns:write:svc.mcp.metacircular.net/[*]"),
        (zone, "x.mcq", "dns:write:svc.mcp.metacircular.net/x.mcq"),
        (zone, "mcqx", "dns:write:svc.mcp.metacircular.net/mcqx"),
        (above, "mcq", "dns:write:mcp.metacircular.net/mcq"),
        (above, "mcq.svc", "dns:write:mcp.metacircular.net/mcq.svc"),
    ] {
        refused(&place, &ensure(zone, name), &[MCQ], wanted);
    }
    // Writing includes reading, and what may not be read is not in a list.
    allowed(
        &place,
        "local all = dns.list { zone = \"svc.mcp.metacircular.net\" }\nassert(#all == 1 and all[1].name == \"mcq\", #all)\n\
         dns.remove { zone = \"svc.mcp.metacircular.net\", name = \"mcq\", type = \"A\" }\n",
        &[MCQ],
    );
}

#[test]
fn a_capability_for_records_is_none_for_their_zone() {
    let place = zones();
    let all = "dns:write:svc.mcp.metacircular.net/**";
    allowed(&place, &ensure("svc.mcp.metacircular.net", "a.b.c"), &[all]);
    let zone = "zone = \"svc.mcp.metacircular.net\"";
    for (text, wanted) in [
        (
            format!("dns.zones.ensure {{ {zone}, nameservers = {{ \"a\" }} }}\n"),
            "dns:write:svc.mcp.metacircular.net",
        ),
        (format!("dns.zones.remove {{ {zone} }}\n"), "dns:write:svc.mcp.metacircular.net"),
        (
            format!("dns.zones.import {{ {zone}, content = \"x 60 IN A 192.0.2.1\" }}\n"),
            "dns:write:svc.mcp.metacircular.net",
        ),
    ] {
        refused(&place, &text, &[MCQ], wanted);
    }
    refused(&place, &format!("dns.zones.export {{ {zone} }}\n"), &[MCQ], "dns:read:svc.mcp.metacircular.net");
    allowed(&place, "assert(#dns.zones.list {} == 0)\nreturn\n", &[MCQ]);
}

#[test]
fn whom_to_ask_is_a_capability_of_its_own() {
    let names = Names::new().with_zone();
    let _edge = names.edge();
    let (at, other) = (names.at.to_string(), address().to_string());
    let resolve =
        |server: &str| format!("dns.resolve {{ name = \"www.mcrun.test\", server = \"{server}\" }}\n");
    refused(&names, &resolve(&at), &["dns:read"], &format!("dns:servers:{at}"));
    refused(&names, &resolve(&at), &["dns:read", "dns:write"], "dns:servers");
    refused(&names, &resolve(&at), &["dns:read", &format!("dns:servers:{other}")], "dns:servers");
    refused(&names, &resolve(&at), &[&format!("dns:servers:{at}")], "dns:read:www.mcrun.test");
    allowed(&names, &resolve(&at), &["dns:read:www.mcrun.test", &format!("dns:servers:{at}")]);
    // The server of this platform needs none.
    allowed(&names, "dns.resolve { name = \"www.mcrun.test\" }\n", &["dns:read:www.mcrun.test"]);
    let wait = format!(
        "dns.wait_for {{ name = \"www.mcrun.test\", values = {{ \"192.0.2.1\" }}, servers = {{ \"{at}\" }} }}\n"
    );
    refused(&names, &wait, &["dns:read"], "dns:servers");
    allowed(&names, &wait, &["dns:read", "dns:servers"]);
}

#[test]
fn an_undo_changes_no_more_than_the_run_could() {
    let place = zones();
    let script = place.script("a.lua", &ensure("svc.mcp.metacircular.net", "mcq"));
    place.ends(0, &[&script, "--allow", MCQ]);
    let run = place.newest_id();
    place.ends(0, &["undo", &run, "--yes"]);
    place.ends(1, &["records", "show", "svc.mcp.metacircular.net", "mcq", "A"]).says(&["MC-Q004"]);
}
