//! Owns a proxy with one name, its certificate in a file for whoever trusts files, and running other people's programs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use routes::settings::Settings;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{command, peers};
use crate::support::{Authority, Running};

/// The name of every route here.
pub(crate) const HOST: &str = "a.example.net";

pub(crate) struct Stage {
    pub(crate) running: Running,
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| Settings::default())
    }

    /// With settings that may name files in the folder.
    pub(crate) fn with(settings: impl FnOnce(&TempDir) -> Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::with(&settings(&folder));
        let authority = Authority::new();
        std::fs::write(folder.path().join("ca.pem"), authority.issuer.pem()).unwrap();
        Self { running, authority, folder }
    }

    /// Serves the name from `backend` by TLS; `more` is what else the route says.
    pub(crate) fn secure(&self, backend: SocketAddr, more: Value) {
        let certificate = self.authority.issue(HOST);
        self.running.put(HOST, terms(backend, json!({ "cert": "a" }), more), Some(&certificate));
    }

    /// The same without TLS.
    pub(crate) fn plain(&self, backend: SocketAddr, more: Value) {
        self.running.put(HOST, terms(backend, json!({}), more), None);
    }

    pub(crate) fn port(&self) -> String {
        self.running.port().to_string()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// The name as a URL.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{HOST}:{}{path}", self.running.port())
    }

    /// Asks with curl, and gives what it says and writes.
    pub(crate) fn curl(&self, arguments: &[&str]) -> String {
        let to = format!("{HOST}:{}:{}", self.running.port(), self.running.address);
        let mut curl = command("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--connect-to", &to]);
        run(curl.args(["--cacert", &self.path("ca.pem")]).args(arguments))
    }
}

fn terms(backend: SocketAddr, own: Value, more: Value) -> Value {
    let mut terms = json!({ "backends": [backend.to_string()] });
    for part in [own, more] {
        terms.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    terms
}

/// One of the scripts beside this file, for the Python that has the libraries.
pub(crate) fn script(name: &str) -> Command {
    let mut python = command(peers().join("bin/python3"));
    python.arg(format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR")));
    python
}

/// What a program writes; it must be content.
pub(crate) fn run(program: &mut Command) -> String {
    let output = program
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|cause| panic!("{program:?}: {cause}; tests/install.sh installs what tests need"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {}\n{said}\n{complained}", output.status);
    said
}
