//! Owns what the edge keeps of routes for a start without the database: rows as they are recorded, keys sealed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use routes::embedded::Changed;

use super::known::Rows;
use crate::edge::kept::replace;

/// No file of ours is larger, in octets.
const LARGEST: u64 = 256 << 20;

fn file(edge: &Path) -> PathBuf {
    edge.join("routes.json")
}

/// Keeps rows in the place of those that were kept before; where that fails these stay.
pub(super) fn store(edge: &Path, rows: &Rows) {
    let stored =
        serde_json::to_string(rows).map_err(io::Error::from).and_then(|text| replace(&file(edge), &text));
    if let Err(error) = stored {
        tracing::warn!(%error, "the routes cannot be kept");
    }
}

/// What was kept. A file that cannot be read is as good as none.
pub(super) fn load(edge: &Path) -> Vec<Changed> {
    let path = file(edge);
    let rows = match read(&path) {
        Ok(rows) => rows,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "routes that were kept cannot be read");
            return Vec::new();
        }
    };
    let certificates =
        rows.certificates.into_iter().map(|(id, record)| Changed::Certificate(id, Some(record)));
    let routes = rows.routes.into_iter().filter_map(|(name, record)| match name.parse() {
        Ok(key) => Some(Changed::Route(key, Some(record))),
        Err(error) => {
            tracing::error!(%error, name, "a route that was kept cannot be read");
            None
        }
    });
    certificates.chain(routes).collect()
}

fn read(path: &Path) -> io::Result<Rows> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
