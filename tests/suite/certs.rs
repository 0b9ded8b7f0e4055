//! Certificates as an operator has them: made, renewed, revoked and taken back, and killed on the way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use journal::{Journal, SystemClock};
use serde_json::Value;

use crate::errors_of_state::Small;
use crate::harness::{Place, program};

const DEPLOY: &str = r#"
local cert = certs.ensure {
    hostnames = { "hello.mcrun.test", "127.0.0.1" },
    files = { cert = "tls/cert.pem", key = "tls/key.pem", ca = "tls/ca.pem" },
}
log.info("certificate", { id = cert.after.id })
"#;

fn openssl(arguments: &[&str]) -> Output {
    program("openssl").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The files belong together, and peers that trust the roots accept them.
#[track_caller]
fn assert_pair(place: &Place) -> String {
    let at = |name: &str| place.at(&format!("scripts/tls/{name}"));
    let (cert, key, ca) = (at("cert.pem"), at("key.pem"), at("ca.pem"));
    let verified = openssl(&[
        "verify",
        "-verify_hostname",
        "hello.mcrun.test",
        "-CAfile",
        &ca,
        "-untrusted",
        &cert,
        &cert,
    ]);
    assert!(verified.status.success(), "{}", said(&verified));
    let of_cert = said(&openssl(&["x509", "-noout", "-pubkey", "-in", &cert]));
    let of_key = said(&openssl(&["pkey", "-pubout", "-in", &key]));
    assert_eq!(of_cert, of_key, "the key belongs to another certificate");
    let serial = said(&openssl(&["x509", "-noout", "-serial", "-in", &cert]));
    serial.trim().trim_start_matches("serial=").to_ascii_lowercase()
}

/// The serial numbers of everything that was signed.
fn issued(place: &Place) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(&place.state(), Arc::new(SystemClock)).unwrap();
        let records = journal.records("certificate-issued", None).await.unwrap();
        records.into_iter().map(|record| record.name).collect()
    })
}

fn listed(place: &Place) -> Vec<Value> {
    place.json(&["certs", "list", "--json"]).as_array().unwrap().clone()
}

#[test]
fn a_certificate_is_made_once_and_then_left_alone() {
    let place = Place::new();
    let script = place.script("deploy.lua", DEPLOY);
    let planned = place.ends(0, &["plan", &script, "--allow", "*"]);
    assert!(planned.stdout.contains("+ certs.ensure hello.mcrun.test"), "{planned}");
    assert!(issued(&place).is_empty(), "a plan signs nothing");
    assert!(!place.state().join("certs").exists());
    place.ends(0, &[&script, "--allow", "*"]);
    let serial = assert_pair(&place);
    let mode = |name: &str| {
        fs::metadata(place.at(&format!("scripts/tls/{name}"))).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("cert.pem"), mode("key.pem")), (0o600, 0o600));
    let again = place.ends(0, &[&script, "--allow", "*"]);
    assert!(again.stderr.contains("0 changed"), "{again}");
    assert_eq!(assert_pair(&place), serial);
    assert_eq!(issued(&place), [serial]);
}

