//! Owns files that only their owner may read, written under another name first: nobody ever reads half of one.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that is being written. Dropped before [`Draft::keep`], it leaves nothing behind.
pub(crate) struct Draft {
    draft: BufWriter<NamedTempFile>,
    file: PathBuf,
}

impl Draft {
    /// Begins a file that will replace whatever is at `file`.
    pub(crate) fn of(file: &Path) -> io::Result<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let draft = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        draft.as_file().set_permissions(Permissions::from_mode(0o600))?;
        Ok(Self { draft: BufWriter::new(draft), file: file.to_owned() })
    }

    /// Puts the file in its place.
    pub(crate) fn keep(self) -> io::Result<()> {
        let draft = self.draft.into_inner().map_err(io::IntoInnerError::into_error)?;
        draft.as_file().sync_all()?;
        draft.persist(&self.file)?;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.draft.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draft.flush()
    }
}
