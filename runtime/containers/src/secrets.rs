//! Owns the files in memory through which containers get their secrets.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use effect::{Code, Error, Result};

use crate::spec::Secrets;

/// What statfs calls a file system in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// Who may read the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// This user alone: it owns the files.
    User(u32, u32),
    /// Whoever reaches them; the folder around them is closed to all but us.
    Anyone,
}

/// The secret files of one container.
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store of the container `name`; `realm` keeps apart what has names of its own.
    pub(crate) fn new(realm: &str, name: &str) -> Self {
        Self { folder: root().join(realm).join(name) }
    }

    /// Where the file of one secret is.
    pub(crate) fn path(&self, secret: &str) -> PathBuf {
        self.folder.join(secret)
    }

    /// Writes the files anew; what was there before is gone.
    pub(crate) fn write(&self, secrets: &Secrets, reader: Reader) -> Result<()> {
        self.clear()?;
        if secrets.is_empty() {
            return Ok(());
        }
        let failed = |cause: &dyn std::fmt::Display| {
            Error::new(Code::EngineFailed, "secrets cannot be handed over").because(cause)
        };
        DirBuilder::new().mode(0o700).recursive(true).create(&self.folder).map_err(|cause| failed(&cause))?;
        check_root(&root()).map_err(|cause| failed(&cause))?;
        if let Reader::User(user, group) = reader {
            // A native program walks the path itself: its own folder is open to it, the realm above to searching.
            chown(&self.folder, Some(user), Some(group)).map_err(|cause| failed(&cause))?;
        }
        for (name, material) in secrets {
            write_file(&self.path(name), &material.value, reader).map_err(|cause| failed(&cause))?;
        }
        Ok(())
    }

    /// Lets other users pass through the folders above, for a native program that is not ours.
    pub(crate) fn open_path(&self) -> io::Result<()> {
        let root = root();
        let above = self.folder.ancestors().skip(1).take_while(|dir| dir.starts_with(&root));
        for dir in above {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?;
        }
        Ok(())
    }

    /// Removes the files.
    pub(crate) fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::new(
                Code::EngineFailed,
                format!("the old secrets in {} cannot be removed", self.folder.display()),
            )
            .because(cause)),
            _ => Ok(()),
        }
    }
}

fn write_file(path: &Path, value: &[u8], reader: Reader) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(value)?;
    match reader {
        Reader::User(user, group) => std::os::unix::fs::fchown(&file, Some(user), Some(group)),
        Reader::Anyone => file.set_permissions(fs::Permissions::from_mode(0o444)),
    }
}

/// The folder in memory beneath which all secret files of this user are.
fn root() -> PathBuf {
    let user = rustix::process::geteuid();
    let runtime = if user.is_root() {
        Some(PathBuf::from("/run"))
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    };
    match runtime.filter(|dir| is_in_memory(dir)) {
        Some(dir) => dir.join("mcrun-secrets"),
        None => PathBuf::from(format!("/dev/shm/mcrun-{}", user.as_raw())),
    }
}

/// Refuses a folder that is on a disk, or that somebody else made first.
fn check_root(root: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(root)?;
    let is_ours = std::os::unix::fs::MetadataExt::uid(&metadata) == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !is_ours {
        return Err(io::Error::other(format!("{} belongs to somebody else", root.display())));
    }
    if !is_in_memory(root) {
        return Err(io::Error::other(format!("{} is not a file system in memory", root.display())));
    }
    Ok(())
}

fn is_in_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|status| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&status.f_type))
}
