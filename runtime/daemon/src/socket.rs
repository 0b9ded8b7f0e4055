//! Owns sockets that have a name on this machine: opened for whoever may use them, in the place of one that nobody answers
//! at, and reached under names of any length.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use effect::{Code, Error, Result};
use rustix::fs::{Gid, Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// For whoever may answer at a socket that is there.
const PATIENCE: Duration = Duration::from_secs(1);
/// Names that are longer do not fit the kernel's addresses of sockets.
const LONGEST: usize = 107;
/// Nobody but its owner.
const OWN: u32 = 0o600;
/// Its group too.
const SHARED: u32 = 0o660;

/// Opens the socket at `path` for this user and `group`, or for whomever `mode` says. One that nobody answers at is
/// replaced.
///
/// # Errors
/// `MC-U002` where it cannot be made, `MC-C005` where another process answers there.
pub async fn open(path: &Path, group: Option<&str>, mode: Option<u32>) -> Result<UnixListener> {
    let shown = path.display();
    let failed = |cause: &dyn std::fmt::Display| {
        Error::new(Code::Config, format!("the socket `{shown}` cannot be opened")).because(cause)
    };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(failed(&"another file is there")),
        Ok(_) if timeout(PATIENCE, connect(path)).await.is_ok_and(|there| there.is_ok()) => {
            let message = format!("another process answers at the socket `{shown}`");
            return Err(Error::new(Code::PortOccupied, message));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let group = group.map(|name| group_number(name).map_err(|cause| failed(&cause))).transpose()?;
    let mode = mode.unwrap_or(if group.is_some() { SHARED } else { OWN });
    // It comes to its name only when nobody else may use it.
    let name = path.file_name().ok_or_else(|| failed(&"it has no name"))?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let opened = || -> io::Result<UnixListener> {
        let _ = std::fs::remove_file(&new);
        let listener = short(&new, |place| UnixListener::bind(place))?;
        rustix::fs::chmod(&new, Mode::from_raw_mode(OWN))?;
        if let Some(group) = group {
            rustix::fs::chown(&new, None, Some(Gid::from_raw(group)))?;
        }
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&new, path)?;
        Ok(listener)
    };
    opened().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(&error)
    })
}

/// Connects to the socket at `path`.
///
/// # Errors
/// As the system says.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= LONGEST {
        return UnixStream::connect(path).await;
    }
    let (_folder, place) = shortened(path)?;
    UnixStream::connect(place).await
}

/// Takes the socket away that `path` names, unless somebody else's is there by now.
pub fn close(listener: UnixListener, path: &Path, opened: Identity) {
    if identity(path) == Some(opened) {
        // Whoever finds it learns at once that nobody answers.
        let _ = std::fs::remove_file(path);
    }
    drop(listener);
}

/// What tells one file from another.
pub type Identity = (u64, u64);

/// Which file `path` is.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Does `work` under a name of `path` that fits an address.
fn short<T>(path: &Path, work: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return work(path);
    }
    let (_folder, place) = shortened(path)?;
    work(&place)
}

/// A short name for `path`, while its folder is held.
fn shortened(path: &Path) -> io::Result<(File, PathBuf)> {
    let invalid = || io::Error::from(ErrorKind::InvalidInput);
    let (folder, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    let flags = (OFlags::PATH | OFlags::DIRECTORY).bits().cast_signed();
    let folder = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(folder)?;
    let place = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, place))
}

/// Only the file is looked at: asking other sources could hang.
pub(crate) fn group_number(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = look_up("/etc/group", |fields| fields.first() == Some(&name));
    found?
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| format!("there is no group `{name}` in /etc/group"))
}

/// The name of a group, or its number where it has none.
#[must_use]
pub fn group_name(number: u32) -> String {
    name_of("/etc/group", number)
}

/// The name of a user, or the number where there is none.
#[must_use]
pub fn user_name(number: u32) -> String {
    name_of("/etc/passwd", number)
}

fn name_of(file: &str, number: u32) -> String {
    let shown = number.to_string();
    let found = look_up(file, |fields| fields.get(2) == Some(&shown.as_str()));
    found.ok().flatten().and_then(|fields| fields.into_iter().next()).unwrap_or(shown)
}

fn look_up(file: &str, is_it: impl Fn(&[&str]) -> bool) -> Result<Option<Vec<String>>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let found = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| is_it(fields));
    Ok(found.map(|fields| fields.into_iter().map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_group_and_replaces_only_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.sock");
        let group = rustix::process::getegid().as_raw().to_string();
        let listener = open(&path, Some(&group), None).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), SHARED);
        assert_eq!(open(&path, None, None).await.unwrap_err().code, Code::PortOccupied);
        drop(listener);
        let again = open(&path, None, None).await.unwrap();
        assert_eq!(mode(&path), OWN);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let opened = identity(&path).unwrap();
        drop(again);
        let other = open(&path, None, Some(0o666)).await.unwrap();
        assert_eq!(mode(&path), 0o666);
        close(other, &path, opened);
        assert!(path.exists(), "it is not the one that was opened first");
    }

    #[tokio::test]
    async fn a_file_of_another_kind_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.sock");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(open(&path, None, None).await.unwrap_err().code, Code::Config);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let missing = folder.path().join("a/b.sock");
        assert_eq!(open(&missing, None, None).await.unwrap_err().code, Code::Config);
        let error = open(&folder.path().join("c"), Some("no-such-group"), None).await.unwrap_err();
        assert!(error.cause.unwrap().contains("no-such-group"));
    }

    #[tokio::test]
    async fn a_name_may_be_longer_than_an_address_of_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("daemon.sock");
        let listener = open(&path, None, None).await.unwrap();
        let (connected, accepted) = tokio::join!(connect(&path), listener.accept());
        connected.unwrap();
        accepted.unwrap();
        assert_eq!(open(&path, None, None).await.unwrap_err().code, Code::PortOccupied);
    }

    #[test]
    fn names_of_users_are_told() {
        assert_eq!(user_name(0), "root");
        assert_eq!(group_name(4_000_000), "4000000");
    }
}
