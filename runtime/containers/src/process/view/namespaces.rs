//! Owns the system calls of namespaces and mounts. They run between fork and exec, in one case in a process that was
//! forked from one with threads: nothing here allocates but for paths that are too long for the stack.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};
use rustix::thread::{CapabilitySet, ThreadNameSpaceType, UnshareFlags};

/// By these a program of root could undo its own confinement: mount again, look into another process's namespaces,
/// reach the disks past the mounts.
const UNDOING: [CapabilitySet; 5] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::MKNOD,
];

/// Which namespaces are a program's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) mounts: bool,
    pub(super) network: bool,
}

/// What a user without privileges writes down to keep its own number in a user namespace, in which it may mount.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    user: String,
    group: String,
}

impl Numbers {
    /// `None` for root, who needs no user namespace.
    pub(super) fn of_this_user() -> Option<Self> {
        let line = |number: u32| {
            let mut line = String::new();
            // Writing into a string does not fail.
            let _ = write!(line, "{number} {number} 1");
            line
        };
        let user = rustix::process::geteuid();
        (!user.is_root())
            .then(|| Self { user: line(user.as_raw()), group: line(rustix::process::getegid().as_raw()) })
    }
}

/// Moves the calling process, which has a single thread, into namespaces of its own. Its mounts follow what the host
/// mounts and unmounts, and never the other way round; its network is a loopback device alone.
pub(super) fn make(own: Own, numbers: Option<&Numbers>) -> io::Result<()> {
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWNS, own.mounts);
    flags.set(UnshareFlags::NEWNET, own.network);
    flags.set(UnshareFlags::NEWUSER, numbers.is_some());
    // SAFETY: what is not safe is to take descriptors apart, and `FILES` is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    if let Some(numbers) = numbers {
        // The kernel wants this before the groups: nobody may leave a group that takes rights away.
        write(c"/proc/self/setgroups", b"deny")?;
        write(c"/proc/self/uid_map", numbers.user.as_bytes())?;
        write(c"/proc/self/gid_map", numbers.group.as_bytes())?;
    }
    if own.mounts {
        mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    }
    if own.network {
        raise_loopback()?;
    }
    Ok(())
}

/// Joins the namespaces of the process behind `process`, a descriptor of it.
pub(super) fn join(process: BorrowedFd<'_>, own: Own, with_user: bool) -> io::Result<()> {
    let mut kinds = ThreadNameSpaceType::empty();
    kinds.set(ThreadNameSpaceType::MOUNT, own.mounts);
    kinds.set(ThreadNameSpaceType::NETWORK, own.network);
    kinds.set(ThreadNameSpaceType::USER, with_user);
    Ok(rustix::thread::move_into_thread_name_spaces(process, kinds)?)
}

/// Takes away for good what could undo the namespaces; whoever has no such right has nothing to lose.
pub(super) fn give_up_undoing() -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    if !sets.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for one in UNDOING {
        rustix::thread::remove_capability_from_bounding_set(one)?;
        sets.inheritable.remove(one);
    }
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// A copy of what is at `path` with everything mounted beneath, attached nowhere yet.
pub(super) fn copy(path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

/// Puts a copy over what is at `path`.
pub(super) fn attach(copy: &OwnedFd, path: impl rustix::path::Arg) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(move_mount(copy, c"", CWD, path, flags)?)
}

/// The attributes as the kernel takes them.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const READ_ONLY: u64 = 1;

/// Makes a copy read-only, with everything mounted beneath.
pub(super) fn seal(copy: &OwnedFd) -> io::Result<()> {
    set_read_only(copy.as_fd(), c"", libc::AT_EMPTY_PATH)
}

/// The same for everything that the calling process sees.
pub(super) fn seal_root() -> io::Result<()> {
    set_read_only(CWD, c"/", 0)
}

fn set_read_only(folder: BorrowedFd<'_>, path: &std::ffi::CStr, flags: i32) -> io::Result<()> {
    let attributes = Attributes { set: READ_ONLY, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: path and attributes outlive the call, which only reads them and is told the size of the latter.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder.as_raw_fd(),
            path.as_ptr(),
            flags | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open and the request outlives the call, which only reads it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn write(path: &std::ffi::CStr, text: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text)?;
    Ok(())
}

/// Everything once, on what every machine has. Whatever is done to the calling process stays.
pub(super) fn try_all(numbers: Option<&Numbers>) -> io::Result<()> {
    make(Own { mounts: true, network: true }, numbers)?;
    let kept = copy(Path::new("/proc"))?;
    let sealed = copy(Path::new("/dev"))?;
    seal(&sealed)?;
    seal_root()?;
    attach(&kept, Path::new("/proc"))?;
    attach(&sealed, Path::new("/dev"))?;
    give_up_undoing()
}
