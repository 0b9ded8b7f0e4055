//! Owns which file a program's name stands for, and the environment it gets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::fs::{Access, access};

/// Where programs are looked for unless the call sets `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file that `name` stands for, links resolved: a name without a slash is looked for in `PATH`, one with a slash
/// is relative to `folder`.
///
/// Policy speaks about this path and exactly this file is executed.
///
/// # Errors
/// `MC-X001` when there is no such executable file.
pub fn resolve(name: &str, folder: &Path, env: &BTreeMap<String, String>) -> Result<PathBuf> {
    let missing = |cause: String| {
        Error::new(Code::ExecFailed, format!("there is no program `{}`", super::clip(name))).because(cause)
    };
    if name.contains('/') {
        let path = folder.join(name);
        return executable(&path).map_err(|error| missing(error.to_string()));
    }
    let path = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let folders = path.split(':').map(Path::new).filter(|folder| folder.is_absolute());
    folders
        .filter_map(|folder| executable(&folder.join(name)).ok())
        .next()
        .filter(|_| !name.is_empty())
        .ok_or_else(|| {
            missing(format!("not found in {path}")).hint("give its full path, or set PATH in `env`")
        })
}

fn executable(path: &Path) -> std::io::Result<PathBuf> {
    let path = path.canonicalize()?;
    if !path.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    access(&path, Access::EXEC_OK)?;
    Ok(path)
}

/// The whole environment of a program: what the call gives and a `PATH`.
pub(crate) fn environment(given: &BTreeMap<String, String>) -> Result<BTreeMap<OsString, OsString>> {
    let mut environment = BTreeMap::from([("PATH".into(), DEFAULT_PATH.into())]);
    for (name, value) in given {
        check_name(name)?;
        environment.insert(name.into(), value.into());
    }
    Ok(environment)
}

/// Refuses names that no environment can hold.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let message = format!("`{}` cannot be the name of an environment variable", super::clip(name));
        return Err(Error::new(Code::Argument, message));
    }
    Ok(())
}
