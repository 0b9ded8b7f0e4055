//! Owns `images.build`: an image made of a folder, again only when the folder or the order changed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::units::{Size, Span};
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::super::Upload;
use super::super::context::Folder;
use super::super::engine;
use super::super::reference::Reference;
use super::ensure::blocking;
use super::rewind;
use super::state::{self, Image, TO_BE_BUILT};
use super::world::{World, limits};
use crate::effects::{call, check_node};
use crate::observed::ImageDefaults;

/// What the image was made of: the hash by which a later `build` knows that nothing changed.
const LABEL: &str = "mcrun.build";
const DEFAULT_CONTEXT: Size = Size(2 << 30);
const PENDING_PIECES: usize = 8;

/// Builds an image of a folder and its Containerfile, and names it.
///
/// It is made again when a file of the context (names, permissions, content), the Containerfile, `args` or `target`
/// changed, or when the image is gone; a base image that moved is no reason: pin it, or set `no_cache` once.
/// `.containerignore`, else `.dockerignore`, says what is left out. What RUN lines do happens in the engine's own build
/// container, with its network. Base images that need a login are brought by `images.ensure` first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The folder; takes `files:read` on all of it.
    context: String,
    /// The name of the result: `registry.example/team/web:v1.2.0`.
    tag: String,
    /// The Containerfile within the context: `Containerfile`, else `Dockerfile`, unless given.
    file: Option<String>,
    /// Build arguments. They end up in the image's history: no place for secrets.
    #[serde(default)]
    args: BTreeMap<String, String>,
    /// The stage to stop at.
    target: Option<String>,
    /// Build anew, without layers of earlier builds, whatever is there.
    #[serde(default)]
    no_cache: bool,
    /// The largest context: 2 GiB unless given.
    context_limit: Option<Size>,
    /// The longest that it may take: 10 minutes unless given.
    timeout: Option<Span>,
    /// Take the tag `latest`, or no tag, all the same.
    #[serde(default)]
    allow_latest: bool,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for Build {
    const NAME: &'static str = "images.build";
    const CAPABILITY: &'static str = "images:write:IMAGE";
    const EXAMPLE: &'static str = r#"if files.stat { path = "web/Containerfile" }.exists then
    local built = images.build { context = "web", tag = "localhost/web:v1.2.0", args = { VERSION = "1.2.0" } }
    print(built.changed)
end"#;
    type World = World;
    type Output = Ensured<Image>;

    fn subject(&self) -> String {
        self.tag.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let context = world.path("context", &self.context)?;
        Ok(vec![
            Need::write("images", self.reference()?.tagged()),
            Need::read("files", context.to_string_lossy()).and_beneath(),
        ])
    }
}

impl Build {
    fn reference(&self) -> Result<Reference> {
        let reference: Reference = self.tag.parse()?;
        if reference.digest.is_some() {
            return Err(Error::new(Code::Argument, "field `tag`: a digest is what a build results in")
                .hint("name a tag such as `:v1.2.0`"));
        }
        Ok(reference)
    }

    async fn folder(&self, world: &World) -> Result<Folder> {
        let path = world.path("context", &self.context)?;
        let (file, limit) = (self.file.clone(), self.context_limit.unwrap_or(DEFAULT_CONTEXT).0);
        blocking(move || Folder::open(&path, file.as_deref(), limit)).await
    }

    /// A hash of everything that the image is made of.
    async fn hash(&self, world: &World) -> Result<String> {
        let folder = self.folder(world).await?;
        let (content, file) = blocking(move || Ok((folder.hash()?, folder.file().to_owned()))).await?;
        let order = json!([1, content.to_hex().as_str(), file, self.args, self.target]).to_string();
        Ok(blake3::hash(order.as_bytes()).to_hex()[..32].to_owned())
    }
}

