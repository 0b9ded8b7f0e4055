//! Owns single files that another primitive keeps in step: written like `files.write` writes them, so that links are
//! refused and readers see the old file or the new one.

use std::path::{Path, PathBuf};

use effect::units::Mode;
use effect::{Context, Result};
use zeroize::Zeroizing;

use super::object::{self, Keep};
use super::owner::Wish;
use super::store::{self, Wanted};
use super::{blocking, remove, write};

/// A file as it is wanted.
#[derive(Debug)]
pub struct Plain {
    /// Its absolute path.
    pub path: PathBuf,
    /// The content.
    pub content: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub mode: Mode,
    /// User and group, by number or name; as they are unless given.
    pub owner: Option<String>,
}

impl Plain {
    fn wanted(&self) -> Result<Wanted> {
        let owner = self.owner.clone().map(Wish::from);
        Ok(Wanted {
            path: self.path.clone(),
            content: Some(self.content.clone()),
            mode: Some(self.mode),
            new_mode: self.mode,
            owner: store::owner(owner.as_ref())?,
            parents: true,
            secret: true,
        })
    }

    /// Whether the file is as wanted.
    ///
    /// # Errors
    /// Where it cannot be looked at, or something else than a file lies there.
    pub async fn is_right(&self, context: &Context) -> Result<bool> {
        let found = write::observe(self.wanted()?, context).await?;
        Ok(self.wanted()?.change(context, found.as_ref())?.is_none())
    }

    /// Makes it so.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub async fn put(&self, context: &Context) -> Result<()> {
        let found = write::observe(self.wanted()?, context).await?;
        let change = self.wanted()?.change(context, found.as_ref())?;
        if change.is_none() {
            return Ok(());
        }
        write::apply(self.wanted()?, context, found.as_ref(), &change).await.map(drop)
    }
}

/// Takes a file away, if it is there.
///
/// # Errors
/// Where it cannot be removed, or something else than a file lies there.
pub async fn take_away(context: &Context, path: &Path) -> Result<()> {
    let (path, sealer) = (path.to_owned(), context.sealer.clone());
    let keep = Keep { unless: None, wanted_size: 0, streamed_size: 0 };
    let found = blocking(move || object::observe(&path, &sealer, &keep)).await?;
    remove::apply(found.as_ref()).await.map(drop)
}