#[test]
fn what_is_not_granted_is_named() {
    let place = Place::new();
    let script = place.script("deploy.lua", DEPLOY);
    let denied = place.ends(4, &[&script, "--allow", "certs:write:hello.mcrun.test"]);
    assert!(denied.stderr.contains("--allow certs:write:127.0.0.1"), "{denied}");
    assert!(denied.stderr.contains("tls/key.pem"), "{denied}");
    let wildcard = place.script("wild.lua", r#"certs.ensure { hostnames = { "*.mcrun.test" } }"#);
    let denied = place.ends(4, &[&wildcard, "--allow", "certs"]);
    assert!(denied.stderr.contains("certs:wildcards"), "{denied}");
    place.ends(0, &[&wildcard, "--allow", "certs", "--allow", "certs:wildcards"]);
}

#[test]
fn the_policy_of_names_holds_for_new_and_renewed_certificates() {
    let place = Place::new();
    place.configure(
        r#"
        [certs]
        domains = ["svc.mcp.metacircular.net"]
        public_domains = ["metacircular.net"]
        [certs.services]
        mcq = ["mcq.svc.mcp.metacircular.net", "mcq.metacircular.net"]
        "#,
    );
    let ensure = |names: &str, more: &str| {
        let text = format!("certs.ensure {{ hostnames = {{ {names} }}, {more} }}");
        place.script("ensure.lua", &text)
    };
    let mcq = r#"service = "mcq""#;
    let allowed = [
        (r#""mcq.svc.mcp.metacircular.net""#, mcq.to_owned()),
        (r#""mcq.metacircular.net""#, format!(r#"{mcq}, profile = "public""#)),
    ];
    for (names, more) in &allowed {
        place.ends(0, &[&ensure(names, more), "--allow", "*"]);
    }
    for (names, more) in [
        (r#""mcq.svc.mcp.metacircular.net""#, String::new()),
        (r#""mcr.svc.mcp.metacircular.net""#, mcq.to_owned()),
        (r#""mcq.svc.mcp.metacircular.net""#, format!(r#"{mcq}, profile = "public""#)),
        (r#""mcq.metacircular.net""#, mcq.to_owned()),
        (r#""www.example.com""#, format!(r#"{mcq}, profile = "public""#)),
        (r#""mcq.svc.mcp.metacircular.net", "other.test""#, mcq.to_owned()),
    ] {
        let refused = place.ends(1, &[&ensure(names, &more), "--allow", "*"]);
        assert!(refused.stderr.contains("MC-E002"), "{names} {more}: {refused}");
    }
    place.configure("[certs]\ndomains = [\"svc.mcp.metacircular.net\"]\nservices = {}\n");
    let refused = place.ends(1, &["certs", "renew", "mcq.svc.mcp.metacircular.net"]);
    assert!(refused.stderr.contains("MC-E002"), "{refused}");
}

#[test]
fn undo_brings_the_certificate_before_back_with_its_key() {
    let place = Place::new();
    let script = place.script("deploy.lua", DEPLOY);
    let first = place.json(&[&script, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    let serial = assert_pair(&place);
    let more = DEPLOY.replace("\"127.0.0.1\"", "\"127.0.0.1\", \"more.mcrun.test\"");
    let wider = place.script("wider.lua", &more);
    let second = place.json(&[&wider, "--allow", "*", "--json"])["run"].as_str().unwrap().to_owned();
    assert_ne!(assert_pair(&place), serial);
    place.ends(0, &["undo", &second, "--yes"]);
    assert_eq!(assert_pair(&place), serial);
    place.ends(0, &["undo", &first, "--yes"]);
    assert!(!Path::new(&place.at("scripts/tls/key.pem")).exists());
    assert!(listed(&place).is_empty());
}

#[test]
fn renewing_and_revoking_by_hand_are_runs_like_any_other() {
    let place = Place::new();
    let script = place.script("deploy.lua", DEPLOY);
    place.ends(0, &[&script, "--allow", "*"]);
    let serial = assert_pair(&place);
    let planned = place.ends(0, &["certs", "renew", "hello.mcrun.test", "--plan"]);
    assert!(planned.stdout.contains("! certs.renew hello.mcrun.test"), "{planned}");
    assert_eq!(assert_pair(&place), serial);
    place.ends(0, &["certs", "renew", "hello.mcrun.test"]);
    let renewed = assert_pair(&place);
    assert_ne!(renewed, serial);
    let planned = place.ends(0, &["certs", "revoke", "hello.mcrun.test", "--plan"]);
    assert!(planned.stdout.contains("a revocation cannot be taken back"), "{planned}");
    place.ends(2, &["certs", "revoke", "hello.mcrun.test", "--no-input"]);
    place.ends(0, &["certs", "revoke", "hello.mcrun.test", "--reason", "key_compromise", "--yes"]);
    let crl = place.ends(0, &["certs", "ca", "crl"]);
    fs::write(place.at("crl.pem"), &crl.stdout).unwrap();
    let text = said(&openssl(&["crl", "-noout", "-text", "-in", &place.at("crl.pem")]));
    assert!(text.to_ascii_lowercase().contains(&renewed), "{text}");
    let undone = place.run(&["undo", &place.newest_id(), "--yes"]);
    assert!(undone.stderr.contains("certs.revoke cannot be undone"), "{undone}");
    place.ends(0, &[&script, "--allow", "*"]);
    assert_ne!(assert_pair(&place), renewed, "a revoked certificate is not used further");
}

#[test]
fn a_file_that_was_changed_is_put_right() {
    let place = Place::new();
    let script = place.script("deploy.lua", DEPLOY);
    place.ends(0, &[&script, "--allow", "*"]);
    let serial = assert_pair(&place);
    fs::write(place.at("scripts/tls/key.pem"), "somebody else's").unwrap();
    let planned = place.ends(0, &["plan", &script, "--allow", "*"]);
    assert!(planned.stdout.contains("missing or changed"), "{planned}");
    place.ends(0, &[&script, "--allow", "*"]);
    assert_eq!(assert_pair(&place), serial);
}

/// Every point that a command passes, by name.
fn points(words: &[&str], before: impl Fn() -> Place) -> Vec<String> {
    let place = before();
    let log = place.at("points");
    let words: Vec<String> = words.iter().map(|word| word.replace("PLACE", &place.at("scripts"))).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seen = place.start_with(&words, &[("MCRUN_CRASH_LOG", &log)]).end();
    assert_eq!(seen.code, Some(0), "{seen}");
    let passed = place.read("points");
    let unsure = |point: &str| point.starts_with("barrier:");
    let passed: std::collections::BTreeSet<&str> = passed.lines().filter(|point| !unsure(point)).collect();
    passed.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_kill_anywhere_in_an_issuance_leaves_one_certificate_and_its_key() {
    let before = || {
        let place = Place::new();
        place.script("deploy.lua", DEPLOY);
        place
    };
    let points = points(&["PLACE/deploy.lua", "--allow", "*"], before);
    assert!(points.iter().any(|point| point.starts_with("certs:")), "{points:?}");
    for point in &points {
        let place = before();
        let script = place.at("scripts/deploy.lua");
        let killed = place.start_with(&[&script, "--allow", "*"], &[("MCRUN_CRASH_AT", point)]).end();
        let runs = place.runs();
        match runs.first() {
            Some(run) if killed.code != Some(0) && run["state"] != "done" => {
                place.ends(0, &["resume", run["id"].as_str().unwrap()]);
            }
            _ => drop(place.ends(0, &[&script, "--allow", "*"])),
        }
        let serial = assert_pair(&place);
        assert_eq!(issued(&place), [serial], "killed at {point}");
    }
}

#[test]
fn a_full_disk_anywhere_in_an_issuance_leaves_one_certificate_and_its_key() {
    let mut refused = 0;
    for left in (0..160).step_by(8) {
        let place = Place::new();
        let _small = Small::mount(&place);
        let script = place.script("deploy.lua", DEPLOY);
        place.ends(0, &["runs"]);
        let path = place.state().join("junk");
        let mut junk = fs::File::create(&path).unwrap();
        std::io::copy(&mut std::io::repeat(0), &mut junk).expect_err("the file system is full");
        let size = junk.metadata().unwrap().len();
        junk.set_len(size.saturating_sub(left * 1024)).unwrap();
        let seen = place.run(&[&script, "--allow", "*"]);
        refused += u32::from(seen.code != Some(0));
        drop(junk);
        fs::remove_file(&path).unwrap();
        match place.runs().first() {
            Some(run) if run["resumable"] == true => {
                drop(place.ends(0, &["resume", run["id"].as_str().unwrap()]))
            }
            _ => drop(place.ends(0, &[&script, "--allow", "*"])),
        }
        let serial = assert_pair(&place);
        assert_eq!(issued(&place), [serial], "with {left} KiB left: {seen}");
    }
    assert!(refused >= 5, "the disk was full {refused} times only");
}

#[test]
fn a_kill_anywhere_in_a_rotation_leaves_an_authority_that_signs() {
    let before = || {
        let place = Place::new();
        let script = place.script("deploy.lua", DEPLOY);
        place.ends(0, &[&script, "--allow", "*"]);
        place
    };
    let rotate = ["certs", "ca", "rotate", "--root"];
    for point in &points(&rotate, before) {
        let place = before();
        let first = assert_pair(&place);
        place.start_with(&rotate, &[("MCRUN_CRASH_AT", point)]).end();
        assert_eq!(assert_pair(&place), first, "killed at {point}");
        place.ends(0, &["certs", "renew", "hello.mcrun.test"]);
        assert_pair(&place);
        place.ends(0, &rotate);
        place.ends(0, &["certs", "renew", "hello.mcrun.test"]);
        assert_pair(&place);
        assert_eq!(issued(&place).len(), 3);
    }
}

#[test]
fn an_authority_is_shown_sealed_and_carried_elsewhere() {
    let place = Place::new();
    place.ends(1, &["certs", "ca", "show"]).says(&["MC-E005"]);
    let init = place.ends(0, &["certs", "ca", "init", "--no-input"]);
    assert!(init.stderr.contains("peers trust it once they have its root"), "{init}");
    place.ends(1, &["certs", "ca", "init", "--no-input"]).says(&["MC-E009"]);
    let doctor = place.ends(0, &["doctor"]);
    assert!(doctor.stdout.contains("its passphrase lies beside it"), "{doctor}");
    let told = place.ends(0, &["certs", "ca", "take-passphrase"]);
    let passphrase = told.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    place.ends(2, &["certs", "ca", "rotate", "--no-input"]);
    let file = place.at("passphrase");
    fs::write(&file, "wrong\n").unwrap();
    place.ends(1, &["certs", "ca", "rotate", "--passphrase-file", &file]).says(&["MC-E006"]);
    fs::write(&file, format!("{passphrase}\n")).unwrap();
    place.ends(0, &["certs", "ca", "rotate", "--passphrase-file", &file]);
    let export = place.at("authority.age");
    place.ends(0, &["certs", "ca", "export", &export, "--passphrase-file", &file]);
    assert_eq!(fs::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);
    let there = Place::new();
    there.ends(0, &["certs", "ca", "import", &export, "--passphrase-file", &file]);
    let bundle = |place: &Place| place.ends(0, &["certs", "ca", "bundle"]).stdout;
    assert_eq!(bundle(&place), bundle(&there));
    there.ends(1, &["certs", "ca", "import", &export, "--passphrase-file", &file]).says(&["MC-E009"]);
}

#[test]
fn wrong_settings_name_their_key() {
    for (text, said) in [
        ("[certs]\ndomain = []", "did you mean `domains`"),
        ("[certs]\ndomains = [\"a b\"]", "[certs] domains"),
        ("[certs]\nconstraints = [\"10.0.0.0/99\"]", "[certs] constraints"),
        ("[certs]\nurl = \"https://ca.test\"", "[certs] url"),
        ("[certs.profiles.a]\nusage = []", "[certs.profiles.a]"),
        ("[drivers]\ncerts = \"vaul\"", "did you mean `vault`"),
    ] {
        let place = Place::new();
        place.configure(&format!("{text}\n"));
        let seen = place.ends(2, &["certs", "list"]);
        assert!(seen.stderr.contains(said), "{text}: {seen}");
    }
}

fn ssh_keygen(arguments: &[&str]) -> Output {
    program("ssh-keygen").args(arguments).output().unwrap()
}

#[test]
fn ssh_keys_are_signed_and_revoked_by_hand() {
    let place = Place::new();
    let key = place.at("id_ed25519");
    assert!(ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", &key]).status.success());
    let public = format!("{key}.pub");
    let sign = ["certs", "ssh", "sign", "user", &public, "deploy", "--lifetime", "2h", "--key-id", "ada"];
    let planned = place.ends(0, &[&sign[..], &["--plan"]].concat());
    assert!(planned.stdout.contains("! certs.ssh.sign user/deploy"), "{planned}");
    let certificate = format!("{key}-cert.pub");
    assert!(planned.stdout.contains(&certificate) && !Path::new(&certificate).exists(), "{planned}");
    place.ends(0, &sign);
    let shown = said(&ssh_keygen(&["-L", "-f", &certificate]));
    for text in ["user certificate", "Key ID: \"ada\"", "deploy", "permit-pty"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let signed = place.json(&["certs", "ssh", "list", "--json"]);
    let serial = signed[0]["serial"].as_str().unwrap();
    let authority = place.ends(0, &["certs", "ssh", "authorities", "user"]).stdout;
    assert!(authority.starts_with("ssh-ed25519 "), "{authority}");
    let hosts = place.ends(0, &["certs", "ssh", "authorities", "host"]).stdout;
    assert!(hosts.starts_with("@cert-authority * ssh-ed25519 "), "{hosts}");
    let krl = place.at("revoked.krl");
    place.ends(0, &["certs", "ssh", "krl", &krl]);
    assert!(ssh_keygen(&["-Q", "-f", &krl, &certificate]).status.success(), "nothing is revoked yet");
    place.ends(2, &["certs", "ssh", "revoke", "--serial", serial, "--no-input"]);
    place.ends(0, &["certs", "ssh", "revoke", "--serial", serial, "--yes"]);
    place.ends(0, &["certs", "ssh", "krl", &krl]);
    let asked = ssh_keygen(&["-Q", "-f", &krl, &certificate]);
    assert!(said(&asked).contains("REVOKED"), "{}", said(&asked));
    let private = place.ends(2, &["certs", "ssh", "sign", "user", &key, "deploy"]);
    assert!(private.stderr.contains("private key"), "{private}");
    place.ends(0, &["certs", "ssh", "rotate", "user"]);
    let keys = place.ends(0, &["certs", "ssh", "authorities", "user"]).stdout;
    assert_eq!(keys.lines().count(), 2, "both are trusted meanwhile: {keys}");
}

#[test]
fn keys_for_acme_clients_are_made_listed_and_taken_away() {
    let place = Place::new();
    let made = place.json(&["certs", "acme", "add-key", "mcq", "--json"]);
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let listed = place.ends(0, &["certs", "acme", "keys"]).stdout;
    assert!(listed.contains(id) && listed.contains("mcq") && !listed.contains(key), "{listed}");
    place.ends(0, &["certs", "acme", "remove-key", id]);
    assert_eq!(place.json(&["certs", "acme", "keys", "--json"]).as_array().unwrap().len(), 0);
    place.ends(1, &["certs", "acme", "remove-key", id]).says(&["MC-E020"]);
}
