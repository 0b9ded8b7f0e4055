//! Owns the images of the machine in memory: an engine that holds names and contents, and registries that have whatever
//! they are asked for. Nothing is transferred, and no registry hears of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use containers::ImageDefaults;
use containers::images::engine::{Build, Limits};
use containers::images::{Held, Images, Login, Reference, Upload};
use effect::{Code, Error, Result};
use journal::Clock as _;

use super::machine::Machine;

/// What each takes on disk.
const SIZE: u64 = 10 << 20;

/// Every image of a machine, by its id.
pub(super) type Shelf = BTreeMap<String, Held>;

pub(super) fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A content of its own for each tag, which its digest names as well.
pub(super) fn defaults(image: &str) -> ImageDefaults {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let reference = image.parse::<Reference>().ok();
    let full = reference.as_ref().map_or_else(|| image.to_owned(), Reference::tagged);
    let digest = reference.as_ref().and_then(|reference| reference.digest.clone());
    let id = digest.unwrap_or_else(|| format!("sha256:{:064x}", fingerprint(&full)));
    ImageDefaults {
        digests: reference.iter().map(|reference| format!("{}@{id}", reference.name())).collect(),
        id,
        names: vec![name.to_owned()],
        entrypoint: vec!["/entrypoint".to_owned()],
        ..ImageDefaults::default()
    }
}

/// What the node has under a name, a digest or an id.
pub(super) fn find<'a>(shelf: &'a Shelf, image: &str) -> Option<&'a Held> {
    let named = || {
        let exact = image.parse::<Reference>().ok()?.exact();
        shelf.values().find(|held| held.tags.contains(&exact) || held.digests.contains(&exact))
    };
    shelf.get(image).or_else(named)
}

/// Images as the engine in memory has them.
pub(super) struct Store(pub(super) Arc<Machine>);

impl Store {
    fn made(&self, defaults: ImageDefaults) -> Held {
        let now = jiff::Timestamp::from_millisecond(self.0.clock.now().0);
        Held {
            id: defaults.id.clone(),
            tags: Vec::new(),
            digests: defaults.digests.clone(),
            size: SIZE,
            created: now.ok().map(|at| at.to_string()),
            labels: defaults.labels.clone(),
            defaults: Some(defaults),
        }
    }

    /// Has `image` on the node under all its names, as a container that is made of it does.
    pub(super) fn hold(&self, image: &str) {
        let Ok(reference) = image.parse::<Reference>() else { return };
        let mut shelf = self.0.shelf();
        if find(&shelf, image).is_some() {
            return;
        }
        let made = self.made(defaults(image));
        let id = made.id.clone();
        shelf.entry(id.clone()).or_insert(made);
        if reference.tag.is_some() || reference.digest.is_none() {
            name(&mut shelf, &id, &reference);
        }
    }
}

/// Lets a name mean this image, and no other any more.
fn name(shelf: &mut Shelf, id: &str, reference: &Reference) {
    let tag = reference.tagged();
    for held in shelf.values_mut() {
        held.tags.retain(|other| *other != tag);
    }
    if let Some(held) = shelf.get_mut(id) {
        held.tags.push(tag);
        held.tags.sort();
    }
}

#[async_trait]
impl Images for Store {
    fn driver(&self) -> &'static str {
        "podman"
    }

    fn trust_folder(&self, registry: &str) -> PathBuf {
        PathBuf::from("/etc/containers/certs.d").join(registry)
    }

    async fn inspect(&self, image: &str) -> Result<Option<Held>> {
        Ok(find(&self.0.shelf(), image).cloned())
    }

    async fn list(&self) -> Result<Vec<Held>> {
        Ok(self.0.shelf().values().cloned().map(|held| Held { defaults: None, ..held }).collect())
    }

    fn in_registry(&self, reference: &Reference) -> Option<Held> {
        // What was pushed is there; of anything else the registry has a version of its own.
        let is_pushed = |held: &&Held| held.digests.contains(&format!("{}@{}", reference.name(), held.id));
        let pushed = find(&self.0.shelf(), &reference.exact()).filter(is_pushed).cloned();
        Some(pushed.unwrap_or_else(|| self.made(defaults(&reference.to_string()))))
    }

    async fn pull(&self, reference: &Reference, _: Option<&Login>, _: &Limits) -> Result<()> {
        let made = self.made(defaults(&reference.to_string()));
        self.0.shelf().entry(made.id.clone()).or_insert(made);
        Ok(())
    }

    async fn load(&self, _: Upload, _: &Limits) -> Result<()> {
        Err(Error::new(Code::EngineFailed, "archives of images are not loaded in a test")
            .hint("`images.ensure` without `archive` brings any image to the machine in memory"))
    }

    async fn build(&self, build: &Build, _: Upload, _: &Limits) -> Result<String> {
        let content = format!("{:?} {:?} {:?}", build.labels, build.args, build.target);
        let id = format!("sha256:{:064x}", fingerprint(&format!("{} {content}", build.tag)));
        let reference: Reference = build.tag.parse()?;
        let defaults = defaults(&reference.at(&id).to_string());
        let made = self.made(ImageDefaults { labels: build.labels.clone(), ..defaults });
        // Only a push has a registry know it; an engine names what never leaves by its digest at once.
        let digests = if reference.is_local() { made.digests.clone() } else { Vec::new() };
        let mut shelf = self.0.shelf();
        shelf.insert(id.clone(), Held { digests, ..made });
        name(&mut shelf, &id, &reference);
        Ok(id)
    }

    async fn tag(&self, id: &str, reference: &Reference) -> Result<()> {
        let mut shelf = self.0.shelf();
        let Some(id) = find(&shelf, id).map(|held| held.id.clone()) else {
            return Err(Error::new(Code::ImageMissing, format!("image `{id}` is not on this node")));
        };
        name(&mut shelf, &id, reference);
        Ok(())
    }

    async fn push(&self, reference: &Reference, _: Option<&Login>, _: &Limits) -> Result<()> {
        let mut shelf = self.0.shelf();
        let id = find(&shelf, &reference.tagged()).map(|held| held.id.clone());
        if let Some(held) = id.and_then(|id| shelf.get_mut(&id)) {
            let digest = format!("{}@{}", reference.name(), held.id);
            if !held.digests.contains(&digest) {
                held.digests.push(digest);
            }
        }
        Ok(())
    }

    async fn remove(&self, image: &str) -> Result<()> {
        let user = |id: &str| {
            let live = self.0.live();
            live.values().find(|found| found.image_id.as_deref() == Some(id)).map(|found| found.name.clone())
        };
        let mut shelf = self.0.shelf();
        let Some(held) = find(&shelf, image).cloned() else { return Ok(()) };
        let reference: Option<Reference> = image.parse().ok();
        let tag =
            reference.filter(|reference| reference.digest.is_none()).map(|reference| reference.tagged());
        let left: Vec<String> =
            held.tags.iter().filter(|other| tag.as_ref() != Some(*other)).cloned().collect();
        if tag.is_some() && !left.is_empty() {
            shelf.insert(held.id.clone(), Held { tags: left, ..held });
            return Ok(());
        }
        if let Some(name) = user(&held.id) {
            return Err(Error::new(Code::EngineFailed, format!("a container uses `{image}`"))
                .because(format!("container `{name}` is made of it")));
        }
        shelf.remove(&held.id);
        Ok(())
    }
}
