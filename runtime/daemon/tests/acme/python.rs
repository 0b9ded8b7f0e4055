//! The library `acme` (PyPI) as a client: what certbot is made of, newer than Debian's, and with renewal information.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::stage::{Stage, program, run};

/// The Python environment with the library, made once for the tests of this target folder.
async fn python() -> PathBuf {
    // Beneath what cargo builds into, so that `cargo clean` takes it along.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("acme-client");
    let python = home.join("bin/python3");
    let lock = File::create(home.with_extension("lock")).unwrap();
    tokio::task::spawn_blocking(move || {
        // Tests of other processes wait for the one that installs.
        lock.lock().unwrap();
        if home.join("installed").exists() {
            return;
        }
        let mut make = program("/usr/bin/python3");
        assert!(make.args(["-m", "venv"]).arg(&home).status().unwrap().success());
        let mut install = program(home.join("bin/pip").to_str().unwrap());
        assert!(install.args(["install", "--quiet", "acme>=5,<6"]).status().unwrap().success());
        File::create(home.join("installed")).unwrap();
    })
    .await
    .unwrap();
    python
}

#[tokio::test]
async fn the_library_registers_changes_its_key_asks_when_to_renew_and_deactivates() {
    let stage = Stage::listening(|settings| settings.eab = true).await;
    let (id, shared) = stage.eab("mcat").await;
    let mut command = program(python().await.to_str().unwrap());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acme/client.py"));
    command.args([&stage.server.directory(), &id, &shared, &stage.settings.http_port.to_string()]);
    command.env("REQUESTS_CA_BUNDLE", stage.root());
    let said = run(command).await;
    for step in
        ["registered", "issued", "renewal", "key changed", "old key refused", "revoked", "deactivated"]
    {
        assert!(said.lines().any(|line| line == step), "{step} is missing:\n{said}");
    }
    assert_eq!(stage.authority.count(), 2);
}
