//! Owns the way into the C++ of the shim and back.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::hash::{Hash as _, Hasher as _};
use std::ptr::NonNull;

// Brings the libraries that the shim calls into.
use luau_analyze as _;

use crate::{Finding, Modules};

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
    fn mcrun_checker_dirty(checker: *mut Raw, name: *const c_char, length: usize);
    fn mcrun_checker_clear(checker: *mut Raw);
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

/// One analysis, with all that it knows of globals and modules.
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

    fn dirty(&self, name: &str) {
        let (name, length) = bytes(name);
        // SAFETY: the checker lives, and the text is copied.
        unsafe { mcrun_checker_dirty(self.0.as_ptr(), name, length) }
    }

    fn clear(&self) {
        // SAFETY: the checker lives, and nothing of ours points into it.
        unsafe { mcrun_checker_clear(self.0.as_ptr()) }
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

/// More modules than this are forgotten and looked at anew.
const MOST_KEPT: usize = 256;

/// An analysis that goes on from task to task: what has not changed is not looked at again.
pub(crate) struct Analysis {
    checker: Checker,
    /// The hash of each source that it knows.
    known: HashMap<String, u64>,
}

impl Analysis {
    /// Knows the globals of `definitions`; nothing when it cannot be started. Mistakes in them are the first findings.
    pub(crate) fn new(definitions: &str) -> Option<(Self, Vec<Finding>)> {
        let checker = Checker::new()?;
        let mut findings = Vec::new();
        checker.define(definitions, &mut findings);
        Some((Self { checker, known: HashMap::new() }, findings))
    }

    /// What it says of some modules.
    pub(crate) fn check(&mut self, modules: &Modules) -> Vec<Finding> {
        if self.known.len() > MOST_KEPT {
            self.checker.clear();
            self.known.clear();
        }
        // Before any source: a path may mean another module although its own module is what it was.
        for (module, targets) in &modules.targets {
            for (path, target) in targets {
                self.checker.target(module, path, target);
            }
        }
        for (name, source) in &modules.sources {
            let targets = modules.targets.get(name);
            let mut hasher = std::hash::DefaultHasher::new();
            (source, targets).hash(&mut hasher);
            let hash = hasher.finish();
            if self.known.insert(name.clone(), hash) != Some(hash) {
                self.checker.source(name, source);
                self.checker.dirty(name);
            }
        }
        let mut findings = Vec::new();
        for module in &modules.check {
            let first = findings.len();
            self.checker.check(module, modules.seconds, &mut findings);
            findings[first..].sort_by_key(|finding| (finding.line, finding.column));
        }
        findings
    }
}
