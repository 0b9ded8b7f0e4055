//! Owns the confinement of `exec.query`: the program may read what the user may read, and change nothing.
//!
//! Landlock takes away every kind of writing to files, folders and devices. What Landlock does not see (modes, owners,
//! times, attributes, sockets, other processes' limits, kernel state) seccomp refuses with EPERM.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use effect::{Code, Error, Result};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

/// Truncating became controllable with the third version; without it nothing is promised.
const LEAST: ABI = ABI::V3;
/// The version that keeps signals inside.
const SCOPED: i64 = 6;
/// What programs write to in order to write nothing.
const SINKS: [&str; 2] = ["/dev/null", "/dev/zero"];

/// Everything that is needed to confine a process between fork and exec, prepared before the fork.
#[derive(Debug)]
pub(crate) struct Confinement {
    rules: OwnedFd,
    filter: BpfProgram,
}

/// What this kernel lacks for `exec.query`; `None` when nothing.
#[must_use]
pub fn missing() -> Option<String> {
    Confinement::prepare().err().map(|error| error.cause.unwrap_or(error.message))
}

impl Confinement {
    /// Prepares it.
    pub(crate) fn prepare() -> Result<Self> {
        let lacking = |what: &str, cause: String| {
            Error::new(Code::Confinement, format!("the program cannot be confined: {what} is not available"))
                .because(cause)
        };
        let rules = landlock_rules().map_err(|cause| lacking("Landlock", cause))?;
        let filter = filter(abi() >= SCOPED).map_err(|cause| lacking("seccomp", cause))?;
        Ok(Self { rules, filter })
    }

    /// Confines the calling process for good. System calls only: runs between fork and exec.
    pub(super) fn enter(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: self.filter.len() as libc::c_ushort,
            filter: self.filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
        };
        // SAFETY: `program` points at the filter, which outlives the calls; the kernel only reads it.
        unsafe {
            let refused = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::syscall(libc::SYS_landlock_restrict_self, self.rules.as_raw_fd(), 0) != 0
                || libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
                    != 0;
            if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
    }
}

fn abi() -> i64 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: without attributes the call only reports the version.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION) }
}

fn landlock_rules() -> Result<OwnedFd, String> {
    let writing = AccessFs::from_write(LEAST);
    let build = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(writing)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::IoctlDev)?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(
                SINKS,
                AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
            ))
    };
    let ruleset = build().map_err(|error: landlock::RulesetError| error.to_string())?;
    Option::<OwnedFd>::from(ruleset).ok_or_else(|| "the kernel has no Landlock".to_owned())
}

/// Refused whatever the arguments.
const REFUSED: &[i64] = &[
    // Talking to anybody.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_io_uring_setup,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_shmget,
    // What Landlock does not see of files.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Kernel state.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
];

/// System calls that only this architecture still has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// Numbers that are the same everywhere and that libc does not name yet: setxattrat, removexattrat, file_setattr.
const REFUSED_BY_NUMBER: &[i64] = &[463, 466, 469];

/// Refused on kernels where Landlock does not keep signals inside.
const SIGNALS: &[i64] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];

/// Allowed only for the calling process itself: the argument that names a process must be 0.
const OWN_ONLY: &[(i64, u8)] = &[
    (libc::SYS_prlimit64, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
];

/// Requests of ioctl that only ask: terminals, pipes, close-on-exec, sizes, attributes, extents.
const ASKING_IOCTLS: &[u32] = &[
    0x5401,
    0x5413,
    0x540f,
    0x541b,
    0x5421,
    0x5450,
    0x5451,
    0x5452,
    0x802c_542a,
    0x8008_6601,
    0xc020_660b,
    0x8008_1272,
    0x0000_1260,
    0x0000_1268,
    0x8004_7601,
];

fn filter(signals_are_scoped: bool) -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let signals: &[i64] = if signals_are_scoped { &[] } else { SIGNALS };
    for list in [REFUSED, REFUSED_HERE, REFUSED_BY_NUMBER, signals] {
        rules.extend(list.iter().map(|call| (*call, Vec::new())));
    }
    let text = |error: seccompiler::BackendError| error.to_string();
    let differs = |argument: u8, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value).map_err(text)
    };
    for (call, argument) in OWN_ONLY {
        rules.insert(*call, vec![SeccompRule::new(vec![differs(*argument, 0)?]).map_err(text)?]);
    }
    let asking =
        ASKING_IOCTLS.iter().map(|request| differs(1, u64::from(*request))).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(asking).map_err(text)?]);
    let arch = std::env::consts::ARCH.try_into().map_err(text)?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(text)?;
    let program: BpfProgram = filter.try_into().map_err(text)?;
    Ok(without_x32(program))
}

/// Refuses the x32 numbers, under which the same calls could be made past the list.
fn without_x32(program: BpfProgram) -> BpfProgram {
    if cfg!(not(target_arch = "x86_64")) {
        return program;
    }
    const LOAD_NUMBER: sock_filter = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    const SKIP_BELOW_X32: sock_filter = sock_filter { code: 0x35, jt: 0, jf: 1, k: 0x4000_0000 };
    const RETURN_EPERM: sock_filter =
        sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0000 | libc::EPERM as u32 };
    [LOAD_NUMBER, SKIP_BELOW_X32, RETURN_EPERM].into_iter().chain(program).collect()
}
