//! The `mcrun-check` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcrun_check::main()
}
