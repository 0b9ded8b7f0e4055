//! The hidden command `shim` alone: what the tests give the process driver in place of `mcrun`.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(2).collect();
    containers::process::shim_main(&args)
}
