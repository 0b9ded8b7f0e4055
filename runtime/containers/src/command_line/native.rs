//! Owns what starts a native program from a shell, and what a shell cannot give it.

use std::collections::BTreeMap;

use effect::Result;

use super::{REALM, SecretFile, check, secret_files};
use crate::process;
use crate::spec::Spec;

/// What starts a native program.
#[derive(Debug, Clone, PartialEq)]
pub struct Native {
    /// The program and its words.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The directory that it starts in.
    pub workdir: String,
    /// The numbers of its user and group, where it has others than whoever starts it.
    pub user: Option<(u32, u32)>,
    /// The files with secrets that it reads.
    pub secrets: Vec<SecretFile>,
    /// What a plain shell cannot give it and without which it must not be started.
    pub obstacles: Vec<String>,
    /// What a plain shell does not give it, and without which it can go.
    pub lacks: Vec<String>,
}

/// What starts the native program of `spec`, which has `exec`.
///
/// # Errors
/// `MC-A001` for a spec that is none, or whose user this machine does not have.
pub fn of_program(spec: &Spec) -> Result<Native> {
    check(spec)?;
    let argv = spec.exec.clone().unwrap_or_default();
    let mut env = BTreeMap::from([("PATH".to_owned(), process::DEFAULT_PATH.to_owned())]);
    env.extend(spec.env.clone());
    let secrets = secret_files(spec, REALM);
    for (name, file) in spec.secrets.keys().zip(&secrets) {
        env.insert(format!("{name}_FILE"), file.path.to_string_lossy().into_owned());
    }
    let mut obstacles = Vec::new();
    let mounts = spec.mounts()?;
    let moved = mounts.iter().filter(|mount| mount.to_string() != format!("{0}:{0}", mount.target));
    obstacles.extend(moved.map(|mount| format!("the volume `{mount}` is mounted for it alone")));
    if spec.read_only == Some(true) {
        obstacles.push("it sees the machine read-only".to_owned());
    }
    if spec.network.as_deref() == Some("none") {
        obstacles.push("it has no network".to_owned());
    }
    if argv.first().is_some_and(|program| program.contains('=')) {
        obstacles.push("the path of its program has a `=`".to_owned());
    }
    let mut lacks = Vec::new();
    lacks.extend(spec.memory.map(|memory| format!("its limit of memory, {memory}")));
    lacks.extend(spec.cpus.map(|cpus| format!("its limit of {cpus} processors")));
    let restart = spec.restart_or_default().to_string();
    if restart != "no" {
        lacks.push(format!("a supervisor that starts it again (`{restart}`)"));
    }
    Ok(Native {
        argv,
        env,
        workdir: spec.workdir.clone().unwrap_or_else(|| "/".to_owned()),
        user: process::numbers_of(spec)?,
        secrets,
        obstacles,
        lacks,
    })
}
