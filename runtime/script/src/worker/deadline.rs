//! Owns the worker's own deadline: past it, the VM's interrupt reports where the script is and ends the process. The
//! host's comes half a second later, for code in which no interrupt fires.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mlua::{Lua, ffi};

use super::{pipe, stack};
use crate::protocol::{ToHost, WhichLimit};

/// The interrupt fires at every call and loop; the clock is read every so many times.
const EVERY: u32 = 64;

static BASE: OnceLock<Instant> = OnceLock::new();
static DUE: AtomicU64 = AtomicU64::new(u64::MAX);
static TICKS: AtomicU32 = AtomicU32::new(0);

/// Nanoseconds since the first call.
pub(super) fn now() -> u64 {
    u64::try_from(BASE.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// From now on the script may compute for `exec`.
pub(super) fn arm(exec: Duration, now: u64) {
    DUE.store(now.saturating_add(u64::try_from(exec.as_nanos()).unwrap_or(u64::MAX)), Relaxed);
}

/// Makes the VM look at the clock.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: the callback table belongs to the VM and lives as long as it; mlua writes this field only from its own
    // `set_interrupt`, which is not used.
    unsafe {
        lua.exec_raw((), |state| {
            (*ffi::lua_callbacks(state)).interrupt = Some(interrupt);
        })
    }
}

/// mlua's own interrupt costs a hundred times as much, at every call and loop of a script.
unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, gc: c_int) {
    let in_collector = gc >= 0;
    // Load and store instead of an atomic addition: there is one thread, and this runs at every call and loop.
    let ticks = TICKS.load(Relaxed).wrapping_add(1);
    TICKS.store(ticks, Relaxed);
    if in_collector || !ticks.is_multiple_of(EVERY) || now() < DUE.load(Relaxed) {
        return;
    }
    // SAFETY: outside of the collector the VM hands over the running state, whose stack is whole.
    let stack = unsafe { stack::frames(state) };
    pipe::finish(&ToHost::Limit { which: WhichLimit::Execution, place: stack::place(&stack), stack });
}
