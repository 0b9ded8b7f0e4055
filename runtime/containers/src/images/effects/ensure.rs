//! Owns `images.ensure`: an image on the node as its registry or an archive has it.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::super::archive::{self, Found};
use super::super::context::send_file;
use super::super::engine::Images;
use super::super::reference::Reference;
use super::super::{Held, Upload};
use super::rewind;
use super::state::{self, Image};
use super::world::{
    Access, Auth, DEFAULT_ATTEMPTS, World, destination, is_down, limits, missing, with_cached,
};
use crate::effects::{call, check_node};

/// Pieces of an archive that wait for the engine.
const PENDING_PIECES: usize = 8;

/// Brings an image to the node: from its registry, or from an archive.
///
/// The registry is asked what the tag means now, in a plan too; the digest is what is pulled, and `after.reference` is
/// what `containers.ensure` should run. Where the registry does not answer, the image that is here is used, and
/// `after.cached` and the run's log say so. Errors that may pass are tried again, later each time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ensure {
    /// The image: `registry.example/team/web:v1.2.0`. Names without a registry are Docker Hub's; those of `localhost/…`
    /// never leave the node.
    image: String,
    /// An OCI or docker archive to load it from, uncompressed; takes `files:read` on the path, and `images:write` for
    /// every name that the archive brings along.
    archive: Option<String>,
    /// When the registry is asked: `"newer"` (the default) always, `"missing"` only where the image is not here.
    #[serde(default)]
    pull: Pull,
    /// Who asks the registry; without it, it is asked without a name, also where the engine has a login of its own.
    auth: Option<Auth>,
    /// The authority that signed the registry's certificate, a file in PEM. The engine then trusts it for this registry,
    /// also later, which takes `files:write` on the file in its own folder.
    ca: Option<String>,
    /// How often an error that may pass is met with another attempt: 4 times in all unless given.
    #[schemars(range(min = 1, max = 10))]
    attempts: Option<u32>,
    /// The longest that one attempt may take: 10 minutes unless given.
    timeout: Option<Span>,
    /// Take the tag `latest`, or no tag, all the same.
    #[serde(default)]
    allow_latest: bool,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// When a registry is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// Always: a tag may have moved.
    #[default]
    Newer,
    /// Only where the image is not on the node.
    Missing,
}

impl Declared for Ensure {
    const NAME: &'static str = "images.ensure";
    const CAPABILITY: &'static str = "images:write:IMAGE";
    const EXAMPLE: &'static str = r#"if #images.list { name = "localhost/web" } > 0 then
    local web = images.ensure { image = "localhost/web:v1.2.0", pull = "missing" }
    containers.ensure { name = "web", image = web.after.reference }
end"#;
    type World = World;
    type Output = Ensured<Image>;

    fn subject(&self) -> String {
        self.image.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let reference = self.reference()?;
        let mut needs = vec![Need::write("images", reference.tagged())];
        if let Some(archive) = &self.archive {
            needs.push(Need::read("files", world.path("archive", archive)?.to_string_lossy()));
        }
        needs.extend(world.ca_needs(self.ca.as_ref(), Some(&reference.registry))?);
        Ok(needs)
    }
}

/// What has to be done, and what is known of it.
enum Way {
    Here { held: Held, means: Reference, cached: Option<String> },
    Pull { digest: String, id: String, size: u64 },
    Load(Found),
}

impl Ensure {
    fn reference(&self) -> Result<Reference> {
        self.image.parse()
    }

