//! Owns `images.push`: a registry that has what the node has.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::reference::Reference;
use super::super::registry::Remote;
use super::state::{self, Image, TO_BE_BUILT};
use super::world::{Access, Auth, DEFAULT_ATTEMPTS, World, destination, limits, with_cached};
use crate::effects::{call, check_node};

/// Gives an image of the node to its registry, unless the tag means this very image there already.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// The image with its tag: `registry.example/team/web:v1.2.0`.
    image: String,
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

/// An image in its registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pushed {
    /// Its name in full, with its tag.
    pub name: String,
    /// The name that means exactly this content everywhere: tag and digest.
    pub reference: String,
    /// The digest under which the registry has it.
    pub digest: String,
    /// By its content, as engines call it.
    pub id: String,
}

impl Pushed {
    fn of(remote: Remote, reference: &Reference) -> Self {
        Self {
            name: reference.tagged(),
            reference: reference.at(&remote.digest).to_string(),
            digest: remote.digest,
            id: remote.id,
        }
    }
}

impl Declared for Push {
    const NAME: &'static str = "images.push";
    const CAPABILITY: &'static str = "images:write:IMAGE";
    const EXAMPLE: &'static str = r#"if #images.list { name = "registry.example/team/web" } > 0 then
    local pushed = images.push {
        image = "registry.example/team/web:v1.2.0",
        auth = { username = "deploy", password = secrets.get("registry") },
    }
    print(pushed.after.reference)
end"#;
    type World = World;
    type Output = Ensured<Pushed>;

    fn subject(&self) -> String {
        self.image.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let reference = self.reference()?;
        let mut needs = vec![Need::write("images", reference.tagged())];
        needs.extend(world.ca_needs(self.ca.as_ref(), Some(&reference.registry))?);
        Ok(needs)
    }
}

impl Push {
    fn reference(&self) -> Result<Reference> {
        let reference: Reference = self.image.parse()?;
        let wrong =
            |why: &str| Err(Error::new(Code::Argument, format!("field `image`: `{}` {why}", self.image)));
        if reference.digest.is_some() {
            return wrong("has a digest: a push goes to a tag");
        }
        if reference.is_local() {
            return wrong("has no registry to go to");
        }
        Ok(reference)
    }

    fn access(&self) -> Access<'_> {
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS).clamp(1, 10);
        Access { auth: self.auth.as_ref(), ca: self.ca.as_ref(), attempts }
    }

    async fn remote(
        &self,
        world: &World,
        context: &Context,
        reference: &Reference,
    ) -> Result<Option<Pushed>> {
        let engine = world.engine(Self::NAME)?;
        match world.resolve(context, engine.as_ref(), reference, &self.access()).await {
            Ok(remote) => Ok(Some(Pushed::of(remote, reference))),
            Err(error) if error.code == Code::ImageUnknown => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl effect::Ensure for Push {
    type State = Pushed;

    fn key(&self, context: &Context) -> String {
        context.key("registry-images", self.node.as_deref(), &self.image)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Pushed>> {
        check_node(context, self.node.as_deref())?;
        let reference = self.reference()?;
        reference.check_fixed(&self.image, self.allow_latest)?;
        if let Some(auth) = &self.auth {
            context.may_go(&auth.password, &destination(&reference))?;
        }
        self.remote(world, context, &reference).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Pushed>,
    ) -> Result<Change<Pushed>> {
        let reference = self.reference()?;
        let engine = world.engine(Self::NAME)?;
        let planned =
            context.overlay.get::<Image>(&state::key(context, self.node.as_deref(), &reference)).flatten();
        let id = match planned {
            Some(planned) => planned.id,
            None => match engine.inspect(&reference.tagged()).await? {
                Some(held) => held.id,
                None => {
                    let error =
                        Error::new(Code::ImageMissing, format!("image `{reference}` is not on this node"))
                            .hint("`images.build` makes it, `images.tag` names one that is here");
                    return Err(with_cached(engine.as_ref(), &reference, error).await);
                }
            },
        };
        if !id.is_empty() && before.is_some_and(|pushed| pushed.id == id) {
            return Ok(Change::none(before.cloned()));
        }
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let shown = if id.is_empty() { TO_BE_BUILT } else { &id };
        let fields = state::field("id", before.map(|pushed| pushed.id.as_str()), shown);
        let mut unknown = vec!["reference", "digest"];
        if id.is_empty() {
            unknown.push("id");
        }
        let name = reference.tagged();
        let after = Pushed { reference: name.clone(), name, digest: String::new(), id };
        let mut change = Change::to(action, Some(after), fields.into_iter().collect());
        change.unknown = unknown;
        Ok(change)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _before: Option<&Pushed>,
        _change: &Change<Pushed>,
    ) -> Result<Applied<Pushed>> {
        let reference = self.reference()?;
        let engine = world.engine(Self::NAME)?;
        if let Some(authority) = world.authority(self.ca.as_ref())? {
            authority.put_into(&engine.trust_folder(&reference.registry))?;
        }
        let login = world.login(context, &reference, self.auth.as_ref()).await?;
        let limits = limits(self.timeout);
        let access = self.access();
        world.retry(&access, "the push", || call(engine.push(&reference, login.as_ref(), &limits))).await?;
        let pushed = self.remote(world, context, &reference).await?;
        let gone = || {
            Error::new(Code::ImageUnknown, format!("the registry does not have `{reference}` after the push"))
        };
        Ok(Applied::to(pushed.ok_or_else(gone)?))
    }
}
