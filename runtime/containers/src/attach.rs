//! Owns what a program inside a container is to somebody who talks to it: its input, its output, its terminal.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use effect::Result;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use crate::driver::Stream;

/// How many pieces of output may wait to be taken.
pub(crate) const WAITING: usize = 64;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many characters fit in a line.
    pub columns: u16,
    /// How many lines there are.
    pub rows: u16,
}

/// A program to run inside a container and to talk to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attach {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables in addition to the container's.
    pub env: BTreeMap<String, String>,
    /// The directory; the container's own unless given.
    pub workdir: Option<String>,
    /// The user; the container's own unless given.
    pub user: Option<String>,
    /// The terminal that it gets; none unless given, and its two outputs are kept apart then.
    pub terminal: Option<Window>,
}

/// How the program ends.
pub(crate) type Ending = Pin<Box<dyn Future<Output = Result<i32>> + Send>>;

/// A program that runs inside a container.
pub struct Attached {
    /// What it reads. Shutting it down is the end of its input.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it writes, until it closes its output.
    pub output: mpsc::Receiver<(Stream, Bytes)>,
    /// Takes the size of its terminal whenever that changes.
    pub resize: mpsc::Sender<Window>,
    /// Its exit code, to be asked for once the output is at its end; 128 + n when signal n ended it.
    pub ending: Ending,
}
