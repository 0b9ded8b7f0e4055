//! Passkeys as browsers make and show them: Chromium with its virtual authenticator, before a daemon.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::{Place, program, until};
use crate::names::peers::port;

const PASSWORD: &str = "correct horse battery";
const HOST: &str = "mcias.test";

/// Lets both admins in to the service itself, with a password or a passkey.
const RULES: &str = r#"mcias.policy.ensure { name = "web", rules = { {
    name = "people", allow = true, type = "human", services = { "mcias" }, first_factors = { "password", "passkey" },
} } }"#;

fn python() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers/bin/python3")
}

/// The hash of the public key of whoever answers, as Chromium takes it.
fn key_of(address: &str) -> String {
    let pipe = format!(
        "openssl s_client -connect {address} -servername {HOST} </dev/null 2>/dev/null | openssl x509 -pubkey -noout \
         | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64"
    );
    let said = program("sh").args(["-c", &pipe]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_browser_enrols_a_passkey_and_signs_in_with_it_and_attacks_are_refused() {
    let (place, listen) = (Place::new(), port());
    let url = format!("https://{HOST}:{}", listen.port());
    place.configure(&format!("[mcias]\nlisten = \"{listen}\"\nurl = \"{url}\"\n"));
    let password = place.at("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    place.ends(0, &["mcias", "init", "root", "--passphrase-file", &password]);
    place.ends(0, &["mcias", "recover-admin", "bob", "--passphrase-file", &password]);
    place.ends(0, &[&place.script("rules.lua", RULES), "--allow", "mcias"]);
    let served = place.start(&["serve"]);
    until("it answers", || served.stderr().contains("ready").then_some(()));
    let other = format!("https://other.{HOST}:{}", listen.port());
    let mut browser = program(python());
    browser.args(["-c", include_str!("passkeys/browser.py")]);
    browser.args(["/usr/bin/chromium", &url, &other, &key_of(&listen.to_string()), PASSWORD]);
    let said = browser.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}\n{err}\n{}", served.stderr());
    let seen: Vec<&str> = out.lines().collect();
    let facts = [
        "enrolled",
        "second factor",
        "replayed",
        "first factor",
        "another account's",
        "regressed",
        "passkey and code",
        "wrong origin",
        "removed",
    ];
    assert_eq!(seen, facts);
    // The page removed the one of root; the other goes by command.
    assert_eq!(place.json(&["mcias", "passkeys", "root", "--json"]), serde_json::json!([]));
    let listed = place.json(&["mcias", "passkeys", "bob", "--json"]);
    assert_eq!(
        (&listed[0]["name"], listed[0]["used"].is_null()),
        (&"<b>my key</b>".into(), true),
        "{listed}"
    );
    let id = listed[0]["id"].as_str().unwrap();
    place.ends(1, &["mcias", "remove-passkey", "root", id]).says(&["MC-W012"]);
    place.ends(0, &["mcias", "remove-passkey", "bob", id]);
    assert_eq!(place.json(&["mcias", "passkeys", "bob", "--json"]), serde_json::json!([]));
    place.ends(0, &["mcias", "reset-factors", "bob"]);
}
