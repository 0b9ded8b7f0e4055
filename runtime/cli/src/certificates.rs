//! Owns the bridge between certificates and files: the `certs` crate knows what is to be written, the `system` crate how.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use certs::files::{Files, Wanted};
use effect::{Context, Result};
use system::files::plain::{Plain, take_away};

/// Writes the files of certificates for a script in the folder `root`.
pub(crate) struct Written {
    root: PathBuf,
}

impl Written {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.canonicalize().unwrap_or_else(|_| root.to_owned()) }
    }
}

fn plain(wanted: &Wanted) -> Plain {
    Plain {
        path: wanted.path.clone(),
        content: wanted.content.clone(),
        mode: wanted.mode,
        owner: wanted.owner.clone(),
    }
}

#[async_trait]
impl Files for Written {
    fn resolve(&self, path: &str) -> Result<PathBuf> {
        system::files::resolve(&self.root, path)
    }

    async fn is_right(&self, context: &Context, wanted: &Wanted) -> Result<bool> {
        plain(wanted).is_right(context).await
    }

    async fn put(&self, context: &Context, wanted: &Wanted) -> Result<()> {
        plain(wanted).put(context).await
    }

    async fn remove(&self, context: &Context, path: &Path) -> Result<()> {
        take_away(context, path).await
    }
}
