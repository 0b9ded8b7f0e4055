//! Owns a collector that is another program, and what it was sent.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::python;

const PATIENCE: Duration = Duration::from_secs(60);

/// A collector that is under way; dropping it ends it.
pub(crate) struct Collector {
    child: Child,
    lines: Receiver<Value>,
    status: PathBuf,
    /// Where it listens.
    pub(crate) endpoint: String,
    _folder: tempfile::TempDir,
}

impl Collector {
    /// One that answers with `status`.
    pub(crate) async fn start(status: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        std::fs::write(&file, status).unwrap();
        let mut command = python::script("collector.py").await;
        let mut child = command.arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        output.read_line(&mut port).unwrap();
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test may be over.
                let _ = told.send(serde_json::from_str(&line).unwrap());
            }
        });
        let endpoint = format!("http://127.0.0.1:{}", port.trim());
        Self { child, lines, status: file, endpoint, _folder: folder }
    }

    /// What it answers with from now on.
    pub(crate) fn answer(&self, status: &str) {
        let new = self.status.with_extension("new");
        std::fs::write(&new, status).unwrap();
        std::fs::rename(new, &self.status).unwrap();
    }

    /// The next message that is `wanted`.
    pub(crate) fn next(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let seen = self.lines.recv_timeout(PATIENCE).expect("the collector is sent something");
            if wanted(&seen) {
                return seen;
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
