//! The worker alone, as a program that the tests start.

use std::process::ExitCode;

fn main() -> ExitCode {
    script::worker_main()
}
