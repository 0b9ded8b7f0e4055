//! What a person sees of bad input about names. The snapshots are what is shown.

use crate::errors::shows;
use crate::harness::Place;

fn place() -> Place {
    let place = Place::new();
    place.ends(0, &["zones", "set", "mcrun.test"]);
    place.ends(0, &["records", "set", "mcrun.test", "www", "A", "192.0.2.1"]);
    place.ends(0, &["records", "set", "mcrun.test", "alias", "CNAME", "www"]);
    place
}

fn set<'a>(name: &'a str, rtype: &'a str, value: &'a str) -> [&'a str; 6] {
    ["records", "set", "mcrun.test", name, rtype, value]
}

#[test]
fn of_zones_and_names() {
    let place = place();
    shows!("unknown_zone", place, &["records", "set", "other.test", "www", "A", "192.0.2.1"]);
    shows!("unknown_zone_listed", place, &["records", "list", "other.test"]);
    shows!("unknown_zone_shown", place, &["zones", "show", "other.test"]);
    shows!("unknown_zone_exported", place, &["zones", "export", "other.test"]);
    shows!("outside", place, &set("www.other.test.", "A", "192.0.2.1"));
    shows!("not_a_name", place, &set("a..b", "A", "192.0.2.1"));
    shows!("label_too_long", place, &set(&"a".repeat(64), "A", "192.0.2.1"));
    shows!("bad_idn", place, &set("a\u{2f00}\u{fffd}", "A", "192.0.2.1"));
    shows!("no_such_record", place, &["records", "show", "mcrun.test", "www", "AAAA"]);
}

#[test]
fn of_records() {
    let place = place();
    shows!("cname_beside_a", place, &set("www", "CNAME", "other"));
    shows!("a_beside_cname", place, &set("alias", "A", "192.0.2.2"));
    shows!("cname_of_the_zone", place, &set("@", "CNAME", "www"));
    shows!("two_cnames", place, &["records", "set", "mcrun.test", "two", "CNAME", "www", "alias"]);
    shows!("soa", place, &set("@", "SOA", "ns hostmaster 1 2 3 4 5"));
    shows!("last_ns", place, &["records", "rm", "mcrun.test", "@", "NS"]);
    shows!("bad_address", place, &set("www", "A", "192.0.2.256"));
    shows!("bad_mx", place, &set("@", "MX", "mail"));
    shows!("txt_too_long", place, &set("@", "TXT", &format!("\"{}\"", "x".repeat(300))));
    shows!("bad_generic", place, &set("odd", "TYPE65280", "\\# 3 0102"));
    shows!("unknown_type", place, &set("www", "AAAAA", "192.0.2.1"));
    shows!("meta_type", place, &set("www", "ANY", "192.0.2.1"));
    let long = [&set("www", "A", "192.0.2.1")[..], &["--ttl", "70y"]].concat();
    shows!("bad_ttl", place, &long);
    let long = [&set("www", "A", "192.0.2.1")[..], &["--ttl", "30000d"]].concat();
    shows!("ttl_too_long", place, &long);
}

#[test]
fn of_zone_files() {
    let place = place();
    for (name, text) in [
        ("value", "$TTL 300\n@ IN SOA ns hostmaster 1 2 3 4 5\n@ IN NS ns\nwww IN A 192.0.2.999\n"),
        ("type", "$TTL 300\n@ IN NS ns\nwww IN AAAAA ::1\n"),
        ("outside", "$TTL 300\n@ IN NS ns\nwww.other.test. IN A 192.0.2.1\n"),
        ("include", "$INCLUDE /etc/passwd\n"),
        ("exclusive", "$TTL 300\n@ IN NS ns\nwww IN A 192.0.2.1\nwww IN CNAME ns\n"),
        ("open", "$TTL 300\n@ IN SOA ns hostmaster ( 1 2 3 4 5\n"),
    ] {
        std::fs::write(place.at(name), text).unwrap();
    }
    let import = |file: &str| ["zones".to_owned(), "import".into(), "mcrun.test".into(), place.at(file)];
    fn words(words: &[String; 4]) -> [&str; 4] {
        words.each_ref().map(String::as_str)
    }
    shows!("file_value", place, &words(&import("value")));
    shows!("file_type", place, &words(&import("type")));
    shows!("file_outside", place, &words(&import("outside")));
    shows!("file_include", place, &words(&import("include")));
    shows!("file_exclusive", place, &words(&import("exclusive")));
    shows!("file_open", place, &words(&import("open")));
    shows!("file_missing", place, &words(&import("nowhere")));
}

#[test]
fn of_a_script() {
    let place = place();
    let script = place.script(
        "names.lua",
        "local zone = \"mcrun.test\"\n\
         dns.ensure { zone = zone, name = \"www\", type = \"CNAME\", values = { \"other\" } }\n",
    );
    shows!("script_exclusive", place, &[&script, "--allow", "dns"]);
    shows!("script_exclusive_planned", place, &["plan", &script, "--allow", "dns"]);
    let script = place.script(
        "typo.lua",
        "dns.ensure { zone = \"mcrun.test\", nmae = \"www\", type = \"A\", values = { \"192.0.2.1\" } }\n",
    );
    shows!("script_field", place, &[&script, "--allow", "dns"]);
    let script = place.script(
        "wait.lua",
        "dns.wait_for { name = \"www.mcrun.test\", values = { \"192.0.2.1\" }, servers = { \"127.0.0.1:1\" }, within = \"1s\" }\n",
    );
    shows!("script_wait", place, &[&script, "--allow", "dns", "--allow", "dns:servers"]);
}

#[test]
fn of_servers() {
    let place = place();
    shows!("no_edge", place, &["dns", "status"]);
    shows!("no_edge_stopped", place, &["dns", "stop"]);
    shows!("no_listen", place, &["edge"]);
    place.configure("[dns]\nlisten = [\"ns.mcrun.test\"]\n");
    shows!("listen_by_name", place, &["zones", "list"]);
    place.configure("[dns]\nlisten = [\"127.0.0.1\", \"127.0.0.1:53\"]\n");
    shows!("listen_twice", place, &["zones", "list"]);
    place.configure("[drivers]\ndns = \"rfc2136\"\n");
    shows!("no_settings", place, &["records", "list", "mcrun.test"]);
    place.configure("[drivers]\ndns = \"bind\"\n");
    shows!("no_driver", place, &["zones", "list"]);
}
