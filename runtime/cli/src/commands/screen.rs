//! Owns screens that are drawn anew while somebody looks at them.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use effect::Result;

use crate::exit::Exit;
use crate::render;

/// Until the second drawing: the first has nothing to compare with.
pub(super) const SHORT: Duration = Duration::from_millis(500);
/// The other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[H\x1b[J";

/// Whether somebody looks.
pub(super) fn is_there() -> bool {
    std::io::stdout().is_terminal()
}

/// Draws what `read` brings, again and again, until Ctrl-C or until the terminal is gone.
pub(super) async fn live(every: Duration, read: impl AsyncFnMut() -> Result<Vec<String>>) -> Result<Exit> {
    let _screen = Screen::enter();
    tokio::select! {
        shown = draw(every, read) => shown,
        () = interrupted() => Ok(Exit::Done),
    }
}

async fn draw(every: Duration, mut read: impl AsyncFnMut() -> Result<Vec<String>>) -> Result<Exit> {
    let mut pause = SHORT;
    loop {
        tokio::time::sleep(pause).await;
        pause = every;
        let lines = read().await?;
        let room =
            render::terminal_size().map_or(usize::MAX, |(_, rows)| usize::from(rows).saturating_sub(1));
        let mut text = CLEAR.to_owned();
        for line in lines.iter().take(room) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        let mut stdout = anstream::stdout();
        if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            // The terminal is gone.
            return Ok(Exit::Done);
        }
    }
}

/// Ctrl-C, or the terminal going away.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut end), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = end.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// The screen of its own; dropping it brings back what was there.
struct Screen;

impl Screen {
    fn enter() -> Self {
        write(ENTER);
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
    }
}

fn write(text: &str) {
    let mut stdout = std::io::stdout();
    // Nothing is left to be restored when the terminal is gone.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// `12.3MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.1}{}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [0, 1023, 1024, 1536 << 10, 3 << 30].map(bytes),
            ["0B", "1023B", "1.0KiB", "1.5MiB", "3.0GiB"]
        );
        assert_eq!(bytes(u64::MAX), "16777216.0TiB");
    }
}
