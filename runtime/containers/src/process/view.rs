//! Owns what a native program sees of the machine where that is not the machine as it is: volumes at other places,
//! read-only parts, no network. Which of it the kernel grants is [`probe`]'s, the system calls are [`namespaces`]'.

mod namespaces;
mod probe;

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::namespaces::{Numbers, Own};
use super::live;
use super::record::{Identity, Program};
use crate::spec::{Mount, Source};

pub(crate) use self::probe::obstacle;

/// What stays as it is beneath a read-only root: devices and processes are no files of the host.
const KEPT: [&str; 2] = ["/dev", "/proc"];

/// What a program sees.
#[derive(Debug)]
pub(super) struct View {
    /// Outer ones before those that lie in them.
    mounts: Vec<Mount>,
    read_only: bool,
    no_network: bool,
    numbers: Option<Numbers>,
}

impl View {
    /// The view of `program`; `None` where that is the machine itself, which takes nothing.
    pub(super) fn of(program: &Program) -> io::Result<Option<Self>> {
        let mounts = mounts(program).map_err(io::Error::other)?;
        let is_plain = mounts.iter().all(is_in_place) && !program.read_only && !program.no_network;
        let view = || Self {
            mounts: sorted(mounts),
            read_only: program.read_only,
            no_network: program.no_network,
            numbers: Numbers::of_this_user(),
        };
        Ok((!is_plain).then(view))
    }

    fn own(&self) -> Own {
        let mounts = self.read_only || !self.mounts.iter().all(is_in_place);
        Own { mounts, network: self.no_network }
    }

    /// Makes the calling process, which has a single thread, see this and nothing else.
    pub(super) fn enter(&self) -> io::Result<()> {
        let own = self.own();
        namespaces::make(own, self.numbers.as_ref())
            .map_err(|cause| named("namespaces of its own", &cause))?;
        if own.mounts {
            self.mount()?;
        }
        self.confine()
    }

    /// Every source is the host's, so all are taken before the first is put in its place.
    fn mount(&self) -> io::Result<()> {
        let mut copies: Vec<(OwnedFd, &str)> = Vec::new();
        if self.read_only {
            for path in KEPT {
                copies.push((namespaces::copy(path).map_err(|cause| named(path, &cause))?, path));
            }
        }
        for mount in &self.mounts {
            let failed = |cause: io::Error| named(&format!("the volume `{mount}`"), &cause);
            let copy = namespaces::copy(source(mount)).map_err(failed)?;
            if mount.read_only {
                namespaces::seal(&copy).map_err(failed)?;
            }
            copies.push((copy, &mount.target));
        }
        if self.read_only {
            namespaces::seal_root().map_err(|cause| named("the read-only root", &cause))?;
        }
        for (copy, target) in &copies {
            namespaces::attach(copy, *target)
                .map_err(|cause| named(&format!("the volume at `{target}`"), &cause))?;
        }
        Ok(())
    }

    /// The process `leader` lives in this view: the descriptor through which another one joins it.
    pub(super) fn door(&self, leader: Identity) -> io::Result<OwnedFd> {
        let gone = || io::Error::other("the program has just ended");
        let pid = Pid::from_raw(leader.pid).ok_or_else(gone)?;
        let door = pidfd_open(pid, PidfdFlags::empty())?;
        // The descriptor came first: the number cannot have passed to another process in between.
        if live::is_alive(leader) { Ok(door) } else { Err(gone()) }
    }

    /// Moves the calling process, which has a single thread, to where the one behind `door` is. System calls alone.
    pub(super) fn join(&self, door: &OwnedFd) -> io::Result<()> {
        namespaces::join(door.as_fd(), self.own(), self.numbers.is_some())?;
        self.confine()
    }

    /// Where something is kept from the program it must not be able to take it back; root could.
    fn confine(&self) -> io::Result<()> {
        let keeps_something =
            self.read_only || self.no_network || self.mounts.iter().any(|mount| mount.read_only);
        if keeps_something { namespaces::give_up_undoing() } else { Ok(()) }
    }
}

fn named(what: &str, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{what}: {cause}"))
}

fn is_in_place(mount: &Mount) -> bool {
    source(mount) == mount.target && !mount.read_only
}

fn source(mount: &Mount) -> &str {
    let (Source::Host(source) | Source::Volume(source)) = &mount.source;
    source
}

/// A mount beneath another one's place comes after it.
fn sorted(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    mounts
}

/// The mounts of a recorded program.
pub(super) fn mounts(program: &Program) -> std::result::Result<Vec<Mount>, String> {
    program.volumes.iter().map(|text| text.parse()).collect()
}

/// `path` with every link followed, as far as it exists.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    match real.and_then(|(above, real)| Some((real, path.strip_prefix(above).ok()?))) {
        Some((real, rest)) if !rest.as_os_str().is_empty() => real.join(rest),
        Some((real, _)) => real,
        None => path.to_owned(),
    }
}