    fn access(&self, is_here: bool) -> Access<'_> {
        // What is here will do, so nobody waits long for a registry that is down.
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS).clamp(1, 10);
        Access {
            auth: self.auth.as_ref(),
            ca: self.ca.as_ref(),
            attempts: if is_here { attempts.min(2) } else { attempts },
        }
    }

    fn check(&self, context: &Context, reference: &Reference) -> Result<()> {
        check_node(context, self.node.as_deref())?;
        reference.check_fixed(&self.image, self.allow_latest)?;
        if let Some(auth) = &self.auth {
            context.may_go(&auth.password, &destination(reference))?;
        }
        if self.archive.is_some() && (self.auth.is_some() || self.ca.is_some() || reference.digest.is_some())
        {
            return Err(Error::new(
                Code::Argument,
                "field `archive`: takes no `auth`, no `ca` and a name without digest",
            )
            .hint("an archive is read from this node; no registry is asked"));
        }
        Ok(())
    }

    async fn way(
        &self,
        world: &World,
        context: &Context,
        reference: &Reference,
        before: Option<&Image>,
    ) -> Result<Way> {
        let engine = world.engine(Self::NAME)?;
        // What a plan has taken away is still on the node.
        let held = match before {
            Some(_) => engine.inspect(&reference.exact()).await?,
            None => None,
        };
        if let Some(archive) = &self.archive {
            let found = self.look_into(world, context, archive, reference).await?;
            return Ok(match held {
                Some(held) if held.id == found.id => {
                    Way::Here { held, means: reference.clone(), cached: None }
                }
                _ => Way::Load(found),
            });
        }
        match held {
            Some(held)
                if reference.digest.is_some() || reference.is_local() || self.pull == Pull::Missing =>
            {
                Ok(Way::Here { held, means: reference.clone(), cached: None })
            }
            None if reference.is_local() => {
                let error =
                    Error::new(Code::ImageMissing, format!("image `{reference}` is not on this node")).hint(
                        "images of `localhost/` have no registry: build it, or load it with `archive = …`",
                    );
                Err(with_cached(engine.as_ref(), reference, error).await)
            }
            held => self.ask(world, context, engine.as_ref(), reference, held).await,
        }
    }

    async fn ask(
        &self,
        world: &World,
        context: &Context,
        engine: &dyn Images,
        reference: &Reference,
        held: Option<Held>,
    ) -> Result<Way> {
        match (world.resolve(context, engine, reference, &self.access(held.is_some())).await, held) {
            (Ok(remote), Some(held)) if held.digests.contains(&reference.at(&remote.digest).untagged()) => {
                Ok(Way::Here { held, means: reference.at(&remote.digest), cached: None })
            }
            (Ok(remote), _) => {
                state::plan_defaults(context, &reference.at(&remote.digest), &remote.defaults);
                Ok(Way::Pull { digest: remote.digest, id: remote.id, size: remote.size })
            }
            (Err(error), Some(held)) if is_down(&error) => {
                Ok(Way::Here { held, means: reference.clone(), cached: Some(down(&error)) })
            }
            (Err(error), None) if is_down(&error) => {
                Err(with_cached(engine, reference, missing(reference, &error)).await)
            }
            (Err(error), _) => Err(with_cached(engine, reference, error).await),
        }
    }

    async fn look_into(
        &self,
        world: &World,
        context: &Context,
        archive: &str,
        wanted: &Reference,
    ) -> Result<Found> {
        let path = world.path("archive", archive)?;
        let file = world.open("archive", &path)?;
        let wanted = wanted.clone();
        let found = blocking(move || archive::inspect(&file, &path, &wanted)).await?;
        // Loading gives every name of the archive a new meaning.
        let needs: Vec<Need> = found.names.iter().flat_map(|name| brought_along(name)).collect();
        context.policy.check(Self::NAME, &needs)?;
        Ok(found)
    }

    async fn pull(
        &self,
        world: &World,
        context: &Context,
        reference: &Reference,
        digest: &str,
    ) -> Result<()> {
        let engine = world.engine(Self::NAME)?;
        if let Some(authority) = world.authority(self.ca.as_ref())? {
            authority.put_into(&engine.trust_folder(&reference.registry))?;
        }
        let login = world.login(context, reference, self.auth.as_ref()).await?;
        let exact = reference.at(digest);
        let limits = limits(self.timeout);
        let access = self.access(false);
        let pulled = world.retry(&access, "the pull", || call(engine.pull(&exact, login.as_ref(), &limits)));
        if let Err(error) = pulled.await {
            return Err(with_cached(engine.as_ref(), reference, error).await);
        }
        // By its digest it stays known when the tag moves on; one that was asked for by digest moves no tag.
        if reference.digest.is_none() {
            call(engine.tag(&exact.untagged(), reference)).await?;
        }
        Ok(())
    }

    async fn load(
        &self,
        world: &World,
        context: &Context,
        reference: &Reference,
        archive: &str,
    ) -> Result<()> {
        let engine = world.engine(Self::NAME)?;
        let found = self.look_into(world, context, archive, reference).await?;
        let file = world.open("archive", &world.path("archive", archive)?)?;
        let (sender, pieces) = mpsc::channel(PENDING_PIECES);
        let sending = tokio::task::spawn_blocking(move || send_file(file, sender));
        let loaded = call(engine.load(Upload::of(pieces), &limits(self.timeout))).await;
        // It ends as soon as nobody takes its pieces.
        let _ = sending.await;
        loaded.map_err(|mut error| {
            if error.code == Code::EngineFailed {
                error.code = Code::ImageArchive;
            }
            error
        })?;
        if engine.inspect(&found.id).await?.is_none() {
            return Err(Error::new(
                Code::ImageArchive,
                format!("the archive `{archive}` did not bring its image"),
            )
            .because(format!("{} is not on the node after loading it", found.id)));
        }
        call(engine.tag(&found.id, reference)).await
    }
}

