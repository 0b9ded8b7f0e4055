//! Owns what is asked of whoever reads a playbook's file: what it says it is, and which modules it takes. How a file is
//! evaluated is left to the command line's side, which fills [`Loader`] in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use effect::Error;

use super::Definition;

/// The text of a file that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The folder that its modules come from, without links on its way.
    pub root: PathBuf,
    /// The file's name in there.
    pub name: String,
    /// What it holds.
    pub source: Arc<str>,
    /// The modules as they were once, where a former version is read again; they come before those of the folder.
    pub modules: BTreeMap<String, Arc<str>>,
}

/// What a file says it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Its playbook.
    pub definition: Definition,
    /// The texts of all modules that it requires, and those that they require, by the name by which they are loaded:
    /// `lib/fleet.luau`, `@std/deploy`.
    pub modules: BTreeMap<String, Arc<str>>,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// What is wrong.
    pub error: Error,
    /// Where, in the file itself.
    pub line: Option<u32>,
    /// Whether the file is none of a playbook at all: it may be a module of others.
    pub is_other: bool,
}

impl From<Error> for Mistake {
    fn from(error: Error) -> Self {
        Self { error, line: None, is_other: false }
    }
}

/// Whoever reads playbooks' files. Several are read at once.
#[async_trait]
pub trait Loader: Send + Sync + fmt::Debug {
    /// Evaluates a text without effects, within bounds of time and memory, to learn what it says it is.
    ///
    /// # Errors
    /// Where it cannot be a playbook.
    async fn load(&self, text: &Text) -> Result<Parts, Mistake>;
}
