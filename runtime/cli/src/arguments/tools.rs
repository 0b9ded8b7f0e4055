//! Owns what can be said to the tools for whoever writes scripts, and of the program itself.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// `mcrun new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The folder; it must not exist or be empty.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}

/// `mcrun check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Scripts, or folders with all scripts in them.
    #[arg(required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Test files, or folders with all test files in them; the current folder unless given.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Only tests whose names contain this text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Print the outcomes as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun types`.
#[derive(Debug, Args)]
pub(crate) struct Types {
    /// The folder to write to; standard output unless given.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: Option<PathBuf>,
}

/// `mcrun reference`.
#[derive(Debug, Args)]
pub(crate) struct Reference {
    /// The folder to write to, such as `docs`.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Only compare: fail when a page is out of step.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `mcrun explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, such as MC-C003.
    pub(crate) code: String,
}

/// `mcrun completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// `mcrun man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command; the page of mcrun itself unless given.
    pub(crate) command: Option<String>,
    /// Write the pages of all commands to this folder, such as /usr/local/share/man/man1.
    #[arg(long, value_name = "DIR", conflicts_with = "command", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}
