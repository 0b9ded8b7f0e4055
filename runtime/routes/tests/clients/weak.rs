//! testssl.sh finds nothing weak.

use serde_json::{Value, json};

use crate::backend;
use crate::program::command;
use crate::stage::{HOST, Stage, run};

#[test]
fn testssl_finds_no_weak_protocol_cipher_or_flaw() {
    let stage = Stage::new();
    stage.secure(backend::start(), json!({ "headers": { "security": true } }));
    let found = stage.path("found.json");
    let mut testssl = command("testssl");
    testssl.args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--nodns", "none"]);
    // Protocols, ciphers, forward secrecy, and every flaw that it knows of.
    testssl.args(["--protocols", "--std", "--fs", "--vulnerable", "--jsonfile", &found]);
    let said = run(testssl.arg(format!("{HOST}:{}", stage.port())).env("HOME", stage.folder.path()));
    let findings: Vec<Value> = serde_json::from_slice(&std::fs::read(&found).unwrap()).unwrap();
    let of = |id: &str| {
        let found = findings.iter().find(|finding| finding["id"] == id);
        found
            .and_then(|finding| finding["finding"].as_str())
            .unwrap_or_else(|| panic!("{id} is missing: {said}"))
    };
    for (id, wanted) in [
        ("SSLv2", "not offered"),
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
    ] {
        assert!(of(id).starts_with(wanted), "{id}: {}", of(id));
    }
    for id in ["TLS1_2", "TLS1_3"] {
        assert!(of(id).starts_with("offered"), "{id}: {}", of(id));
    }
    let bad = ["MEDIUM", "HIGH", "CRITICAL", "FATAL"];
    let weak: Vec<&Value> = findings
        .iter()
        .filter(|finding| bad.iter().any(|severity| finding["severity"] == *severity))
        .collect();
    assert!(weak.is_empty() && findings.len() > 30, "{weak:#?}\n{said}");
}
