//! Owns the scratch root: where the files lie that a script under test writes, whatever paths it names.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Folders that every machine has.
const USUAL: [&str; 10] =
    ["etc", "home", "opt", "root", "run", "srv", "tmp", "usr/local/bin", "var/lib", "var/log"];
/// Fields of effects on files and images that are paths of this machine.
const PATHS: [&str; 8] = ["context", "path", "source", "target", "from", "to", "archive", "folder"];
/// Fields of `files` of a certificate that are.
const PLACES: [&str; 4] = ["cert", "key", "pair", "ca"];

pub(super) struct Scratch {
    root: PathBuf,
    /// The script's own folder, whose files may be read.
    scripts: PathBuf,
}

impl Scratch {
    pub(super) fn new(root: &Path, scripts: &Path) -> std::io::Result<Self> {
        for folder in USUAL {
            std::fs::create_dir_all(root.join(folder))?;
        }
        // What a script finds must be what it is told: no link on the way.
        let root = root.canonicalize()?;
        let scripts = scripts.canonicalize().unwrap_or_else(|_| scripts.to_owned());
        std::fs::create_dir_all(beneath(&root, &scripts))?;
        Ok(Self { root, scripts })
    }

    /// Moves the paths of a call into the scratch root. A file beside the script that is only read and was not written
    /// meanwhile is read where it lies.
    pub(super) fn relocate(&self, effect: &str, arguments: &mut Value) {
        if effect == "certs.ensure" {
            // Where a certificate is written.
            let files = arguments.get_mut("files").and_then(Value::as_object_mut);
            for (name, path) in files.into_iter().flatten() {
                if let Value::String(text) = path
                    && PLACES.contains(&name.as_str())
                    && !text.contains("..")
                {
                    *text =
                        beneath(&self.root, &self.scripts.join(text.as_str())).to_string_lossy().into_owned();
                }
            }
            return;
        }
        let is_image = effect.starts_with("images.");
        if !is_image && !effect.starts_with("files.") && !effect.starts_with("registry.backup") {
            return;
        }
        let is_read = is_image || matches!(effect, "files.read" | "files.stat");
        for (name, value) in arguments.as_object_mut().into_iter().flatten() {
            let Value::String(text) = value else { continue };
            if !PATHS.contains(&name.as_str())
                || text.is_empty()
                || text.contains('\0')
                || text.contains("..")
            {
                continue;
            }
            let real = self.scripts.join(text.as_str());
            let moved = beneath(&self.root, &real);
            let is_source = is_read || (name == "source" && effect == "files.template");
            if is_source && !moved.exists() && real.starts_with(&self.scripts) {
                continue;
            }
            *text = moved.to_string_lossy().into_owned();
        }
    }

    /// Takes the scratch root out of every text.
    pub(super) fn restore(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let root = self.root.to_string_lossy();
                if text.contains(root.as_ref()) {
                    *text = text.replace(root.as_ref(), "");
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.restore(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.restore(field)),
            _ => {}
        }
    }
}

fn beneath(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}
