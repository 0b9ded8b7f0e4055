//! Owns ending an orphan: first its processes, for as long as one lives nothing else of it is touched; then what it has
//! mounted and published; last its storage, which holds the name. Each step finds what an earlier attempt has left of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use effect::{Code, Error, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::process::{Monitor, children, container_of, is_first, is_monitor, monitors, processes_of, signal};
use super::{Store, is_known, network};
use crate::engine::client::{CALL_TIMEOUT, Call, Client};
use crate::orphans::{End, Orphan};

/// For what was killed to be gone.
const AFTER_KILL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Ends what is left of `orphan`.
pub(in crate::podman) async fn release(
    store: &Store,
    client: &Client,
    orphan: &Orphan,
    end: &End<'_>,
) -> Result<()> {
    check_lost(client, orphan).await?;
    end_processes(orphan, end.timeout).await?;
    end_monitor(store, orphan).await?;
    let torn = network::tear_down(client, store, orphan, end.ports).await;
    torn.map_err(|cause| stuck(orphan, cause))?;
    // It may take long until here.
    check_lost(client, orphan).await?;
    unmount_all(&store.folder(&orphan.id)).map_err(|cause| stuck(orphan, cause))?;
    let call = Call::delete(format!("/containers/{}?force=true", orphan.id)).within(4 * CALL_TIMEOUT);
    client.call(&call).await?.accept(&format!("remove what is left of `{}`", orphan.name), &[404])?;
    Ok(())
}

async fn check_lost(client: &Client, orphan: &Orphan) -> Result<()> {
    match is_known(client, &orphan.id).await? {
        true => Err(stuck(orphan, "podman knows the container again")),
        false => Ok(()),
    }
}

fn stuck(orphan: &Orphan, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::OrphanLives, format!("the orphan `{}` cannot be taken away", orphan.name)).because(cause)
}

/// Asks the first process to end, as its engine would; what is left after `timeout` is killed.
async fn end_processes(orphan: &Orphan, timeout: Duration) -> Result<()> {
    let is_meant = |pid: u32| container_of(pid).as_ref() == Some(&orphan.id);
    let mut left = processes_of(&orphan.id);
    if left.is_empty() {
        return Ok(());
    }
    let first: Vec<u32> = left.iter().copied().filter(|pid| is_first(*pid)).collect();
    for pid in if first.is_empty() { &left } else { &first } {
        signal(*pid, Signal::TERM, is_meant);
    }
    if is_gone(timeout, || is_over(&orphan.id, &mut left)).await {
        return Ok(());
    }
    let killed = is_gone(AFTER_KILL, || {
        for pid in &left {
            signal(*pid, Signal::KILL, is_meant);
        }
        is_over(&orphan.id, &mut left)
    });
    if killed.await {
        return Ok(());
    }
    let left = Orphan { processes: processes_of(&orphan.id), ..orphan.clone() };
    Err(stuck(orphan, format!("its processes do not end, although they were killed: {}", left.processes())))
}

/// Whether a container has no process any more. Everything that runs is looked through only once `known` ones are gone: they
/// are asked after often.
fn is_over(id: &str, known: &mut Vec<u32>) -> bool {
    known.retain(|pid| container_of(*pid).as_deref() == Some(id));
    if known.is_empty() {
        *known = processes_of(id);
    }
    known.is_empty()
}

/// A monitor without a container is killed. What it runs at its end is the engine's own program, which goes on by itself, and
/// does nothing for a container that the engine does not know.
async fn end_monitor(store: &Store, orphan: &Orphan) -> Result<()> {
    let is_its = |monitor: &Monitor| monitor.id == orphan.id && store.is_own(monitor);
    let of_orphan = || monitors().into_iter().find(is_its);
    // What goes on is a container that is in no group of podman's.
    let has_nothing = || of_orphan().is_none_or(|monitor| children(monitor.pid).is_empty());
    if !is_gone(AFTER_KILL, has_nothing).await {
        return Err(stuck(orphan, "its monitor has processes that are in no control group of podman"));
    }
    let killed = is_gone(AFTER_KILL, || {
        let left = of_orphan();
        if let Some(monitor) = &left {
            signal(monitor.pid, Signal::KILL, |pid| is_monitor(pid, &orphan.id));
        }
        left.is_none()
    });
    if killed.await { Ok(()) } else { Err(stuck(orphan, "its monitor `conmon` does not end")) }
}

async fn is_gone(within: Duration, mut gone: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if gone() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL).await;
    }
}

/// Unmounts what is mounted beneath the container's folder: its storage cannot be removed before.
fn unmount_all(folder: &Path) -> std::result::Result<(), String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let mut beneath: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    // The deepest first.
    beneath.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in beneath {
        unmount(&point, UnmountFlags::NOFOLLOW)
            .map_err(|error| format!("{} cannot be unmounted: {error}", point.display()))?;
    }
    Ok(())
}

/// The kernel writes blanks and the like as octal numbers.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = others.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &others[3..] } else { others };
    }
    PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(r"/srv/a\040b\134c"), PathBuf::from(r"/srv/a b\c"));
        assert_eq!(unescaped(r"/srv/\9"), PathBuf::from(r"/srv/\9"));
    }
}