#[async_trait]
impl effect::Ensure for Build {
    type State = Image;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        match self.reference() {
            Ok(reference) => state::key(context, self.node.as_deref(), &reference),
            Err(_) => context.key("images", None, &self.tag),
        }
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Image>> {
        check_node(context, self.node.as_deref())?;
        let reference = self.reference()?;
        let held = world.engine(Self::NAME)?.inspect(&reference.tagged()).await?;
        Ok(held.map(|held| Image::of(&held, &reference)))
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Image>,
    ) -> Result<Change<Image>> {
        let reference = self.reference()?;
        reference.check_fixed(&self.tag, self.allow_latest)?;
        let engine = world.engine(Self::NAME)?;
        let hash = self.hash(world).await?;
        let held = engine.inspect(&reference.tagged()).await?;
        let made_of = held.as_ref().and_then(|held| held.labels.get(LABEL));
        if made_of == Some(&hash) && !self.no_cache && before.is_some_and(|image| !image.id.is_empty()) {
            return Ok(Change::none(before.cloned()));
        }
        let fields = state::field("context", made_of.map(String::as_str), &hash);
        let action = if before.is_some() { Action::Update } else { Action::Create };
        // What it will say is not known; what it said is the best guess, and the id is another in any case.
        let defaults = held.and_then(|held| held.defaults).unwrap_or_default();
        state::plan_defaults(context, &reference, &ImageDefaults { id: TO_BE_BUILT.to_owned(), ..defaults });
        let name = reference.tagged();
        let after = Image {
            reference: name.clone(),
            name,
            id: String::new(),
            digest: None,
            tags: Vec::new(),
            size: 0,
            created: None,
            cached: None,
        };
        let mut change = Change::to(action, Some(after), fields.into_iter().collect());
        change.unknown = vec!["id", "reference", "digest", "tags", "size", "created"];
        Ok(change)
    }

    async fn apply(
        &self,
        world: &World,
        _context: &Context,
        _before: Option<&Image>,
        change: &Change<Image>,
    ) -> Result<Applied<Image>> {
        let reference = self.reference()?;
        let engine = world.engine(Self::NAME)?;
        // What the plan saw: a file that changed since then makes the next comparison find a difference.
        let hash =
            match change.fields.first().and_then(|field| field.after.as_ref()).and_then(|hash| hash.as_str())
            {
                Some(hash) => hash.to_owned(),
                None => self.hash(world).await?,
            };
        let folder = self.folder(world).await?;
        let build = engine::Build {
            tag: reference.tagged(),
            file: folder.file().to_owned(),
            args: self.args.clone(),
            labels: BTreeMap::from([(LABEL.to_owned(), hash)]),
            target: self.target.clone(),
            no_cache: self.no_cache,
        };
        let (sender, pieces) = mpsc::channel(PENDING_PIECES);
        let sending = tokio::task::spawn_blocking(move || folder.write(sender));
        let built = call(engine.build(&build, Upload::of(pieces), &limits(self.timeout))).await;
        // It ends as soon as nobody takes its pieces.
        let _ = sending.await;
        let id = built?;
        let held = engine.inspect(&id).await?;
        let held = held.ok_or_else(|| {
            Error::new(Code::BuildFailed, format!("`{}` is gone right after its build", self.tag))
        })?;
        Ok(Applied::to(Image::of(&held, &reference)))
    }

    async fn rewind(
        &self,
        world: &World,
        _context: &Context,
        now: Option<&Image>,
        earlier: Option<&Image>,
    ) -> Result<Change<Image>> {
        rewind::rewind(world.engine(Self::NAME)?.as_ref(), &self.reference()?, now, earlier).await
    }

    async fn apply_rewind(
        &self,
        world: &World,
        _context: &Context,
        _now: Option<&Image>,
        earlier: Option<&Image>,
        _change: &Change<Image>,
    ) -> Result<Applied<Image>> {
        rewind::apply(world.engine(Self::NAME)?.as_ref(), &self.reference()?, earlier).await
    }
}
