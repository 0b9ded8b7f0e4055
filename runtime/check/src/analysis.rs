//! Owns the way into the C++ of the shim and back.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

// Brings the libraries that the shim calls into.
use luau_analyze as _;

use crate::{Finding, Task};

#[repr(C)]
struct Raw {
    _opaque: [u8; 0],
}

type Report = unsafe extern "C" fn(*mut c_void, *const c_char, u32, u32, u32, *const c_char, usize);

unsafe extern "C" {
    fn mcrun_checker_new() -> *mut Raw;
    fn mcrun_checker_free(checker: *mut Raw);
    fn mcrun_checker_source(
        checker: *mut Raw,
        name: *const c_char,
        name_length: usize,
        text: *const c_char,
        length: usize,
    );
    fn mcrun_checker_target(
        checker: *mut Raw,
        key: *const c_char,
        key_length: usize,
        name: *const c_char,
        length: usize,
    );
    fn mcrun_checker_define(
        checker: *mut Raw,
        text: *const c_char,
        length: usize,
        report: Report,
        context: *mut c_void,
    );
    fn mcrun_checker_check(
        checker: *mut Raw,
        name: *const c_char,
        length: usize,
        seconds: f64,
        report: Report,
        context: *mut c_void,
    );
}

struct Checker(NonNull<Raw>);

impl Drop for Checker {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `mcrun_checker_new` and is freed once.
        unsafe { mcrun_checker_free(self.0.as_ptr()) }
    }
}

fn bytes(text: &str) -> (*const c_char, usize) {
    (text.as_ptr().cast(), text.len())
}

/// # Safety
/// `context` must be a `Vec<Finding>`, `module` a C string and `message` `length` bytes.
unsafe extern "C" fn report(
    context: *mut c_void,
    module: *const c_char,
    line: u32,
    column: u32,
    is_warning: u32,
    message: *const c_char,
    length: usize,
) {
    // SAFETY: the caller's promise.
    let (findings, module, message) = unsafe {
        (
            &mut *context.cast::<Vec<Finding>>(),
            CStr::from_ptr(module),
            std::slice::from_raw_parts(message.cast::<u8>(), length),
        )
    };
    findings.push(Finding {
        module: module.to_string_lossy().into_owned(),
        line,
        column,
        warning: is_warning != 0,
        message: String::from_utf8_lossy(message).into_owned(),
    });
}

impl Checker {
    fn new() -> Option<Self> {
        // SAFETY: it has no preconditions.
        NonNull::new(unsafe { mcrun_checker_new() }).map(Self)
    }

    fn source(&self, name: &str, text: &str) {
        let ((name, name_length), (text, length)) = (bytes(name), bytes(text));
        // SAFETY: the checker lives, and both texts are copied.
        unsafe { mcrun_checker_source(self.0.as_ptr(), name, name_length, text, length) }
    }

    fn target(&self, module: &str, path: &str, target: &str) {
        let key = format!("{module}\n{path}");
        let ((key, key_length), (name, length)) = (bytes(&key), bytes(target));
        // SAFETY: the checker lives, and both texts are copied.
        unsafe { mcrun_checker_target(self.0.as_ptr(), key, key_length, name, length) }
    }

    fn define(&self, text: &str, findings: &mut Vec<Finding>) {
        let (text, length) = bytes(text);
        // SAFETY: the checker lives; `report` gets the list that it expects and is called before this returns.
        unsafe {
            mcrun_checker_define(self.0.as_ptr(), text, length, report, std::ptr::from_mut(findings).cast())
        }
    }

    fn check(&self, name: &str, seconds: f64, findings: &mut Vec<Finding>) {
        let (name, length) = bytes(name);
        // SAFETY: as in `define`.
        unsafe {
            mcrun_checker_check(
                self.0.as_ptr(),
                name,
                length,
                seconds,
                report,
                std::ptr::from_mut(findings).cast(),
            )
        }
    }
}

/// What the analysis says of a task; nothing when it cannot be started.
pub(crate) fn check(task: &Task) -> Option<Vec<Finding>> {
    let checker = Checker::new()?;
    let mut findings = Vec::new();
    checker.define(&task.definitions, &mut findings);
    for (name, source) in &task.sources {
        checker.source(name, source);
    }
    for (module, targets) in &task.targets {
        for (path, target) in targets {
            checker.target(module, path, target);
        }
    }
    for module in &task.check {
        let first = findings.len();
        checker.check(module, task.seconds, &mut findings);
        findings[first..].sort_by_key(|finding| (finding.line, finding.column));
    }
    Some(findings)
}
