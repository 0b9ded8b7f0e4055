//! Owns the terminal while a program elsewhere has it: every key goes there as it is, and whatever happens, the terminal
//! is as before in the end.

use std::io::IsTerminal as _;
use std::sync::{Mutex, Once, PoisonError};

use containers::Window;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How the terminal was before, as long as it is changed.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether somebody sits at both ends.
pub(crate) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The size of the terminal.
pub(crate) fn window() -> Window {
    let known = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(Window { columns: 80, rows: 24 }, |size| Window { columns: size.ws_col, rows: size.ws_row })
}

/// The terminal without line editing, echo and signals of its own; dropping it brings them back.
pub(crate) struct Raw;

impl Raw {
    /// Changes the terminal on standard input.
    pub(crate) fn enter() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        restore_when_it_panics();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Nothing is left to be restored when the terminal is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &before);
    }
}

/// A panic may end the process before anything is dropped, and its message is to be read.
fn restore_when_it_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
    });
}
