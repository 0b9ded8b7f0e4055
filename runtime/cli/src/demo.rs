//! Owns what the demo needs beside scripts, so that it needs nothing else: a small service, and visitors of it.

mod server;
mod visit;

pub(crate) use server::main as serve;
pub(crate) use visit::main as visit;
