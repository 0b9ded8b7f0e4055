//! Owns reading and writing limits of control groups, version 1 (a tree for each controller) and 2 (one tree).

use std::fs;
use std::path::{Path, PathBuf};

use effect::units::Size;

const ROOT: &str = "/sys/fs/cgroup";
/// What version 1 shows instead of "no limit" is near the largest number; no machine has this much memory.
const NO_LIMIT: u64 = 1 << 60;
const PERIOD: u64 = 100_000;
const CONTROLLERS: [&str; 2] = ["memory", "cpu"];

/// The limits of one group as the kernel has them now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) memory: Option<Size>,
    pub(crate) cpus: Option<f64>,
}

fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The folder of `group` in the tree that has `controller`.
fn folder(controller: &str, group: &str) -> PathBuf {
    let root = if is_unified() { PathBuf::from(ROOT) } else { Path::new(ROOT).join(controller) };
    root.join(group.trim_start_matches('/'))
}

/// The live limits of `group`; `None` where its files cannot be read.
pub(crate) fn limits(group: &str) -> Option<Limits> {
    let read = |controller: &str, file: &str| fs::read_to_string(folder(controller, group).join(file)).ok();
    let (memory, cpus) = if is_unified() {
        let memory = read("memory", "memory.max")?;
        let cpu = read("cpu", "cpu.max").unwrap_or_default();
        let mut words = cpu.split_whitespace().map(|word| word.parse::<f64>().ok());
        (memory.trim().parse().ok(), quota(words.next().flatten(), words.next().flatten()))
    } else {
        let memory = read("memory", "memory.limit_in_bytes")?;
        let number = |file: &str| read("cpu", file).and_then(|text| text.trim().parse::<f64>().ok());
        (memory.trim().parse().ok(), quota(number("cpu.cfs_quota_us"), number("cpu.cfs_period_us")))
    };
    Some(Limits { memory: memory.filter(|bytes| *bytes < NO_LIMIT).map(Size), cpus })
}

fn quota(quota: Option<f64>, period: Option<f64>) -> Option<f64> {
    match (quota, period) {
        (Some(quota), Some(period)) if quota > 0.0 && period > 0.0 => Some(quota / period),
        _ => None,
    }
}

/// The group beneath which native services live: a sibling of units, so that stopping a unit does not end them.
fn services_group() -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return Some("mcrun.slice".to_owned());
    }
    // The part of our own group that systemd delegates to the user, with a folder of ours beneath it.
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let start = path.find("/user@")? + 1;
    let end = path[start..].find('/').map_or(path.len(), |length| start + length);
    Some(format!("{}/mcrun.slice", path[..end].trim_start_matches('/')))
}

/// Whether native services can be limited here; looks only.
pub(crate) fn can_limit() -> bool {
    let Some(group) = services_group() else { return false };
    let is_writable = |dir: &Path| {
        let place = if dir.is_dir() { dir } else { dir.parent().unwrap_or(Path::new(ROOT)) };
        rustix::fs::access(place, rustix::fs::Access::WRITE_OK).is_ok()
    };
    if is_unified() {
        let dir = folder("", &group);
        let available =
            fs::read_to_string(dir.parent().unwrap_or(Path::new(ROOT)).join("cgroup.controllers"));
        is_writable(&dir) && has_both(&available.unwrap_or_default())
    } else {
        CONTROLLERS.iter().all(|controller| {
            folder(controller, "").join("cgroup.procs").exists() && is_writable(&folder(controller, &group))
        })
    }
}

/// The group called `name` beneath the services' one, whose own folder is made with both controllers; `None` where the
/// kernel or the permissions refuse.
pub(crate) fn service_group(name: &str) -> Option<String> {
    let group = services_group()?;
    let is_ready = if is_unified() {
        let dir = folder("", &group);
        let parent = dir.parent()?;
        delegate(parent) && make(&dir) && delegate(&dir)
    } else {
        CONTROLLERS.iter().all(|controller| make(&folder(controller, &group)))
    };
    is_ready.then(|| format!("{group}/{name}"))
}

fn has_both(controllers: &str) -> bool {
    CONTROLLERS.iter().all(|controller| controllers.split_whitespace().any(|word| word == *controller))
}

fn delegate(dir: &Path) -> bool {
    let file = dir.join("cgroup.subtree_control");
    fs::read_to_string(&file).is_ok_and(|text| has_both(&text)) || fs::write(&file, "+memory +cpu").is_ok()
}

fn make(dir: &Path) -> bool {
    dir.is_dir() || fs::create_dir(dir).is_ok()
}

/// Every tree in which `group` can have a folder.
fn trees(group: &str) -> Vec<PathBuf> {
    if is_unified() {
        vec![folder("", group)]
    } else {
        // The tree named systemd is the one by which a unit's processes are found and killed.
        let controllers = ["memory", "cpu", "cpuacct", "blkio", "pids", "systemd"];
        controllers.iter().map(|controller| folder(controller, group)).collect()
    }
}

/// Makes `group` and moves the calling process into it, as far as the kernel allows.
pub(crate) fn enter(group: &str) {
    for dir in trees(group) {
        if dir.parent().is_some_and(make) && make(&dir) {
            // Best effort: a tree that refuses leaves the process where it was.
            let _ = fs::write(dir.join("cgroup.procs"), std::process::id().to_string());
        }
    }
}

/// Makes `group` and sets its limits; absent ones are lifted.
pub(crate) fn limit(group: &str, limits: Limits) -> std::io::Result<()> {
    let write = |controller: &str, file: &str, text: String| {
        let path = folder(controller, group).join(file);
        fs::write(&path, text)
            .map_err(|cause| std::io::Error::new(cause.kind(), format!("{}: {cause}", path.display())))
    };
    let quota = limits.cpus.map(|cpus| (cpus * PERIOD as f64).round() as u64);
    if is_unified() {
        make(&folder("", group));
        write("memory", "memory.max", limits.memory.map_or("max".to_owned(), |size| size.0.to_string()))?;
        write("cpu", "cpu.max", quota.map_or("max".to_owned(), |quota| format!("{quota} {PERIOD}")))
    } else {
        for controller in CONTROLLERS {
            make(&folder(controller, group));
        }
        let memory = limits.memory.map_or("-1".to_owned(), |size| size.0.to_string());
        write("memory", "memory.limit_in_bytes", memory)?;
        write("cpu", "cpu.cfs_period_us", PERIOD.to_string())?;
        write("cpu", "cpu.cfs_quota_us", quota.map_or("-1".to_owned(), |quota| quota.to_string()))
    }
}

/// Every process in `group`.
pub(crate) fn processes(group: &str) -> Vec<u32> {
    let mut found: Vec<u32> = trees(group)
        .iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Removes the empty group.
pub(crate) fn remove(group: &str) {
    for dir in trees(group) {
        let _ = fs::remove_dir(dir);
    }
}
