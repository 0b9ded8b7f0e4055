//! Owns a place to run the program in: a folder of scripts, a state directory, and the cleaning up of what it started.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A folder, a state directory and the program.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Writes a script and returns its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join("scripts").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with `words`, ready to be started.
    #[expect(clippy::disallowed_methods, reason = "the suite starts the program under test")]
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcrun-probed"));
        command
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("MCRUN_STATE", self.state())
            .env("MCRUN_CONFIG", self.config())
            .stdin(Stdio::null());
        command
    }

    fn config(&self) -> PathBuf {
        let path = self.path().join("mcrun.toml");
        if !path.exists() {
            std::fs::write(&path, "[drivers]\ncontainers = \"process\"\n").unwrap();
        }
        path
    }

    pub(crate) fn run(&self, words: &[&str]) -> Seen {
        Seen::of(self.command(words).output().expect("the program starts"))
    }

    pub(crate) fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }
}

impl Drop for Place {
    /// Ends every native service that the test left running.
    fn drop(&mut self) {
        let listed = self.run(&["ps", "--json"]);
        let containers: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).unwrap_or_default();
        for container in containers {
            let name = container["name"].as_str().unwrap_or_default();
            let script = self.script("clean.lua", &format!("containers.remove {{ name = \"{name}\" }}"));
            self.run(&[script.to_str().unwrap(), "--allow", "containers"]);
        }
    }
}

/// What a program showed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Seen {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
