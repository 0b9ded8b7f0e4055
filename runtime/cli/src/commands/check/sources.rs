//! Owns which files are checked, and what their `require`s mean: found by the same rules as in a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effect::{Code, Error, Result};
use script::modules::required;
use script::{Limits, Modules};

use crate::stdlib;

/// No folder holds more scripts.
const MOST_FILES: usize = 10_000;
const DEEPEST: usize = 32;

/// Sources by the path under which they are shown; modules of the library by `@std/NAME`.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// What findings are wanted of, in order.
    pub(super) checked: Vec<String>,
    pub(super) texts: BTreeMap<String, String>,
    /// By source and by path, what the path means there.
    pub(super) targets: BTreeMap<String, BTreeMap<String, String>>,
}

impl Sources {
    /// Every script of `paths`: files as they are, folders with all scripts in them.
    pub(super) fn collect(paths: &[PathBuf]) -> Result<Self> {
        let mut sources = Self::default();
        for path in paths {
            if path.is_dir() {
                sources.folder(path)?;
            } else {
                sources.file(path)?;
            }
        }
        Ok(sources)
    }

    /// A file of the folder `root` with the modules that it takes, which are not looked for again. The file is the first
    /// that is checked.
    pub(crate) fn taken(
        root: &Path,
        (name, source): (&str, &str),
        modules: &BTreeMap<String, Arc<str>>,
    ) -> Self {
        let mut sources = Self::default();
        let texts = modules.iter().map(|(name, text)| (name.as_str(), &**text));
        for (name, text) in std::iter::once((name, source)).chain(texts) {
            let mut targets = BTreeMap::new();
            for path in required(text) {
                let found = script::modules::meant(name, path);
                if let Some(module) = found.into_iter().find(|module| modules.contains_key(module)) {
                    targets.insert(path.to_owned(), shown(root, &module));
                }
            }
            let title = shown(root, name);
            if !name.starts_with('@') {
                sources.checked.push(title.clone());
            }
            sources.targets.insert(title.clone(), targets);
            sources.texts.insert(title, text.to_owned());
        }
        sources
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Error::new(Code::Unreadable, format!("`{}` is not the name of a script", path.display()))
        })?;
        let root = path.parent().unwrap_or(Path::new(""));
        self.root(root, vec![name.to_owned()])
    }

    fn folder(&mut self, root: &Path) -> Result<()> {
        let names = beneath(root)?;
        if names.is_empty() {
            return Err(Error::new(Code::Unreadable, format!("`{}` holds no script", root.display()))
                .hint("scripts are files that end with .lua or .luau"));
        }
        self.root(root, names)
    }

    fn root(&mut self, root: &Path, names: Vec<String>) -> Result<()> {
        let opened = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let modules = Modules::open(opened, stdlib::source, Limits::default().source)?;
        for name in names {
            let text = modules.script(&name)?;
            self.add(root, &modules, &name, text);
        }
        Ok(())
    }

    /// Takes a source in, and whatever it requires.
    fn add(&mut self, root: &Path, modules: &Modules, name: &str, text: String) {
        let mut waiting = vec![(name.to_owned(), text)];
        while let Some((name, text)) = waiting.pop() {
            let title = shown(root, &name);
            if self.texts.contains_key(&title) {
                continue;
            }
            let mut targets = BTreeMap::new();
            for path in required(&text) {
                // What is not found, the analysis reports at its place.
                let Ok(module) = modules.resolve(&name, path) else { continue };
                targets.insert(path.to_owned(), shown(root, &module.name));
                waiting.push((module.name, module.source));
            }
            if !name.starts_with('@') {
                self.checked.push(title.clone());
            }
            self.targets.insert(title.clone(), targets);
            self.texts.insert(title, text);
        }
    }
}

fn shown(root: &Path, name: &str) -> String {
    if name.starts_with('@') { name.to_owned() } else { root.join(name).display().to_string() }
}

/// The names of all scripts in `root` and beneath, sorted.
pub(in crate::commands) fn beneath(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    gather(root, "", 0, &mut names)?;
    names.sort();
    Ok(names)
}

fn gather(root: &Path, beneath: &str, depth: usize, names: &mut Vec<String>) -> Result<()> {
    let folder = root.join(beneath);
    let failed = |cause: &dyn std::fmt::Display| {
        Error::new(Code::Unreadable, format!("the folder `{}` cannot be read", folder.display()))
            .because(cause)
    };
    if depth > DEEPEST {
        return Err(failed(&format!("it lies more than {DEEPEST} levels deep")));
    }
    for entry in std::fs::read_dir(&folder).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().map_err(|error| failed(&error))?;
        // Hidden folders hold what `mcrun types` wrote; definitions are no scripts.
        if name.starts_with('.') || name.ends_with(".d.luau") {
            continue;
        }
        let path = if beneath.is_empty() { name.clone() } else { format!("{beneath}/{name}") };
        if kind.is_dir() {
            gather(root, &path, depth + 1, names)?;
        } else if kind.is_file() && (name.ends_with(".lua") || name.ends_with(".luau")) {
            names.push(path);
        }
        if names.len() > MOST_FILES {
            return Err(failed(&format!("it holds more than {MOST_FILES} scripts")));
        }
    }
    Ok(())
}
