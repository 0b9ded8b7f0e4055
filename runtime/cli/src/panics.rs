//! Owns what is said of a panic: where it was, and why as far as that stands in the source. What a message was made of at the
//! time may hold a secret's value, and is never shown.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::panic::PanicHookInfo;

/// Has every panic of this process be told without what it was made of.
pub(crate) fn tell_without_values() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let told = Told { thread: thread.name().unwrap_or("unnamed"), panic };
        // In one piece, as other threads write as well; nothing is left to be said where nobody reads it.
        let mut text = format!("{told}\n");
        let trace = Backtrace::capture();
        let _ = match trace.status() {
            BacktraceStatus::Captured => write!(text, "stack backtrace:\n{trace}"),
            _ => {
                writeln!(text, "note: run with `RUST_BACKTRACE=1` in the environment to display a backtrace")
            }
        };
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }));
}

struct Told<'a> {
    thread: &'a str,
    panic: &'a PanicHookInfo<'a>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread '{}' panicked", self.thread)?;
        if let Some(place) = self.panic.location() {
            write!(f, " at {}:{}:{}", place.file(), place.line(), place.column())?;
        }
        match self.panic.payload().downcast_ref::<&'static str>() {
            // It stands in the source.
            Some(message) => write!(f, ":\n{message}"),
            None => f.write_str(":\nwhat it says is not shown: it could hold the value of a secret"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// What is told of a panic on a thread of its own.
    fn told(panics: fn()) -> String {
        let name = format!("{panics:p}");
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let told = Told { thread: thread.name().unwrap_or_default(), panic };
            HEARD.lock().unwrap().push(told.to_string());
        }));
        assert!(std::thread::Builder::new().name(name.clone()).spawn(panics).unwrap().join().is_err());
        std::panic::set_hook(usual);
        let heard = HEARD.lock().unwrap();
        heard.iter().find(|text| text.contains(&name)).cloned().unwrap()
    }

    #[test]
    fn a_panic_is_told_by_its_place_and_never_with_a_value() {
        let plain = told(|| panic!("a reason that stands in the source"));
        assert!(plain.contains("panics.rs:") && plain.ends_with("stands in the source"), "{plain}");
        // Kept from the compiler, which would make one text of it.
        let made: [fn(); 3] = [
            || panic!("it is {}", std::hint::black_box("hunter2")),
            || std::hint::black_box(Err::<(), _>("hunter2")).expect("it works"),
            || assert_eq!(std::hint::black_box("hunter2"), "another"),
        ];
        for panics in made {
            let told = told(panics);
            assert!(told.contains("panics.rs:") && !told.contains("hunter2"), "{told}");
        }
    }
}
