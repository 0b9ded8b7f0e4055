//! Owns files that are made once and never replaced: backups and snapshots. Nobody ever sees half of one.

use std::fs::File;
use std::path::Path;

use effect::units::Mode;
use effect::{Code, Error, Result};

use super::object::{self, Object};
use super::store;

/// Makes the file at `path`, which must not be there, of what `fill` writes, and tells its size. Written beside it under a
/// name of `token`, synced, and put in its place. No link on the way is followed.
pub(crate) fn put_new(
    path: &Path,
    mode: u32,
    parents: bool,
    token: &str,
    fill: impl FnOnce(&mut File) -> Result<()>,
) -> Result<u64> {
    if object::look(path)?.is_some() {
        let message = format!("`{}` is there already", path.display());
        return Err(Error::new(Code::FileFailed, message).hint("name another file: none is replaced"));
    }
    let place = store::place(path, parents)?;
    let after = Object::new_file(path, Mode(mode));
    let mut size = 0;
    store::replace(&place, None, &after, token, |file| {
        fill(file)?;
        size = file.metadata().map(|stat| stat.len()).unwrap_or(0);
        Ok(())
    })?;
    Ok(size)
}
