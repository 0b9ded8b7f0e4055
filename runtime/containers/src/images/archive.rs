//! Owns looking into an archive of images before an engine gets it: whether it is whole, stays within itself, and which
//! image it has. Loading it is the engine's work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use effect::{Code, Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::reference::{Reference, is_digest};
use super::registry::digest;
use crate::observed::ImageDefaults;

/// Archives of large images have some hundred entries.
const MOST_ENTRIES: usize = 100_000;
const LARGEST_DOCUMENT: u64 = 4 << 20;
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// The image that was looked for.
#[derive(Debug)]
pub(crate) struct Found {
    /// By its content, as engines call it.
    pub(crate) id: String,
    /// What it says for omitted fields.
    pub(crate) defaults: ImageDefaults,
    /// The names that every image of the archive brings along.
    pub(crate) names: Vec<String>,
}

struct Candidate {
    config: String,
    names: Vec<String>,
}

struct Entries<'a> {
    file: &'a File,
    shown: String,
    /// Where the content of each file lies.
    places: BTreeMap<PathBuf, (u64, u64)>,
    /// Old docker archives link layers that several images share.
    links: BTreeSet<PathBuf>,
}

/// Looks for `wanted` in the archive; an archive of one image has it whatever it is called there.
pub(crate) fn inspect(file: &File, path: &Path, wanted: &Reference) -> Result<Found> {
    let entries = Entries::read(file, path)?;
    let candidates = if entries.has("manifest.json") { entries.docker()? } else { entries.oci()? };
    let names: Vec<String> = candidates.iter().flat_map(|candidate| candidate.names.clone()).collect();
    let is_wanted = |candidate: &&Candidate| {
        candidate
            .names
            .iter()
            .any(|name| name.parse::<Reference>().is_ok_and(|name| name.tagged() == wanted.tagged()))
    };
    let chosen = match candidates.as_slice() {
        [only] => only,
        several => several.iter().find(is_wanted).ok_or_else(|| {
            entries
                .broken(format!("none of its {} images is called `{}`", several.len(), wanted.tagged()))
                .detail(names.join(", "))
        })?,
    };
    let config = entries.content(&chosen.config)?;
    let id = digest(&config);
    let document: Value = serde_json::from_slice(&config).map_err(|cause| entries.broken(cause))?;
    let defaults = crate::engine::read::image_defaults(&id, &document["config"])
        .map_err(|cause| entries.broken(cause))?;
    Ok(Found { id, defaults, names })
}

