//! Owns what has to be right before a machine is set up: nothing is changed where any of it is not.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};

use super::units::{self, MARK};
use super::{FOLDERS, GROUP, Places, Wish};

/// Where a package has its units.
const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system/mcrun.service", "/lib/systemd/system/mcrun.service"];
/// What is there while systemd runs a machine; `sd_booted` looks at nothing else.
const BOOTED: &str = "/run/systemd/system";
/// Where programs of the machine lie.
pub(super) const FOLDERS_OF_PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// The programs of the machine that the script calls.
pub(super) const PROGRAMS: [&str; 4] = ["systemctl", "systemd-sysusers", "systemd-tmpfiles", "getent"];

/// Whether this is root.
pub(super) fn is_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Code::SetupRoot, "setting mcrun up takes root")
        .hint("`sudo mcrun setup --plan` shows what it would do"))
}

/// Whether systemd runs this machine.
pub(super) fn is_booted() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Everything else.
pub(super) fn all(places: &Places, wish: &Wish) -> Result<()> {
    plain(places)?;
    systemd(wish)?;
    packaged()?;
    program(&places.program)?;
    free(places)
}

/// Units take words, not quoted strings.
fn plain(places: &Places) -> Result<()> {
    for path in [&places.program, &places.state, &places.config] {
        let is_plain = |text: &str| {
            text.chars().all(|sign| sign.is_ascii_alphanumeric() || "/._+@-".contains(sign))
                && !text.split('/').any(|part| part == "..")
        };
        if !path.to_str().is_some_and(is_plain) {
            return Err(Error::new(Code::SetupPath, format!("`{}` cannot stand in a unit", path.display())));
        }
    }
    let user = places.user.as_str();
    let is_name = user.len() <= 31
        && user.starts_with(|sign: char| sign.is_ascii_lowercase() || sign == '_')
        && user.chars().all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || "_-".contains(sign));
    if is_name { Ok(()) } else { Err(Error::new(Code::SetupPath, format!("`{user}` is no name for a user"))) }
}

fn systemd(wish: &Wish) -> Result<()> {
    let refused = |what: String| Err(Error::new(Code::SetupSystemd, what));
    if !wish.no_start && !is_booted() {
        return refused("systemd does not run this machine".to_owned());
    }
    let is_there =
        |name: &&str| FOLDERS_OF_PROGRAMS.iter().any(|folder| Path::new(folder).join(name).is_file());
    match PROGRAMS.iter().find(|name| !is_there(name)) {
        Some(name) => refused(format!("there is no `{name}` on this machine")),
        None => Ok(()),
    }
}

fn packaged() -> Result<()> {
    match PACKAGED.iter().find(|path| Path::new(path).exists()) {
        Some(path) => Err(Error::new(Code::SetupPackage, format!("`{path}` came with a package"))),
        None => Ok(()),
    }
}

/// A boot will start this file as root: nobody else may be able to put another in its place.
fn program(program: &Path) -> Result<()> {
    let refused = |message: String| Error::new(Code::SetupProgram, message);
    let real = fs::canonicalize(program)
        .map_err(|error| refused(format!("there is no program `{}`", program.display())).because(error))?;
    // The links as well as what they lead to.
    for path in program.ancestors().chain(real.ancestors()) {
        let shown = path.display();
        let found = fs::symlink_metadata(path)
            .map_err(|error| refused(format!("`{shown}` cannot be looked at")).because(error))?;
        if !is_roots_alone(&found) {
            return Err(refused(format!(
                "others than root can change `{shown}`, from where root would start mcrun"
            )));
        }
    }
    Ok(())
}

fn is_roots_alone(found: &Metadata) -> bool {
    // Everybody may write to every link, which says nothing.
    found.uid() == 0 && (found.is_symlink() || found.mode() & 0o022 == 0)
}

/// Whether what is written has its place to itself.
fn free(places: &Places) -> Result<()> {
    let taken =
        |path: &Path, what: &str| Err(Error::new(Code::SetupTaken, format!("`{}` {what}", path.display())));
    let mut files: Vec<(PathBuf, bool)> =
        units::all(places).into_iter().map(|unit| (unit.path.into(), true)).collect();
    files.extend([(GROUP.into(), false), (FOLDERS.into(), false), (places.config.clone(), false)]);
    for (path, is_unit) in files {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if !found.is_file() {
            return taken(&path, "is not a regular file");
        }
        let is_ours = || fs::read_to_string(&path).is_ok_and(|text| text.starts_with(MARK));
        if is_unit && !is_ours() {
            return taken(&path, "is there and not from `mcrun setup`");
        }
    }
    match fs::symlink_metadata(&places.state) {
        Ok(found) if !found.is_dir() => taken(&places.state, "is not a folder"),
        // Whoever can write there could have the daemon do what they like.
        Ok(found) if found.mode() & 0o022 != 0 => taken(&places.state, "can be written to by others"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_change_is_not_started_by_root() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("mcrun");
        fs::write(&program, "").unwrap();
        // The folder of temporary files is everybody's, whoever runs this test.
        assert_eq!(super::program(&program).unwrap_err().code, Code::SetupProgram);
        assert_eq!(super::program(&folder.path().join("none")).unwrap_err().code, Code::SetupProgram);
    }

    #[test]
    fn only_plain_paths_and_names_stand_in_units() {
        let places = |state: &str, user: &str| Places {
            program: "/usr/local/bin/mcrun".into(),
            state: state.into(),
            config: "/etc/mcrun/mcrun.toml".into(),
            user: user.to_owned(),
            socket: None,
            has_edge: false,
        };
        assert!(plain(&places("/var/lib/mcrun-2", "_mcrun-1")).is_ok());
        for (state, user) in [
            ("/var/lib/my state", "root"),
            ("/var/lib/%i", "root"),
            ("/var/lib/../x", "root"),
            ("/var/lib/x\nExecStartPre=/bin/sh", "root"),
            ("/var/lib/mcrun", "Root"),
            ("/var/lib/mcrun", "a b"),
            ("/var/lib/mcrun", ""),
        ] {
            assert_eq!(plain(&places(state, user)).unwrap_err().code, Code::SetupPath, "{state:?} {user:?}");
        }
    }
}
