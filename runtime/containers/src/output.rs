//! Owns the bound on what is kept of a program's output.

use crate::driver::{ExecOutput, Stream};

/// Output up to a limit for each stream; what lies beyond is counted as cut.
pub(crate) struct Collected {
    limit: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    truncated: bool,
}

impl Collected {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, stdout: Vec::new(), stderr: Vec::new(), truncated: false }
    }

    pub(crate) fn push(&mut self, stream: Stream, data: &[u8]) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let room = self.limit.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(&data[..room]);
        self.truncated |= room < data.len();
    }

    pub(crate) fn finish(self, code: i32) -> ExecOutput {
        ExecOutput {
            code,
            stdout: String::from_utf8_lossy(&self.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr).into_owned(),
            truncated: self.truncated,
        }
    }
}