/// Where on the host the file is that a program with these mounts finds at `path`.
pub(crate) fn behind(mounts: &[Mount], path: &Path) -> PathBuf {
    let path = resolved(path);
    let mut nearest: Option<(PathBuf, &Mount)> = None;
    for mount in mounts {
        let target = resolved(Path::new(&mount.target));
        let is_nearer = nearest.as_ref().is_none_or(|(known, _)| target.starts_with(known));
        if path.starts_with(&target) && is_nearer {
            nearest = Some((target, mount));
        }
    }
    match nearest.and_then(|(target, mount)| Some((path.strip_prefix(&target).ok()?, mount))) {
        // Joining an empty rest would end the path in a slash, by which a file is none.
        Some((rest, mount)) if rest.as_os_str().is_empty() => PathBuf::from(source(mount)),
        Some((rest, mount)) => Path::new(source(mount)).join(rest),
        None => path,
    }
}

/// Refuses mounts of what is not there or to where nothing is: the host gets no folders for them. `is_planned` tells
/// what will be there.
///
/// # Errors
/// `MC-A001` naming the path.
pub(super) fn check(
    mounts: &[Mount],
    read_only: bool,
    is_planned: &(dyn Fn(&Path) -> bool + Sync),
) -> Result<()> {
    let wrong = |problem: String| Error::new(Code::Argument, format!("volumes: {problem}"));
    let is_there = |path: &Path| path.exists() || is_planned(path);
    let is_view = read_only || !mounts.iter().all(is_in_place);
    let mounts = sorted(mounts.to_vec());
    for (index, mount) in mounts.iter().enumerate() {
        let (source, target) = (Path::new(source(mount)), Path::new(&mount.target));
        if !is_there(source) {
            return Err(wrong(format!("`{}` does not exist", source.display())));
        }
        if is_view && target == Path::new("/") {
            return Err(wrong(format!("`{mount}`: a native program keeps the root; mount beneath it")));
        }
        let place = behind(&mounts[..index], target);
        if !is_there(&place) {
            return Err(wrong(format!(
                "`{}` does not exist, so nothing can be mounted there",
                place.display()
            ))
            .hint("a native program sees the host's own folders; make the folder, with `files` or by hand"));
        }
        if source.exists() && place.exists() && source.is_dir() != place.is_dir() {
            return Err(wrong(format!("`{mount}`: one is a folder and the other is a file")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(texts: &[&str]) -> Vec<Mount> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_behind_a_path_is_told_by_the_nearest_mount() {
        let mounts = mounts(&["/srv/none/outer:/none/data", "/srv/none/inner:/none/data/in:ro"]);
        for (path, wanted) in [
            ("/none/data", "/srv/none/outer"),
            ("/none/data/x", "/srv/none/outer/x"),
            ("/none/data/in/x", "/srv/none/inner/x"),
            ("/none/database", "/none/database"),
        ] {
            assert_eq!(behind(&mounts, Path::new(path)), Path::new(wanted), "{path}");
        }
    }

    #[test]
    fn links_are_followed_before_anything_is_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap().join("real");
        let link = dir.path().join("link");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(resolved(&link), real);
        assert_eq!(resolved(&link.join("a/b")), real.join("a/b"));
        let mounts = mounts(&[&format!("/srv/none:{}", real.display())]);
        assert_eq!(behind(&mounts, &link.join("program")), Path::new("/srv/none/program"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().to_str().unwrap();
        fs::create_dir_all(format!("{dir}/source/in")).unwrap();
        fs::create_dir_all(format!("{dir}/target")).unwrap();
        fs::write(format!("{dir}/file"), "").unwrap();
        let refusal = |texts: &[String]| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            check(&mounts(&texts), false, &|_| false).err().map(|error| error.message)
        };
        let outer = format!("{dir}/source:{dir}/target");
        assert_eq!(refusal(std::slice::from_ref(&outer)), None);
        assert_eq!(refusal(&[outer.clone(), format!("{dir}:{dir}/target/in")]), None, "in the volume");
        for (text, wanted) in [
            (format!("{dir}/gone:{dir}/target"), format!("`{dir}/gone` does not exist")),
            (format!("{dir}/source:{dir}/gone"), format!("`{dir}/gone` does not exist, so")),
            (format!("{dir}/file:{dir}/target"), "one is a folder".to_owned()),
            (format!("{dir}/source:/"), "keeps the root".to_owned()),
        ] {
            let message = refusal(std::slice::from_ref(&text)).unwrap();
            assert!(message.contains(&wanted), "{text}: {message}");
        }
        let missing = refusal(&[outer, format!("{dir}:{dir}/target/out")]).unwrap();
        assert!(missing.contains(&format!("`{dir}/source/out` does not exist")), "{missing}");
    }

    #[test]
    fn what_the_plan_makes_is_not_missing() {
        let given = mounts(&["/none/source:/none/target"]);
        assert!(check(&given, false, &|path| path.starts_with("/none")).is_ok());
    }
}
