//! Owns what `/proc` tells of containers: whose a process is, and which monitors run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What a file of `/proc` may have; the words of a monitor are below 4 KiB.
const MOST: usize = 64 << 10;
const ID_LENGTH: usize = 64;

/// `conmon`, which watches one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Monitor {
    pub(super) pid: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bundle: PathBuf,
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read(pid: u32, file: &str) -> Option<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    (bytes.len() <= MOST).then_some(bytes)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The container that a control group is of: the outermost, where one runs others.
fn container_of_group(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut parts = paths.flat_map(|path| path.split('/'));
    parts.find_map(|part| {
        let id = part.strip_prefix("libpod-")?;
        let id = id.strip_prefix("payload-").unwrap_or(id);
        let id = id.strip_suffix(".scope").unwrap_or(id);
        is_id(id).then(|| id.to_owned())
    })
}

/// The container that a process is in.
pub(super) fn container_of(pid: u32) -> Option<String> {
    container_of_group(&String::from_utf8_lossy(&read(pid, "cgroup")?))
}

/// The processes of every container.
pub(super) fn containers_of_processes() -> BTreeMap<String, Vec<u32>> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for pid in pids() {
        if let Some(id) = container_of(pid) {
            found.entry(id).or_default().push(pid);
        }
    }
    found
}

/// The processes of one.
pub(super) fn processes_of(id: &str) -> Vec<u32> {
    containers_of_processes().remove(id).unwrap_or_default()
}

/// Every monitor of this machine's own containers.
pub(super) fn monitors() -> Vec<Monitor> {
    // One inside a container is that one's business.
    pids().filter_map(monitor).filter(|monitor| container_of(monitor.pid).is_none()).collect()
}

fn monitor(pid: u32) -> Option<Monitor> {
    parsed(pid, &read(pid, "cmdline")?)
}

fn parsed(pid: u32, words: &[u8]) -> Option<Monitor> {
    let words: Vec<&OsStr> = words.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
    if Path::new(words.first()?).file_name()? != "conmon" {
        return None;
    }
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        words.get(at + 1).copied()
    };
    let id = after("-c")?.to_str().filter(|id| is_id(id))?.to_owned();
    let (name, bundle) = (after("-n")?.to_str()?.to_owned(), PathBuf::from(after("-b")?));
    Some(Monitor { pid, id, name, bundle })
}

/// Whether a process is the first of its container: what it is told to end by, the others end with.
pub(super) fn is_first(pid: u32) -> bool {
    let status = read(pid, "status").unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    inner.is_some_and(|pids| {
        let pids: Vec<&str> = pids.split_whitespace().collect();
        pids.len() > 1 && pids.last() == Some(&"1")
    })
}

/// Whether a process is of this machine, and not inside something that has processes of its own.
pub(super) fn is_in_own_namespace(pid: u32) -> bool {
    let status = read(pid, "status").unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.is_some_and(|pids| pids.split_whitespace().count() == 1)
}

/// What a monitor watches, by its children: without what it starts when its container has ended, which is the engine's own
/// program, and without what is over and only waited for.
pub(super) fn children(monitor: u32) -> Vec<u32> {
    let text = read(monitor, &format!("task/{monitor}/children")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let children = text.split_whitespace().filter_map(|child| child.parse().ok());
    children.filter(|child| read(*child, "cmdline").is_some_and(|words| is_watched(&words))).collect()
}

fn is_watched(words: &[u8]) -> bool {
    let program = words.split(|byte| *byte == 0).next().map(OsStr::from_bytes).map(Path::new);
    let name = program.and_then(Path::file_name).and_then(OsStr::to_str);
    name.is_some_and(|name| !["conmon", "podman"].contains(&name))
}

/// Sends `signal` to a process where `is_meant` still says that it is the one meant; false where it is gone.
pub(super) fn signal(pid: u32, signal: Signal, is_meant: impl Fn(u32) -> bool) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    // The descriptor keeps the number from being given to another process between the check and the signal.
    let Ok(descriptor) = pidfd_open(raw, PidfdFlags::empty()) else { return false };
    is_meant(pid) && pidfd_send_signal(&descriptor, signal).is_ok()
}

/// Whether `pid` is the monitor of `id`.
pub(super) fn is_monitor(pid: u32, id: &str) -> bool {
    monitor(pid).is_some_and(|monitor| monitor.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_outermost_container() {
        let (outer, inner) = ("a".repeat(64), "b".repeat(64));
        for groups in [
            format!("9:name=systemd:/libpod_parent/libpod-{outer}\n0::/"),
            format!("0::/machine.slice/libpod-{outer}.scope/container"),
            format!("0::/system.slice/web.service/libpod-payload-{outer}"),
            format!("0::/libpod_parent/libpod-{outer}/libpod_parent/libpod-{inner}"),
        ] {
            assert_eq!(container_of_group(&groups).as_ref(), Some(&outer), "{groups}");
        }
        for groups in [
            format!("0::/machine.slice/libpod-conmon-{outer}.scope"),
            "0::/libpod_parent/conmon".to_owned(),
            "0::/libpod-short".to_owned(),
            String::new(),
        ] {
            assert_eq!(container_of_group(&groups), None, "{groups}");
        }
    }

    #[test]
    fn what_a_monitor_starts_at_its_end_is_no_container() {
        assert!(is_watched(b"/bin/busybox\0sh\0"));
        for words in [&b"/usr/bin/podman\0container\0cleanup\0"[..], b"/usr/bin/conmon\0-c\0", b""] {
            assert!(!is_watched(words));
        }
    }

    #[test]
    fn a_monitor_says_what_it_watches() {
        let id = "c".repeat(64);
        let line =
            format!("/usr/bin/conmon\0--api-version\01\0-c\0{id}\0-u\0{id}\0-b\0/srv/x/userdata\0-n\0mcns\0");
        let found = parsed(7, line.as_bytes()).expect("it is one");
        assert_eq!((found.name.as_str(), found.bundle.as_path()), ("mcns", Path::new("/srv/x/userdata")));
        assert_eq!(parsed(7, line.replace("conmon", "common").as_bytes()), None);
        assert_eq!(parsed(7, b"/usr/bin/conmon\0-c\0"), None);
    }
}
