use std::collections::BTreeMap;
use std::path::Path;

use effect::{Code, Mode, Secrets};
use serde_json::json;
use system::{SecretSource, SecretStore};

use crate::bench::{Bench, secret};

fn sources(source: SecretSource) -> BTreeMap<String, SecretSource> {
    BTreeMap::from([("mcq/db".to_owned(), source)])
}

fn command(argv: &[&str]) -> SecretSource {
    let command = argv.iter().map(|word| (*word).to_owned()).collect();
    SecretSource {
        file: None,
        env: None,
        command: Some(command),
        to: vec!["containers:mcq*".into(), "http:https://api/**".into()],
    }
}

#[tokio::test]
async fn a_script_gets_a_handle_and_never_the_value() {
    let bench = Bench::new().with_secret("mcq/db", "hunter2", &[]);
    let script = bench.run().await;
    let handle = secret(&script, "mcq/db").await;
    assert_eq!(handle["$secret"][0]["name"], "mcq/db");
    assert!(!handle.to_string().contains("hunter2"));
    assert_eq!(secret(&script, "mcq/db").await, handle);
}

#[tokio::test]
async fn unknown_and_ungranted_secrets_are_refused() {
    let bench = Bench::new().with_secret("mcq/db", "hunter2", &[]);
    let error = bench.run().await.fails("secrets.get", json!("mcq/bd")).await;
    assert_eq!(error.code, Code::SecretUnknown);
    assert_eq!(error.hint.as_deref(), Some("did you mean `mcq/db`?"));
    let error =
        bench.script(Mode::Run, &["secrets:read:other"]).await.fails("secrets.get", json!("mcq/db")).await;
    assert_eq!(error.missing, ["secrets:read:mcq/db"]);
}

#[tokio::test]
async fn a_command_supplies_its_output() {
    let store = SecretStore::new(&sources(command(&["echo", "hunter2"])), Path::new("/srv/script")).unwrap();
    assert_eq!(&**store.reveal("mcq/db").await.unwrap(), b"hunter2");
    let failing = command(&["/bin/sh", "-c", "echo hunter2; echo hunter2 >&2; exit 4"]);
    let store = SecretStore::new(&sources(failing), Path::new("/srv/script")).unwrap();
    let error = store.reveal("mcq/db").await.unwrap_err();
    assert_eq!(error.code, Code::SecretSource);
    assert!(error.cause.as_deref().unwrap().contains("exit code 4"));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn destinations_are_patterns() {
    let store = SecretStore::new(&sources(command(&["true"])), Path::new("/srv/script")).unwrap();
    let may_go = |destination: &str| store.may_go("mcq/db", destination).unwrap();
    assert!(may_go("containers:mcq-api"));
    assert!(may_go("http:https://api/v1/users"));
    assert!(!may_go("containers:mcr"));
    assert!(!may_go("http:http://api/v1"));
    assert!(!may_go("exec:/usr/bin/env"));
}

#[test]
fn sources_are_exactly_one_and_outside_the_scripts_folder() {
    let bench = Bench::new();
    let root = bench.root();
    let file =
        |path: &Path| SecretSource { file: Some(path.to_owned()), env: None, command: None, to: Vec::new() };
    let inside = root.join("password");
    std::fs::write(&inside, "x").unwrap();
    let alias = root.parent().unwrap().join("outside/alias");
    std::os::unix::fs::symlink(&inside, &alias).unwrap();
    let both = SecretSource { env: Some("HOME".into()), ..command(&["true"]) };
    let script = inside.to_str().unwrap();
    for bad in
        [file(&inside), file(&alias), file(Path::new("relative")), both, command(&[]), command(&[script])]
    {
        let error = SecretStore::new(&sources(bad.clone()), &root)
            .err()
            .unwrap_or_else(|| panic!("{bad:?} is accepted"));
        assert_eq!(error.code, Code::Config);
    }
}
