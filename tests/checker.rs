//! `mcrun-check`, built with the suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcrun_check::main()
}
