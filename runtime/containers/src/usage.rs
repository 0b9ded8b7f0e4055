//! Owns what a container uses now, read from the kernel: its control group, or its processes where it has none of its own.
//! The engine is not asked: it reads the same files, and takes a second for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const NANOS_A_SECOND: u64 = 1_000_000_000;

/// What was used since the container's start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in nanoseconds.
    pub cpu: u64,
    /// Memory in bytes, without files that the kernel keeps for itself as long as nobody needs the room.
    pub memory: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// What the container whose first process is `pid` uses; `None` when that process is gone.
#[must_use]
pub fn of(pid: u32) -> Option<Usage> {
    let groups = groups(&pid.to_string())?;
    let own = groups_apart_from_ours(&groups, &self::groups("self")?);
    let tree = Tree::of(pid)?;
    Some(Usage {
        cpu: own.cpu().unwrap_or_else(|| tree.cpu()),
        memory: own.memory().unwrap_or_else(|| tree.memory()),
        read: own.io("Read", "rbytes").unwrap_or_else(|| tree.io("read_bytes:")),
        written: own.io("Write", "wbytes").unwrap_or_else(|| tree.io("write_bytes:")),
        processes: own.number("pids", "pids.current").unwrap_or_else(|| tree.threads()),
    })
}

/// The folder of each controller; that of version 2 is called `` and has all.
type Groups = BTreeMap<String, String>;

fn groups(pid: &str) -> Option<Groups> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let lines = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ':').skip(1);
        Some((words.next()?, words.next()?))
    });
    let pairs = lines.flat_map(|(names, group)| names.split(',').map(move |name| (name, group)));
    Some(pairs.map(|(name, group)| (name.to_owned(), group.to_owned())).collect())
}

/// A group that mcrun is in as well, or the root of all, tells nothing about the container.
fn groups_apart_from_ours(theirs: &Groups, ours: &Groups) -> Own {
    let is_own = |(name, group): &(&String, &String)| *group != "/" && ours.get(*name) != Some(*group);
    let is_unified = Path::new(ROOT).join("cgroup.controllers").exists();
    let folders = theirs.iter().filter(is_own).filter_map(|(name, group)| {
        let root = match (name.as_str(), is_unified) {
            ("", true) => PathBuf::from(ROOT),
            // The second tree of a machine that has both has no controllers.
            ("", false) => return None,
            (name, _) => Path::new(ROOT).join(name),
        };
        Some((name.clone(), root.join(group.trim_start_matches('/'))))
    });
    Own { folders: folders.collect(), is_unified }
}

struct Own {
    folders: BTreeMap<String, PathBuf>,
    is_unified: bool,
}

impl Own {
    fn text(&self, controller: &str, file: &str) -> Option<String> {
        let folder = self.folders.get(if self.is_unified { "" } else { controller })?;
        fs::read_to_string(folder.join(file)).ok()
    }

    fn number(&self, controller: &str, file: &str) -> Option<u64> {
        self.text(controller, file)?.trim().parse().ok()
    }

    fn cpu(&self) -> Option<u64> {
        if self.is_unified {
            Some(field(&self.text("cpu", "cpu.stat")?, "usage_usec")? * 1000)
        } else {
            self.number("cpuacct", "cpuacct.usage")
        }
    }

    fn memory(&self) -> Option<u64> {
        let (used, spare) = if self.is_unified {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let spare = field(&self.text("memory", "memory.stat")?, spare).unwrap_or_default();
        Some(self.number("memory", used)?.saturating_sub(spare))
    }

    /// Version 1 has lines such as `8:0 Read 4096`, version 2 `8:0 rbytes=4096 wbytes=0 …`.
    fn io(&self, word: &str, key: &str) -> Option<u64> {
        if self.is_unified {
            let text = self.text("io", "io.stat")?;
            let values = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            return Some(
                values.filter(|(name, _)| *name == key).filter_map(|(_, n)| n.parse::<u64>().ok()).sum(),
            );
        }
        let text = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"]
            .iter()
            .find_map(|file| self.text("blkio", file))?;
        let lines = text.lines().filter_map(|line| line.split_once(' ')?.1.split_once(' '));
        Some(lines.filter(|(name, _)| *name == word).filter_map(|(_, n)| n.parse::<u64>().ok()).sum())
    }
}

/// `name value` among the lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// A process with all its descendants.
struct Tree(Vec<Process>);

struct Process {
    pid: u32,
    ticks: u64,
    threads: u64,
    pages: u64,
}

impl Tree {
    fn of(pid: u32) -> Option<Self> {
        let first = process(pid)?.1;
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let others = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut waiting: Vec<(u32, Process)> = others.filter_map(process).collect();
        let mut known = BTreeSet::from([pid]);
        let mut found = vec![first];
        loop {
            let (children, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(parent, _)| known.contains(parent));
            if children.is_empty() {
                return Some(Self(found));
            }
            known.extend(children.iter().map(|(_, process)| process.pid));
            found.extend(children.into_iter().map(|(_, process)| process));
            waiting = rest;
        }
    }

    fn cpu(&self) -> u64 {
        let a_second = rustix::param::clock_ticks_per_second().max(1);
        self.0.iter().map(|process| process.ticks).sum::<u64>().saturating_mul(NANOS_A_SECOND / a_second)
    }

    fn memory(&self) -> u64 {
        self.0.iter().map(|process| process.pages).sum::<u64>() * rustix::param::page_size() as u64
    }

    fn threads(&self) -> u64 {
        self.0.iter().map(|process| process.threads).sum()
    }

    fn io(&self, name: &str) -> u64 {
        let read = |process: &Process| {
            let text = fs::read_to_string(format!("/proc/{}/io", process.pid)).ok()?;
            field(&text, name)
        };
        self.0.iter().filter_map(read).sum()
    }
}

/// A process and its parent: fields 4, 14, 15, 20 and 24 of `stat`.
fn process(pid: u32) -> Option<(u32, Process)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| words.get(field - 3)?.parse::<u64>().ok();
    let process = Process {
        pid,
        ticks: number(14)? + number(15)?,
        threads: number(20)?,
        pages: number(24).unwrap_or(0),
    };
    Some((u32::try_from(number(4)?).ok()?, process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_group_of_its_own_is_measured_by_its_tree() {
        // This process is in its own group, so only its tree can tell.
        let usage = of(std::process::id()).unwrap();
        assert!(usage.memory > 0 && usage.processes > 0, "{usage:?}");
        assert_eq!(of(u32::MAX), None);
    }

    #[test]
    fn groups_that_mcrun_shares_do_not_count() {
        let of = |text: &str| Groups::from([("memory".to_owned(), text.to_owned())]);
        assert!(groups_apart_from_ours(&of("/a"), &of("/a")).folders.is_empty());
        assert!(groups_apart_from_ours(&of("/"), &of("/a")).folders.is_empty());
        assert_eq!(groups_apart_from_ours(&of("/b"), &of("/a")).folders.len(), 1);
    }
}
