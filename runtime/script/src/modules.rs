//! Owns how `require` finds a module: beneath the script's folder, opened once, with no link and no `..` leading out of
//! it, or in the table of `@std/…` modules. Leaves pinning to whoever records runs.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use effect::{Code, Error, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::protocol::Module;

/// Looks up the source of a module of the standard library by its name without `@std/`.
pub type Std = fn(&str) -> Option<&'static str>;

/// What a required path may mean, in the order in which it is tried.
const ENDINGS: [&str; 4] = [".luau", ".lua", "/init.luau", "/init.lua"];
const LONGEST_PATH: usize = 1024;

/// The modules that one script can require.
#[derive(Debug)]
pub struct Modules {
    root: OwnedFd,
    std: Std,
    limit: u64,
    pinned: HashMap<String, String>,
}

impl Modules {
    /// Opens the folder `root`, which holds the script; `limit` is the greatest size of one source file.
    ///
    /// # Errors
    /// MC-S008 when the folder cannot be opened.
    pub fn open(root: &Path, std: Std, limit: u64) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).map_err(|error| {
            Error::new(Code::Unreadable, format!("the folder `{}` cannot be opened", root.display()))
                .because(error)
        })?;
        Ok(Self { root, std, limit, pinned: HashMap::new() })
    }

    /// The same with the sources, by module name, that an earlier attempt at the run has used: they come first, so
    /// that a resumed run sees what it saw before.
    #[must_use]
    pub fn with_pinned(mut self, pinned: HashMap<String, String>) -> Self {
        self.pinned = pinned;
        self
    }

    /// The text of the script itself, `name` in the folder.
    ///
    /// # Errors
    /// MC-S008 when it cannot be read, MC-S016 when it is too large.
    pub fn script(&self, name: &str) -> Result<String> {
        let file = self.open_file(name).map_err(|error| unreadable(name, error))?;
        Ok(self.read(file, name.to_owned())?.source)
    }

    fn pinned(&self, name: &str) -> Option<Module> {
        let source = self.pinned.get(name)?.clone();
        Some(Module { name: name.to_owned(), source })
    }

    /// The module that `path` means in the module `from`; `from` is a name that an earlier call returned, or the name
    /// of the script relative to the folder.
    ///
    /// # Errors
    /// MC-S005 when there is none, MC-S006 when the path is refused, MC-S008 when it cannot be read, MC-S016 when it is
    /// too large.
    pub fn resolve(&self, from: &str, path: &str) -> Result<Module> {
        if path.len() > LONGEST_PATH || path.contains('\0') {
            return Err(refused(path, "it is too long or holds a NUL byte"));
        }
        if let Some(name) = path.strip_prefix("@std/") {
            return self.standard(name);
        }
        if path.starts_with('@') {
            return Err(refused(path, "the only library is `@std`"));
        }
        if path.starts_with('/') {
            return Err(refused(path, "it is an absolute path"));
        }
        if !(path.starts_with("./") || path.starts_with("../")) {
            return Err(refused(path, "it starts with neither `./` nor `@std/`")
                .hint(format!("write `require(\"./{path}\")`")));
        }
        if from.starts_with('@') {
            return Err(refused(path, "a module of the standard library requires only `@std/…`"));
        }
        self.beneath(&joined(from, path)?, path)
    }

    fn standard(&self, name: &str) -> Result<Module> {
        if let Some(module) = self.pinned(&format!("@std/{name}")) {
            return Ok(module);
        }
        match (self.std)(name) {
            Some(source) => Ok(Module { name: format!("@std/{name}"), source: source.to_owned() }),
            None => Err(not_found(&format!("@std/{name}"))),
        }
    }

    fn beneath(&self, base: &str, path: &str) -> Result<Module> {
        let pinned = ENDINGS.iter().find_map(|ending| self.pinned(&format!("{base}{ending}")));
        if let Some(module) = pinned {
            return Ok(module);
        }
        for ending in ENDINGS {
            let name = format!("{base}{ending}");
            match self.open_file(&name) {
                Ok(file) => return self.read(file, name),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(Errno::LOOP | Errno::XDEV) => {
                    return Err(refused(path, "a symbolic link lies on its way"));
                }
                Err(error) => return Err(unreadable(&name, error)),
            }
        }
        Err(not_found(path))
    }

    /// The kernel refuses every link and every way out, so that nothing can be exchanged between check and use.
    fn open_file(&self, name: &str) -> std::result::Result<OwnedFd, Errno> {
        // A fifo must not block us before its type is known.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, name, flags, Mode::empty(), inside)
    }

    fn read(&self, file: OwnedFd, name: String) -> Result<Module> {
        let stat = rustix::fs::fstat(&file).map_err(|error| unreadable(&name, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(unreadable(&name, "it is not a regular file"));
        }
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too large from one that fits, even while it grows.
        File::from(file)
            .take(self.limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&name, error))?;
        if bytes.len() as u64 > self.limit {
            return Err(Error::new(
                Code::LimitSource,
                format!("`{name}` is longer than {} bytes", self.limit),
            )
            .hint("split it into modules, or raise `--limit source`"));
        }
        let source = String::from_utf8(bytes).map_err(|_| unreadable(&name, "it is not UTF-8 text"))?;
        Ok(Module { name, source })
    }
}

