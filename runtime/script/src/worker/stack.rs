//! Owns the script's own view of a Lua stack: frames of the runtime and of C are left out.

use std::ffi::CStr;

use mlua::{Lua, Thread, ffi};

use crate::protocol::{Frame, Place};

/// The chunk name of the runtime's own Luau code.
pub(super) const RUNTIME: &str = "[mcrun]";
/// A deep recursion is told by its ends.
const MOST_FRAMES: usize = 64;

/// The frames of `state`, innermost first.
///
/// # Safety
/// `state` must be a live state of a VM that is not inside its collector.
pub(super) unsafe fn frames(state: *mut ffi::lua_State) -> Vec<Frame> {
    let mut frames = Vec::new();
    // SAFETY: the caller's promise.
    unsafe {
        walk(state, |frame| {
            frames.push(frame);
            frames.len() < MOST_FRAMES
        });
    }
    frames
}

/// Calls `visit` with each script frame until it answers false.
///
/// # Safety
/// As for [`frames`].
unsafe fn walk(state: *mut ffi::lua_State, mut visit: impl FnMut(Frame) -> bool) {
    for level in 0.. {
        // SAFETY: `lua_Debug` is plain data for which all zeroes are valid.
        let mut debug: ffi::lua_Debug = unsafe { std::mem::zeroed() };
        // SAFETY: the caller's promise; the option string is a constant that `lua_getinfo` knows.
        if unsafe { ffi::lua_getinfo(state, level, c"sln".as_ptr(), &raw mut debug) } == 0 {
            return;
        }
        // SAFETY: `lua_getinfo` has filled `debug`, and its strings live as long as the frame.
        let Some(frame) = (unsafe { script_frame(&debug) }) else { continue };
        if !visit(frame) {
            return;
        }
    }
}

/// # Safety
/// `debug` must have been filled by `lua_getinfo` with `sln`.
unsafe fn script_frame(debug: &ffi::lua_Debug) -> Option<Frame> {
    // SAFETY: the caller's promise: each pointer is null or a string.
    let (source, name) = unsafe { (text(debug.source), text(debug.name)) };
    let file = source?.strip_prefix('=')?.to_owned();
    if file == RUNTIME || file == "[C]" {
        return None;
    }
    let line = u32::try_from(debug.currentline).unwrap_or(0);
    Some(Frame { place: Place { file, line }, function: name.filter(|name| !name.is_empty()) })
}

/// # Safety
/// `pointer` must be null or a NUL-terminated string.
unsafe fn text(pointer: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// The frames of the running coroutine.
pub(super) fn here(lua: &Lua) -> mlua::Result<Vec<Frame>> {
    let mut found = Vec::new();
    // SAFETY: `lua_getinfo` raises no errors, and the running state is whole.
    unsafe { lua.exec_raw::<()>((), |state| found = frames(state))? };
    Ok(found)
}

/// The frames of a coroutine that has failed or waits.
pub(super) fn of(lua: &Lua, thread: &Thread) -> mlua::Result<Vec<Frame>> {
    let mut found = Vec::new();
    // SAFETY: the argument is a thread, whose state lives while it is on the stack.
    unsafe { lua.exec_raw::<()>(thread, |state| found = frames(ffi::lua_tothread(state, -1)))? };
    Ok(found)
}

/// The line to show for the running coroutine, without gathering its whole stack.
pub(super) fn place_here(lua: &Lua) -> mlua::Result<Place> {
    let mut first = None;
    let mut own = None;
    // SAFETY: as in `here`.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            walk(state, |frame| {
                if is_own(&frame.place) {
                    own = Some(frame.place);
                    return false;
                }
                first.get_or_insert(frame.place);
                true
            });
        })?;
    }
    Ok(own.or(first).unwrap_or_default())
}

/// The name of the chunk that called into the runtime.
pub(super) fn caller(lua: &Lua) -> mlua::Result<String> {
    let mut name = String::new();
    // SAFETY: as in `here`.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            walk(state, |frame| {
                name = frame.place.file;
                false
            });
        })?;
    }
    Ok(name)
}

/// The line to show for a stack: the innermost of the script's own, rather than one of the standard library.
pub(super) fn place(frames: &[Frame]) -> Place {
    let own = frames.iter().find(|frame| is_own(&frame.place));
    own.or(frames.first()).map(|frame| frame.place.clone()).unwrap_or_default()
}

fn is_own(place: &Place) -> bool {
    !place.file.starts_with('@')
}

/// A traceback as text.
pub(super) fn traceback(frames: &[Frame]) -> String {
    let line = |frame: &Frame| match &frame.function {
        Some(function) => format!("{}:{} function {function}", frame.place.file, frame.place.line),
        None => format!("{}:{}", frame.place.file, frame.place.line),
    };
    frames.iter().map(line).collect::<Vec<_>>().join("\n")
}
