//! Owns what the worker gives up: inherited descriptors at once, and everything but computing and its pipe before it
//! looks at the script.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::Limits;

/// What the compiler, the frames and the allocator may use beside the Lua heap. Compiling takes about a hundred times
/// the source.
const SLACK: u64 = 192 << 20;
const COMPILE_FACTOR: u64 = 200;

/// Closes every descriptor but the pipe and the two that lead to `/dev/null`, and dies with the host.
pub(super) fn shed_inheritance() -> rustix::io::Result<()> {
    // SAFETY: no descriptor above 2 has an owner in this process yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed != 0 {
        return Err(rustix::io::Errno::NOSYS);
    }
    // Whoever signals the whole group or control group means the host, which ends the worker in its own time.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring a signal installs no handler and touches no memory of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Gives up the rest; tells whether Landlock was there. The order matters: each step takes away what later ones no
/// longer need.
pub(super) fn lock_in(limits: &Limits) -> Result<bool, String> {
    let mapped = mapped_bytes().map_err(|error| format!("its memory cannot be measured: {error}"))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
    let landlock = landlock_everything();
    limit_resources(limits, mapped).map_err(|error| format!("resource limits: {error}"))?;
    filter_calls().map_err(|error| format!("seccomp: {error}"))?;
    Ok(landlock)
}

fn mapped_bytes() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let size = text.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
    let kilobytes: u64 = size.and_then(|size| size.parse().ok()).ok_or("no VmSize")?;
    Ok(kilobytes << 10)
}

/// No path, no port, no signal to others. Best effort: seccomp alone already allows none of it.
fn landlock_everything() -> bool {
    let abi = ABI::V6;
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .restrict_self()
    };
    let status: Result<_, landlock::RulesetError> = restrict();
    status.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

fn limit_resources(limits: &Limits, mapped: u64) -> rustix::io::Result<()> {
    let space = mapped
        .saturating_add(limits.memory)
        .saturating_add(SLACK)
        .saturating_add(limits.source.saturating_mul(COMPILE_FACTOR))
        .saturating_add(limits.argument.saturating_mul(4));
    let bounds = [
        (Resource::As, space),
        (Resource::Data, space),
        (Resource::Nofile, 3),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ];
    for (resource, bound) in bounds {
        rustix::process::setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    Ok(())
}

/// All that a single-threaded interpreter with one open socket needs; anything else kills the process.
fn filter_calls() -> Result<(), String> {
    let always = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
        // `abort` raises its signal at itself; that it dies of it is what the host has to see.
        libc::SYS_getpid,
        libc::SYS_gettid,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        always.into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    rules.insert(libc::SYS_tgkill, vec![at_itself()?]);
    let arch = std::env::consts::ARCH.try_into().map_err(text)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch).map_err(text)?;
    let program: BpfProgram = filter.try_into().map_err(text)?;
    seccompiler::apply_filter(&program).map_err(text)
}

/// Memory is never made executable: code generation is off.
fn not_executable() -> Result<SeccompRule, String> {
    let executable = u64::try_from(libc::PROT_EXEC).expect("PROT_EXEC is a small flag");
    let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0);
    SeccompRule::new(vec![condition.map_err(text)?]).map_err(text)
}

fn at_itself() -> Result<SeccompRule, String> {
    let own = u64::from(std::process::id());
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own);
    SeccompRule::new(vec![condition.map_err(text)?]).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
