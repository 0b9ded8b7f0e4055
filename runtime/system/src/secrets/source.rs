//! Owns one configured secret: its source and where it may go.

use std::path::{Path, PathBuf};

use effect::units::Span;
use effect::{Code, Error, Result};
use globset::{GlobBuilder, GlobMatcher};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exec::{Failure, Process};

/// A larger secret is a mistake.
const LARGEST: usize = super::sealed::LARGEST;
const COMMAND_TIMEOUT: Span = Span::seconds(10);

/// A secret in `mcrun.toml`: exactly one of `file`, `env` and `command`, and where it may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// A file that holds it; one newline at the end does not count.
    pub file: Option<PathBuf>,
    /// An environment variable of mcrun that holds it.
    pub env: Option<String>,
    /// A command that prints it, such as `["pass", "mcq/db"]`.
    pub command: Option<Vec<String>>,
    /// Where it may go: `containers:mcq*`, `http:https://api/**`, `exec:/usr/bin/psql`, `files:/etc/app/*`.
    #[serde(default)]
    pub to: Vec<String>,
}

/// A checked source.
pub(super) struct Source {
    origin: Origin,
    destinations: Vec<GlobMatcher>,
}

enum Origin {
    File(PathBuf),
    Env(String),
    Command(Vec<String>),
}

impl SecretSource {
    /// Checks it. `root` is the script's folder, in which no secret may lie.
    pub(super) fn check(&self, name: &str, root: &Path) -> Result<Source> {
        let wrong = |why: String| Error::new(Code::Config, format!("[secrets.\"{name}\"]: {why}"));
        let origin = match (&self.file, &self.env, &self.command) {
            (Some(file), None, None) => Origin::File(outside(file, root).map_err(wrong)?),
            (None, Some(variable), None) => Origin::Env(variable.clone()),
            (None, None, Some(command)) if !command.is_empty() => Origin::Command(command.clone()),
            _ => return Err(wrong("takes exactly one of `file`, `env` and `command`".into())),
        };
        if let Origin::Command(command) = &origin {
            let program = &command[0];
            if program.contains('/') {
                outside(Path::new(program), root).map_err(wrong)?;
            }
        }
        let destinations = self.to.iter().map(|pattern| destination(pattern));
        let destinations = destinations
            .collect::<Result<_, _>>()
            .map_err(|error: globset::Error| wrong(error.to_string()))?;
        Ok(Source { origin, destinations })
    }
}

/// A script's author must not be able to supply what its operator configures.
fn outside(path: &Path, root: &Path) -> Result<PathBuf, String> {
    if !path.is_absolute() {
        return Err(format!("`{}` is not absolute", path.display()));
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.starts_with(root) || real(path).starts_with(real(root)) {
        return Err(format!("`{}` lies in the script's own folder", path.display()));
    }
    Ok(path.to_owned())
}

pub(super) fn destination(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    // The names of containers have no folders; those of files, programs and addresses do.
    let folders = !pattern.starts_with("containers:");
    Ok(GlobBuilder::new(pattern).literal_separator(folders).backslash_escape(true).build()?.compile_matcher())
}

impl Source {
    pub(super) fn may_go(&self, destination: &str) -> bool {
        self.destinations.iter().any(|pattern| pattern.is_match(destination))
    }

    /// Reads the value. Errors never contain any of it.
    pub(super) async fn read(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |what: String, cause: String| {
            Error::new(Code::SecretSource, format!("secret `{name}`: {what} cannot be read")).because(cause)
        };
        let (value, what) = match &self.origin {
            Origin::File(path) => {
                let what = format!("its file `{}`", path.display());
                (read_file(path.clone()).await.map_err(|cause| failed(what.clone(), cause))?, what)
            }
            Origin::Env(variable) => {
                let what = format!("its environment variable `{variable}`");
                let value =
                    std::env::var_os(variable).ok_or_else(|| failed(what.clone(), "it is not set".into()))?;
                (Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value)), what)
            }
            Origin::Command(command) => {
                let what = format!("the output of its command `{}`", command[0]);
                (read_command(command).await.map_err(|cause| failed(what.clone(), cause))?, what)
            }
        };
        match trimmed(value) {
            value if value.is_empty() => Err(failed(what, "it is empty".into())),
            value if value.len() > LARGEST => Err(failed(what, format!("it is larger than {LARGEST} bytes"))),
            value => Ok(value),
        }
    }
}

pub(super) fn trimmed(mut value: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if value.ends_with(b"\n") {
        value.pop();
        if value.ends_with(b"\r") {
            value.pop();
        }
    }
    value
}

async fn read_file(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, String> {
    let read = move || {
        use std::io::Read as _;
        let file = std::fs::File::open(&path)?;
        // The newline at its end is not part of the value.
        let mut value = Zeroizing::new(Vec::new());
        file.take(LARGEST as u64 + 2).read_to_end(&mut value)?;
        Ok(value)
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| "reading it ended early".to_owned())?;
    read.map_err(|error: std::io::Error| error.to_string())
}

async fn read_command(command: &[String]) -> Result<Zeroizing<Vec<u8>>, String> {
    // The operator's own command: it gets mcrun's environment, as `pass` and its like need.
    let environment = std::env::vars_os().collect();
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let path = crate::exec::resolve(&command[0], Path::new("/"), &variables)
        .map_err(|error| error.cause.unwrap_or(error.message))?;
    let process = Process {
        path,
        argv: command.iter().map(Into::into).collect(),
        folder: PathBuf::from("/"),
        environment,
        stdin: None,
        timeout: COMMAND_TIMEOUT,
        output_limit: LARGEST + 2,
        inherited: Vec::new(),
        confinement: None,
    };
    match process.run().await {
        Ok(ending) => match ending.output().code {
            0 => Ok(Zeroizing::new(ending.into_stdout())),
            code => Err(format!("it ended with exit code {code}")),
        },
        Err(Failure::Start(error)) => Err(error.to_string()),
        Err(Failure::TimedOut { after, .. }) => Err(format!("it was stopped after {after}")),
        Err(Failure::Lost) => Err("it was killed".into()),
    }
}
