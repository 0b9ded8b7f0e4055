//! Owns definitions of services in files: where they are, and their text. What they mean is `deploy.from_toml`'s.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};
use serde_json::{Value, json};

/// No definition is larger.
const LARGEST: u64 = 1 << 20;
/// No folder holds more of them.
const MOST: usize = 1000;

/// One definition in TOML.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Definition {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let real = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
        let file = fs::File::open(&real).map_err(|error| unreadable(path, &error))?;
        let mut text = String::new();
        file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
        if text.len() as u64 > LARGEST {
            return Err(unreadable(path, &"it is larger than 1 MiB"));
        }
        Ok(Self { path: real, text })
    }

    /// What the scripts that ship take of it. Relative paths in it are meant from its own folder.
    pub(super) fn given(&self) -> Value {
        json!({ "path": self.path, "folder": self.folder(), "text": self.text })
    }

    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What it calls its service. A text with a mistake has no name: whoever reads it in earnest tells of that.
    fn name(&self) -> Option<String> {
        let table: toml::Table = self.text.parse().ok()?;
        Some(table.get("name")?.as_str()?.to_owned())
    }

    /// Whether `service` is what it calls its service, or one of its components as services are called.
    fn describes(&self, service: &str) -> bool {
        let Some(name) = self.name() else { return false };
        name == service
            || service.strip_prefix(&name).is_some_and(|rest| rest.starts_with('-') && self.has(&rest[1..]))
    }

    /// What it describes, where that is not `service`.
    pub(super) fn foreign_to(&self, service: &str) -> Option<String> {
        self.name().filter(|_| !self.describes(service))
    }

    fn has(&self, component: &str) -> bool {
        let table: Option<toml::Table> = self.text.parse().ok();
        let components =
            table.as_ref().and_then(|table| table.get("components")).and_then(toml::Value::as_array);
        let named = |given: &toml::Value| given.get("name").and_then(toml::Value::as_str) == Some(component);
        components.into_iter().flatten().any(named)
    }
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Unreadable, format!("`{}` cannot be read", path.display()))
        .because(cause)
        .hint("check the path and its permissions")
}

/// What lies in a folder of definitions.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// In the order of their names.
    pub(super) definitions: Vec<Definition>,
    /// Definitions as scripts, which nobody but a run can tell what they do.
    pub(super) scripts: Vec<PathBuf>,
}

impl Folder {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(folder, &error))?.path();
            let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let kind = path.extension().and_then(|kind| kind.to_str());
            if is_hidden || !matches!(kind, Some("toml" | "lua" | "luau")) || !path.is_file() {
                continue;
            }
            if paths.len() == MOST {
                return Err(unreadable(folder, &format!("it holds more than {MOST} definitions")));
            }
            paths.push(path);
        }
        paths.sort();
        let mut found = Self::default();
        for path in paths {
            if path.extension().is_some_and(|kind| kind == "toml") {
                found.definitions.push(Definition::read(&path)?);
            } else if !path.to_string_lossy().contains(".test.") {
                found.scripts.push(path);
            }
        }
        Ok(found)
    }
}

/// The definition of `service`: the file itself, or the one in a folder that describes it.
pub(super) fn of_service(service: &str, place: &Path) -> Result<Option<Definition>> {
    if !place.is_dir() {
        return Definition::read(place).map(Some);
    }
    let folder = Folder::read(place)?;
    Ok(folder.definitions.into_iter().find(|definition| definition.describes(service)))
}
