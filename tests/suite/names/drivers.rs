//! One script for every driver: only mcrun.toml says whose zones it changes.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::peers::{Kind, Server};
use super::place::{Names, address};
use crate::harness::{Place, Started, until};
use crate::plan_equals_apply::compare;

const ZONES: [&str; 2] = ["svc.mcp.metacircular.net", "mcp.metacircular.net"];

/// The names of a platform and of what runs on it.
const SCRIPT: &str = r#"
local services = "svc.mcp.metacircular.net"
local platform = "mcp.metacircular.net"
local function set(zone, name, rtype, ...)
    return dns.ensure { zone = zone, name = name, type = rtype, ttl = "5m", values = { ... } }
end
for index, service in { "mcq", "mcr", "mcat", "exod" } do
    set(services, service, "A", `192.168.88.{180 + index}`, `100.95.252.{120 + index}`)
end
set(platform, "rift", "A", "192.168.88.181")
set(platform, "rift", "AAAA", "2001:db8::181")
set(platform, "gw", "CNAME", "rift")
set(platform, "@", "MX", "10 rift", "20 mail.example.org.")
set(platform, "_acme-challenge.rift", "TXT", "a\"quoted\" text", "semi;colon")
set(platform, "_xmpp._tcp", "SRV", "5 0 5222 rift")
set(platform, "@", "CAA", "0 issue \"ca.metacircular.net\"")
set(platform, "rift", "SSHFP", "4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
set(platform, "odd", "TYPE65280", "\\# 3 010203")
set(platform, "*.apps", "A", "192.168.88.181")
set(platform, "old", "A", "192.168.88.9")
dns.remove { zone = platform, name = "old", type = "A" }
set(services, "mcat", "A", "192.168.88.200")
assert(dns.get({ zone = platform, name = "gw", type = "CNAME" }).values[1] == "rift.mcp.metacircular.net.")
assert(dns.get { zone = platform, name = "old", type = "A" } == nil)
assert(#dns.list { zone = services } == 5, #dns.list { zone = services })
"#;

/// Undoes nothing and changes names once more.
fn carry_out(place: &Place, what: &str) -> Value {
    let script = place.script("platform.lua", SCRIPT);
    compare(place, what, &[&script, "--allow", "dns"], false);
    let first = records(place);
    let again = place.ends(0, &["plan", &script, "--allow", "dns"]);
    // The name that comes and goes is planned each time; nothing else is.
    assert!(!again.stdout.contains("mcq."), "{what}: {again}");
    let run = place.newest_id();
    place.ends(0, &["undo", &run, "--yes"]);
    for zone in ZONES {
        let left = place.json(&["records", "list", zone, "--json"]);
        assert_eq!(left.as_array().map(Vec::len), Some(1), "{what}: only its NS is left: {left:#}");
    }
    place.ends(0, &[&script, "--allow", "dns"]);
    assert_eq!(records(place), first, "{what}: after undo and another run");
    first
}

fn records(place: &Place) -> Value {
    json!(ZONES.map(|zone| place.json(&["records", "list", zone, "--json"])))
}

fn embedded() -> Place {
    let place = Place::new();
    ZONES
        .iter()
        .for_each(|zone| drop(place.ends(0, &["zones", "set", zone, "--nameserver", "ns.example.org."])));
    place
}

#[test]
fn one_script_drives_the_embedded_server_bind_and_knot() {
    let seen = Mutex::new(vec![("embedded", carry_out(&embedded(), "embedded"))]);
    for (what, kind) in [("BIND", Kind::Bind), ("Knot", Kind::Knot)] {
        let server = Server::start(kind, &ZONES);
        let place = Place::new();
        place.configure(&server.settings(&place));
        seen.lock().expect("nobody panics").push((what, carry_out(&place, what)));
    }
    let seen = seen.into_inner().expect("nobody panics");
    for (what, records) in &seen[1..] {
        assert_eq!(*records, seen[0].1, "{what} and the embedded server");
    }
}

const TOKEN: &str = "0123456789abcdef-of-the-tests";

/// A place whose daemon answers the calls of mcns, for a token that may do `allow`.
fn calls(allow: &str) -> (Names, Started, String) {
    let names = Names::of(embedded());
    std::fs::write(names.at("token"), TOKEN).unwrap();
    let host = address();
    names.listen(
        &[names.at],
        &format!(
            "[dns.rest]\nlisten = \"{host}\"\nhost = \"{}\"\n[dns.rest.tokens.tests]\nsecret = \"rest/token\"\nallow = [{allow}]\n\
             [secrets.\"rest/token\"]\nfile = \"{}\"\nto = [\"dns:tokens\"]\n",
            host.ip(),
            names.at("token")
        ),
    );
    let daemon = names.serve();
    assert!(daemon.stderr().contains("calls of mcns"), "{}", daemon.stderr());
    (names, daemon, format!("https://{host}"))
}

/// A place that makes those calls.
fn caller(of: &Names, url: &str) -> Place {
    let place = Place::new();
    std::fs::write(place.at("ca.pem"), of.ends(0, &["certs", "ca", "bundle"]).stdout).unwrap();
    std::fs::write(place.at("token"), TOKEN).unwrap();
    place.configure(&format!(
        "[drivers]\ndns = \"rest\"\n[drivers.rest]\nurl = \"{url}\"\ntoken = \"dns/token\"\nca = \"{}\"\nservers = [\"{}\"]\n\
         [secrets.\"dns/token\"]\nfile = \"{}\"\nto = [\"dns:rest\"]\n",
        place.at("ca.pem"),
        of.at,
        place.at("token")
    ));
    place
}

#[test]
fn one_mcrun_drives_another_by_the_calls_of_mcns() {
    let (there, _daemon, url) = calls("\"dns\"");
    let here = caller(&there, &url);
    // The calls have types of their own; what they do not know is refused in the plan already.
    let narrow: String = SCRIPT
        .lines()
        .filter(|line| !["TYPE65280", "SSHFP"].iter().any(|rtype| line.contains(rtype)))
        .map(|line| format!("{line}\n"))
        .collect();
    let whole = here.script("whole.lua", SCRIPT);
    let refused = here.run(&["plan", &whole, "--allow", "dns"]);
    let script = if refused.code == Some(0) { whole } else { here.script("platform.lua", &narrow) };
    compare(&here, "rest", &[&script, "--allow", "dns"], false);
    assert_eq!(records(&here), records(&there), "what one says is what the other has");
    let own = embedded();
    let script = own.script("own.lua", if refused.code == Some(0) { SCRIPT } else { &narrow });
    own.ends(0, &[&script, "--allow", "dns"]);
    assert_eq!(records(&here), records(&own), "and what it would be here");
    let wait = here.script(
        "wait.lua",
        "dns.wait_for { name = \"mcat.svc.mcp.metacircular.net\", values = { \"192.168.88.200\" } }\n",
    );
    here.ends(0, &[&wait, "--allow", "dns"]);
}

#[test]
fn a_token_for_one_name_changes_that_name_only() {
    let (there, mut daemon, url) = calls("\"dns:write:svc.mcp.metacircular.net/mcq\"");
    let here = caller(&there, &url);
    let set = |name: &'static str| ["records", "set", ZONES[0], name, "A", "192.0.2.1"];
    here.ends(0, &set("mcq"));
    let refused = here.ends(1, &set("mcr"));
    refused.says(&["error[MC-"]);
    assert!(!refused.stderr.contains(TOKEN), "{refused}");
    daemon.kill();
    let gone = here.ends(1, &set("mcq"));
    gone.says(&["MC-Q011"]);
    until("the other one answers on", || there.process());
}
