//! Owns the word that an edge is coming up: what is started beside it, as at the boot of a machine, waits for it and does not
//! start another one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

const FILE: &str = "coming.lock";

/// Says that an edge is coming up, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Coming {
    _file: File,
}

impl Coming {
    /// Announces an edge of a state directory.
    ///
    /// # Errors
    /// Where its folder cannot be written to. Nobody waits for it then.
    pub fn announce(state: &Path) -> io::Result<Self> {
        let folder = super::folder(state);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(FILE))?;
        // Several may be coming up at once: each says so. Whoever looks holds it for a moment only.
        file.lock_shared()?;
        Ok(Self { _file: file })
    }

    /// Whether an edge of a state directory is coming up.
    #[must_use]
    pub fn is_announced(state: &Path) -> bool {
        let Ok(file) = File::open(super::folder(state).join(FILE)) else { return false };
        // Refused exactly while somebody holds a shared one; ours is gone with `file`.
        file.try_lock().is_err()
    }
}
