//! Owns the question who listens at a TCP address of this machine, answered from `/proc`.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    process: Option<(u32, String)>,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((id, program)) => write!(formatter, "`{program}` (process {id})"),
            None => formatter.write_str("a process that this user may not see"),
        }
    }
}

/// Who is in the way of listening at `address`; none where nobody is found.
pub(crate) fn of(address: SocketAddr) -> Option<Holder> {
    let tables =
        ["tcp", "tcp6"].into_iter().filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok());
    let inode = tables
        .flat_map(|table| table.lines().filter_map(|line| socket(line, address)).collect::<Vec<_>>())
        .next()?;
    let id = owner(&inode);
    let program = |id: u32| fs::read_to_string(format!("/proc/{id}/comm")).map(|name| name.trim().to_owned());
    Some(Holder { process: id.and_then(|id| Some((id, program(id).ok()?))) })
}

/// The inode of the socket in `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`, if it listens
/// in the way of `wanted`.
fn socket(line: &str, wanted: SocketAddr) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = words.get(1)?.split_once(':')?;
    let is_there = *words.get(3)? == LISTENS && u16::from_str_radix(port, 16).ok()? == wanted.port();
    (is_there && overlaps(address, wanted.ip())).then(|| words.get(9).map(|inode| (*inode).to_owned()))?
}

/// Whether a socket bound to `bound` (hexadecimal, words in the machine's order) is in the way of `wanted`.
fn overlaps(bound: &str, wanted: IpAddr) -> bool {
    if wanted.is_unspecified() || bound.bytes().all(|digit| digit == b'0') {
        return true;
    }
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    match wanted {
        IpAddr::V4(address) => {
            let own = word(address.octets());
            bound == own || bound.len() == 32 && bound.ends_with(&own)
        }
        IpAddr::V6(address) => {
            let words = address.octets();
            let own: String =
                words.chunks_exact(4).map(|four| word([four[0], four[1], four[2], four[3]])).collect();
            bound == own
        }
    }
}

fn owner(inode: &str) -> Option<u32> {
    let target = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|id: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
        descriptors
            .flatten()
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == target.as_str()))
    })
}