impl<'a> Entries<'a> {
    fn read(file: &'a File, path: &Path) -> Result<Self> {
        let mut entries =
            Self { file, shown: path.display().to_string(), places: BTreeMap::new(), links: BTreeSet::new() };
        let length = file.metadata().map_err(|cause| entries.broken(cause))?.len();
        let mut start = [0; 4];
        if file.read_at(&mut start, 0).is_ok_and(|read| read == 4) && is_compressed(start) {
            return Err(entries
                .broken("it is compressed")
                .hint("decompress it first, such as with `gunzip` or `zstd -d`"));
        }
        let mut handle = file;
        handle.seek(SeekFrom::Start(0)).map_err(|cause| entries.broken(cause))?;
        let mut archive = tar::Archive::new(handle);
        let mut number = 0;
        for entry in archive.entries_with_seek().map_err(|cause| entries.broken(cause))? {
            let entry = entry.map_err(|cause| entries.broken(cause))?;
            number += 1;
            if number > MOST_ENTRIES {
                return Err(entries.broken(format!("it has more than {MOST_ENTRIES} entries")));
            }
            let name = entry.path().map_err(|cause| entries.broken(cause))?.into_owned();
            let plain = plain(&name).ok_or_else(|| {
                entries.broken(format!("its entry `{}` lies outside of it", name.display()))
            })?;
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name().map_err(|cause| entries.broken(cause))?.unwrap_or_default();
                let from =
                    if kind.is_symlink() { plain.parent().unwrap_or(Path::new("")) } else { Path::new("") };
                if !stays_within(from, &target) {
                    return Err(entries.broken(format!("its link `{}` leads outside of it", name.display())));
                }
                entries.links.insert(plain.clone());
            } else if !(kind.is_file() || kind.is_dir() || kind.is_contiguous()) {
                return Err(
                    entries.broken(format!("its entry `{}` is no file, folder or link", name.display()))
                );
            }
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(entries.broken(format!("it is cut short within `{}`", name.display())));
            }
            if kind.is_file() || kind.is_contiguous() {
                entries.places.insert(plain, (at, size));
            }
        }
        Ok(entries)
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(Path::new(name))
    }

    fn content(&self, name: &str) -> Result<Vec<u8>> {
        let missing = || self.broken(format!("it has no `{}`", name.chars().take(120).collect::<String>()));
        let name = plain(Path::new(name)).ok_or_else(missing)?;
        let &(at, size) = self.places.get(&name).ok_or_else(missing)?;
        if size > LARGEST_DOCUMENT {
            return Err(self.broken(format!("its `{}` is larger than 4 MiB", name.display())));
        }
        let mut handle = self.file;
        let mut content = Vec::new();
        handle.seek(SeekFrom::Start(at)).map_err(|cause| self.broken(cause))?;
        handle.take(size).read_to_end(&mut content).map_err(|cause| self.broken(cause))?;
        Ok(content)
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(&self.content(name)?)
            .map_err(|cause| self.broken(format!("`{name}`: {cause}")))
    }

    /// The images of a docker archive, whose every layer must be there.
    fn docker(&self) -> Result<Vec<Candidate>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Option<Vec<String>>,
        }
        let images: Vec<Image> = self.document("manifest.json")?;
        for layer in images.iter().flat_map(|image| image.layers.iter().flatten()) {
            if !plain(Path::new(layer))
                .is_some_and(|layer| self.places.contains_key(&layer) || self.links.contains(&layer))
            {
                return Err(self.broken(format!(
                    "its layer `{}` is missing",
                    layer.chars().take(120).collect::<String>()
                )));
            }
        }
        Ok(images
            .into_iter()
            .map(|image| Candidate { config: image.config, names: image.repo_tags.unwrap_or_default() })
            .collect())
    }

    fn oci(&self) -> Result<Vec<Candidate>> {
        if !self.has("index.json") {
            return Err(self.broken("it is neither an OCI nor a docker archive of images"));
        }
        let index: Index = self.document("index.json")?;
        let mut candidates = Vec::new();
        for descriptor in index.manifests {
            let names = descriptor.annotations.get(NAME_ANNOTATION).cloned().into_iter().collect();
            let manifest = self.manifest(&descriptor.digest)?;
            for layer in &manifest.layers {
                let name = blob(&layer.digest).ok_or_else(|| self.broken("a layer has no digest"))?;
                if !self.has(&name) {
                    return Err(self.broken(format!("its layer `{name}` is missing")));
                }
            }
            let config = manifest.config.and_then(|config| blob(&config.digest));
            candidates.push(Candidate {
                config: config.ok_or_else(|| self.broken("a manifest names no config"))?,
                names,
            });
        }
        Ok(candidates)
    }

    fn manifest(&self, named: &str) -> Result<Index> {
        let name = blob(named).ok_or_else(|| self.broken("a manifest has no digest"))?;
        let content = self.content(&name)?;
        if digest(&content) != named {
            return Err(self.broken(format!("its `{name}` has other content than its name says")));
        }
        serde_json::from_slice(&content).map_err(|cause| self.broken(format!("`{name}`: {cause}")))
    }

    fn broken(&self, cause: impl std::fmt::Display) -> Error {
        Error::new(Code::ImageArchive, format!("the archive `{}` cannot be used", self.shown)).because(cause)
    }
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn blob(digest: &str) -> Option<String> {
    is_digest(digest).then(|| digest.replacen("sha256:", "blobs/sha256/", 1))
}

/// gzip, zstd, xz and bzip2.
fn is_compressed(start: [u8; 4]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
        || start == [0x28, 0xb5, 0x2f, 0xfd]
        || start == [0xfd, b'7', b'z', b'X']
        || start.starts_with(b"BZh")
}

/// The path without `.`; `None` where it is absolute or climbs.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(plain)
}

/// Whether a link in the folder `from` leads to something within the archive.
fn stays_within(from: &Path, target: &Path) -> bool {
    let mut depth = from.components().count();
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
