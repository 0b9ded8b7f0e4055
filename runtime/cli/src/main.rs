//! The `mcrun` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcrun::main()
}
