//! Owns the Python environment with what Prometheus and OpenTelemetry themselves read with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "peers are other programs")]
fn program(path: &Path) -> Command {
    Command::new(path)
}

/// The interpreter of the environment, which is made once for the tests of this target folder.
fn python() -> PathBuf {
    // Beneath what cargo builds into, so that `cargo clean` takes it along.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observers");
    let lock = File::create(home.with_extension("lock")).unwrap();
    // Tests of other processes wait for the one that installs.
    lock.lock().unwrap();
    if !home.join("installed").exists() {
        let mut make = program(Path::new("/usr/bin/python3"));
        assert!(make.args(["-m", "venv"]).arg(&home).status().unwrap().success());
        let mut install = program(&home.join("bin/pip"));
        install.args(["install", "--quiet", "prometheus_client>=0.20,<1", "opentelemetry-proto>=1.27,<2"]);
        assert!(install.status().unwrap().success());
        File::create(home.join("installed")).unwrap();
    }
    home.join("bin/python3")
}

/// A program of this folder, ready to be started.
pub(crate) async fn script(name: &str) -> Command {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let mut command = program(&python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observing").join(name));
    command
}