/// `path` seen from the folder of `from`, without `.` and `..`; refused when it leads out of the root.
fn joined(from: &str, path: &str) -> Result<String> {
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(refused(path, "it leads out of the script's folder"));
            }
            ".." => {}
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return Err(refused(path, "it names the script's folder itself"));
    }
    Ok(parts.join("/"))
}

fn refused(path: &str, reason: &str) -> Error {
    Error::new(Code::ModuleRefused, format!("`{}` cannot be required: {reason}", shown(path)))
}

fn not_found(path: &str) -> Error {
    Error::new(Code::ModuleNotFound, format!("no module `{}`", shown(path)))
        .hint("`require` tries NAME.luau, NAME.lua, NAME/init.luau and NAME/init.lua")
}

fn unreadable(name: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Unreadable, format!("the module `{}` cannot be read", shown(name))).because(cause)
}

fn shown(path: &str) -> String {
    path.chars().take(200).flat_map(char::escape_debug).collect()
}

/// The names that `path` may mean in the module `from`, in the order in which they are tried; none where it is refused.
#[must_use]
pub fn meant(from: &str, path: &str) -> Vec<String> {
    if path.starts_with("@std/") {
        return vec![path.to_owned()];
    }
    if !(path.starts_with("./") || path.starts_with("../")) || from.starts_with('@') {
        return Vec::new();
    }
    match joined(from, path) {
        Ok(base) => ENDINGS.map(|ending| format!("{base}{ending}")).to_vec(),
        Err(_) => Vec::new(),
    }
}

/// The paths of every `require("…")`. One in a comment is found too, which does no harm.
pub fn required(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("require").filter_map(|(at, word)| {
        let rest = text[at + word.len()..].trim_start();
        let rest = rest.strip_prefix('(').map_or(rest, str::trim_start);
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (path, _) = rest[1..].split_once(quote)?;
        (path.len() <= 1024 && !path.contains(['\n', '\\'])).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn library(name: &str) -> Option<&'static str> {
        (name == "deploy").then_some("return {}")
    }

    fn modules(files: &[(&str, &str)]) -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let modules = Modules::open(&root, library, 64).unwrap();
        (folder, modules)
    }

    fn code(modules: &Modules, from: &str, path: &str) -> Code {
        modules.resolve(from, path).unwrap_err().code
    }

    #[test]
    fn a_module_is_found_by_each_of_its_endings() {
        let files = [("a.luau", "a"), ("b.lua", "b"), ("c/init.luau", "c"), ("d/init.lua", "d")];
        let (_folder, modules) = modules(&files);
        for (name, text) in files {
            let path = format!("./{}", &name[..1]);
            let module = modules.resolve("main.luau", &path).unwrap();
            assert_eq!((module.name.as_str(), module.source.as_str()), (name, text));
        }
    }

    #[test]
    fn a_path_is_relative_to_the_module_that_requires_it() {
        let (_folder, modules) = modules(&[("lib/a.luau", "a"), ("lib/b.luau", "b"), ("top.luau", "t")]);
        assert_eq!(modules.resolve("lib/a.luau", "./b").unwrap().name, "lib/b.luau");
        assert_eq!(modules.resolve("lib/a.luau", "../top").unwrap().name, "top.luau");
    }

    #[test]
    fn nothing_outside_the_folder_is_reachable() {
        let (folder, modules) = modules(&[("lib/a.luau", "a")]);
        fs::write(folder.path().join("outside.luau"), "secret").unwrap();
        let root = folder.path().join("root");
        symlink("../outside.luau", root.join("link.luau")).unwrap();
        symlink("..", root.join("up")).unwrap();
        for path in
            ["../outside", "./lib/../../outside", "/etc/passwd", "@other/x", "./a\0b", "outside", ".."]
        {
            assert_eq!(code(&modules, "main.luau", path), Code::ModuleRefused, "{path:?}");
        }
        assert_eq!(code(&modules, "main.luau", "./link"), Code::ModuleRefused);
        assert_eq!(code(&modules, "main.luau", "./up/outside"), Code::ModuleRefused);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let (folder, modules) = modules(&[("large.luau", &"x".repeat(65)), ("fits.luau", &"x".repeat(64))]);
        let root = folder.path().join("root");
        fs::write(root.join("bytes.luau"), [0xff, 0xfe]).unwrap();
        fs::create_dir(root.join("folder.luau")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo.luau"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(code(&modules, "main.luau", "./missing"), Code::ModuleNotFound);
        assert_eq!(code(&modules, "main.luau", "./large"), Code::LimitSource);
        assert!(modules.resolve("main.luau", "./fits").is_ok());
        for path in ["./bytes", "./folder", "./fifo"] {
            assert_eq!(code(&modules, "main.luau", path), Code::Unreadable, "{path}");
        }
    }

    #[test]
    fn the_standard_library_is_embedded() {
        let (_folder, modules) = modules(&[("a.luau", "a")]);
        assert_eq!(modules.resolve("main.luau", "@std/deploy").unwrap().name, "@std/deploy");
        assert_eq!(code(&modules, "main.luau", "@std/depoly"), Code::ModuleNotFound);
        assert_eq!(code(&modules, "@std/deploy", "./a"), Code::ModuleRefused);
    }

    #[test]
    fn required_paths_are_found_in_each_spelling() {
        let text = "local a = require(\"./a\")\nlocal b = require './b'\nrequire ( '@std/c' )\nrequire(name)";
        assert_eq!(required(text).collect::<Vec<_>>(), ["./a", "./b", "@std/c"]);
    }
}