#[async_trait]
impl effect::Ensure for Ensure {
    type State = Image;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        match self.reference() {
            Ok(reference) => state::key(context, self.node.as_deref(), &reference),
            Err(_) => context.key("images", None, &self.image),
        }
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Image>> {
        check_node(context, self.node.as_deref())?;
        let reference = self.reference()?;
        let held = world.engine(Self::NAME)?.inspect(&reference.exact()).await?;
        Ok(held.map(|held| Image::of(&held, &reference)))
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Image>,
    ) -> Result<Change<Image>> {
        let reference = self.reference()?;
        self.check(context, &reference)?;
        let planned = context.overlay.get::<Image>(&self.key(context)).flatten();
        if let Some(planned) = planned {
            return Ok(Change::none(Some(planned)));
        }
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let before_id = before.map(|image| image.id.as_str());
        let (after, fields, unknown) = match self.way(world, context, &reference, before).await? {
            Way::Here { held, means, cached } => {
                if let Some(why) = &cached {
                    remark(context, &cached_remark(&reference.tagged(), why));
                }
                let now =
                    Image { name: reference.tagged(), cached: cached.clone(), ..Image::of(&held, &means) };
                let change = Change::none(Some(now));
                return Ok(match cached {
                    Some(why) => change.note(format!("the image that is here is used: {why}")),
                    None => change,
                });
            }
            Way::Pull { digest, id, size } => {
                let fields = [
                    state::field("digest", before.and_then(|image| image.digest.as_deref()), &digest),
                    state::field("id", before_id, &id),
                ];
                let exact = reference.at(&digest);
                (
                    predicted(&reference, exact.to_string(), Some(digest), id, size),
                    fields,
                    vec!["size", "created", "tags"],
                )
            }
            Way::Load(found) => {
                state::plan_defaults(context, &reference, &found.defaults);
                let fields = [
                    state::field("archive", None, self.archive.as_deref().unwrap_or_default()),
                    state::field("id", before_id, &found.id),
                ];
                let after = predicted(&reference, String::new(), None, found.id, 0);
                (after, fields, vec!["size", "created", "tags", "digest", "reference"])
            }
        };
        let mut change = Change::to(action, Some(after), fields.into_iter().flatten().collect());
        change.unknown = unknown;
        Ok(match (&self.ca, world.engine(Self::NAME)?.trust_folder(&reference.registry)) {
            (Some(_), folder) => change.note(format!(
                "the engine will trust `ca` for {}: {}",
                reference.registry,
                folder.display()
            )),
            (None, _) => change,
        })
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Image>,
        change: &Change<Image>,
    ) -> Result<Applied<Image>> {
        let reference = self.reference()?;
        let digest = change.after.as_ref().and_then(|image| image.digest.as_deref());
        let mut exact = reference.clone();
        let mut cached = None;
        match (&self.archive, digest) {
            (Some(archive), _) => self.load(world, context, &reference, archive).await?,
            (None, Some(digest)) => match self.pull(world, context, &reference, digest).await {
                Ok(()) => exact = reference.at(digest),
                // The registry went away after it was asked.
                Err(error) if is_down(&error) && before.is_some() => cached = Some(down(&error)),
                Err(error) => return Err(error),
            },
            (None, None) => return Err(Error::new(Code::Internal, "a pull without a digest was planned")),
        }
        if let Some(why) = &cached {
            remark(context, &cached_remark(&reference.tagged(), why));
        }
        let held = world.engine(Self::NAME)?.inspect(&exact.exact()).await?;
        let held =
            held.ok_or_else(|| Error::new(Code::ImageMissing, format!("image `{exact}` is gone again")))?;
        Ok(Applied::to(Image { name: reference.tagged(), cached, ..Image::of(&held, &exact) }))
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

fn down(error: &Error) -> String {
    format!("the registry does not answer: {}", error.cause.as_deref().unwrap_or(&error.message))
}

fn predicted(reference: &Reference, exact: String, digest: Option<String>, id: String, size: u64) -> Image {
    Image {
        name: reference.tagged(),
        reference: exact,
        id,
        digest,
        tags: Vec::new(),
        size,
        created: None,
        cached: None,
    }
}

/// What a name in an archive comes to mean something else for. Engines put one without a registry beneath `localhost/`.
fn brought_along(name: &str) -> Vec<Need> {
    let local = (!name.contains('/')).then(|| format!("localhost/{name}"));
    let names = std::iter::once(name.to_owned()).chain(local);
    names
        .filter_map(|name| name.parse::<Reference>().ok())
        .map(|name| Need::write("images", name.tagged()))
        .collect()
}

/// Puts a line into the run's log, in a scope beside the script's own lines.
fn remark(context: &Context, message: &str) {
    if context.planning() {
        return;
    }
    let identity = &context.identity;
    let scope = if identity.scope.is_empty() {
        Ensure::NAME.to_owned()
    } else {
        format!("{}/{}", identity.scope, Ensure::NAME)
    };
    context.journal.log(
        &context.run,
        journal::LogLine {
            scope,
            number: identity.counter.into(),
            level: journal::Level::Warn,
            message: message.to_owned(),
            fields: None,
            at: context.now(),
            place: None,
        },
    );
}

/// What the answer of an effect has to say to whoever watches the run; its log has it already.
#[must_use]
pub fn remark_in(effect: &str, answer: &str) -> Option<String> {
    if effect != Ensure::NAME || !answer.contains("\"cached\"") {
        return None;
    }
    let answer: Ensured<Image> = serde_json::from_str(answer).ok()?;
    let image = answer.after?;
    image.cached.map(|why| cached_remark(&image.name, &why))
}

fn cached_remark(image: &str, why: &str) -> String {
    format!("{image}: the image that is here is used: {why}")
}

/// Does file work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::ended("file work ended early", &error))?
}
