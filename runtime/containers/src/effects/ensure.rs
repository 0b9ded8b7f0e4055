//! Owns `containers.ensure`: the spec compared field by field with the live object, and made so.

use std::future::Future;
use std::path::Path;

use async_trait::async_trait;
use effect::{Applied, Change, Context, Declared, Ensured, FieldChange, Need, Result, Sealer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Container, World, check_node, key, opened, orphans, rewind, sealed};
use crate::Action;
use crate::diff::{self, Diff, FieldDiff, SecretTags};
use crate::driver::Driver;
use crate::images::effects::{self as images, TO_BE_BUILT};
use crate::images::reference::{Reference, is_id, pinned};
use crate::observed::{ImageDefaults, Observed};
use crate::spec::{Secrets, Source, Spec};

/// Brings a container to the described state: creates it, changes it in place where that is possible, replaces it
/// where a field needs that, and starts it when it does not run. One that is as described is left alone.
///
/// Every field is compared with the live object. Give `image` for a container or `exec` for a native program, which
/// runs under a small supervisor that outlives mcrun. A field that is left out means what the image says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Ensure(Spec, #[serde(skip)] ImageMemo);

/// What the image's name meant when this effect first asked: comparing and applying mean the same content.
type ImageMemo = OnceCell<ImageDefaults>;

impl Declared for Ensure {
    const NAME: &'static str = "containers.ensure";
    const CAPABILITY: &'static str = "containers:write:NAME";
    const EXAMPLE: &'static str = r#"local web = ports.allocate { service = "hello", name = "web" }
local made = containers.ensure {
    name = "hello",
    exec = { "/bin/sleep", "3600" },
    env = { PORT = tostring(web) },
    restart = "unless-stopped",
}
print(made.changed)"#;
    type World = World;
    type Output = Ensured<Container>;

    fn subject(&self) -> String {
        self.0.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        needs_of(&self.0)
    }

    fn lease(&self) -> Option<String> {
        Some(self.0.service_name().to_owned())
    }
}

/// The capabilities that making `spec` takes.
///
/// # Errors
/// `MC-A001` when a mount of the spec cannot be read.
pub fn needs_of(spec: &Spec) -> Result<Vec<Need>> {
    let mut needs = vec![Need::write("containers", &spec.name)];
    for mount in spec.mounts()? {
        if let Source::Host(path) = mount.source {
            let path = World::resolved(&path);
            let need = if mount.read_only { Need::read("files", path) } else { Need::write("files", path) };
            needs.push(if Path::new(&need.name).is_file() { need } else { need.and_beneath() });
        }
    }
    if let Some(argv) = &spec.exec {
        // A mount may put another file where the program is: that one runs.
        let mounts = spec.mounts()?;
        let program = |argv: &[String]| {
            let behind = crate::process::behind(&mounts, &World::program(argv));
            World::resolved(&behind.to_string_lossy())
        };
        needs.push(Need::write("exec", program(argv)));
        if let Some(probe) = spec.health.as_ref().and_then(|health| health.exec.as_ref()) {
            needs.push(Need::write("exec", program(probe)));
        }
        if spec.user.is_some() {
            needs.push(Need::extra("containers", "users", &spec.name));
        }
    }
    let dangerous = [
        (spec.network.as_deref() == Some("host"), "host-network"),
        (spec.privileged == Some(true), "privileged"),
        (!spec.devices.is_empty(), "devices"),
        (!spec.cap_add.is_empty(), "capabilities"),
    ];
    needs.extend(
        dangerous
            .iter()
            .filter(|(used, _)| *used)
            .map(|(_, word)| Need::extra("containers", word, &spec.name)),
    );
    Ok(needs)
}

#[async_trait]
impl effect::Ensure for Ensure {
    type State = Container;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.0.node.as_deref(), &self.0.name)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        check_node(context, self.0.node.as_deref())?;
        // Asked for at once, so that the engine works on both; why the image cannot be had is told by the comparison.
        let (found, _) =
            tokio::join!(world.find_for(&self.0), self.image(world.driver_for(&self.0).as_ref(), context));
        Ok(found?.map(|(_, observed)| sealed(observed, &context.sealer)))
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Container>,
    ) -> Result<Change<Container>> {
        let spec = &self.0;
        let driver = world.driver_for(spec);
        driver.check(spec)?;
        if let Some(image) = &spec.image {
            image.parse::<Reference>()?.check_fixed(image, spec.allow_latest || is_id(image))?;
        }
        for secret in spec.secrets.values() {
            context.may_go(secret, &World::destination(&spec.name))?;
        }
        let found = before.map(|container| opened(container.clone(), &context.sealer)).transpose()?;
        diff::check_ownership(spec, found.as_ref())?;
        let image = self.image(driver.as_ref(), context).await?;
        let pinned = self.pinned(image);
        let spec = &pinned;
        let tags = self.tags(&context.sealer);
        let live = found.map(|live| self.with_secrets_in_place(live, &context.sealer));
        let found = compare(spec, image, live.as_ref(), &tags, driver.as_ref())?;
        if found.action == Action::None {
            // It may run under the bare tag: what it runs is known all the same.
            let image = before.and_then(|container| spec.image.clone().or_else(|| container.image.clone()));
            return Ok(Change::none(before.cloned().map(|container| Container { image, ..container })));
        }
        if found.action != Action::Update || found.fields.iter().any(|field| field.path == "state") {
            driver.check_node(spec, &|path| is_planned(context, path))?;
        }
        // A run is refused by the driver, when it makes the container.
        if context.planning() && found.action != Action::Update {
            orphans::check_beside(driver.as_ref(), context, spec).await?;
        }
        let mut predicted = diff::predict(spec, image, live.as_ref(), &tags, driver.name())?;
        predicted.adopted &= found.action == Action::Update;
        let fields = found.fields.iter().map(|field| shown(field, &context.sealer)).collect();
        let action = match found.action {
            Action::Create => effect::Action::Create,
            Action::Replace => effect::Action::Replace,
            Action::Update | Action::None => effect::Action::Update,
        };
        let mut change = Change::to(action, Some(sealed(predicted, &context.sealer)), fields);
        change.unknown = vec!["id", "pid", "started_at"];
        for version in versions(spec, &found.fields) {
            change = change.note(version);
        }
        if image.as_ref().is_some_and(|image| image.id == TO_BE_BUILT) {
            change = change
                .note("what the image says for fields that are left out is not known until it is built");
        }
        Ok(match (action, live) {
            (effect::Action::Replace, Some(live)) => {
                if live.adopted && !spec.secrets.is_empty() {
                    change = change.note(moved_secrets(spec));
                }
                change
                    .note("the old container is stopped before the new one starts")
                    .losing(rewind::lost(&live.name))
            }
            _ => change,
        })
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Container>,
        change: &Change<Container>,
    ) -> Result<Applied<Container>> {
        let spec = &self.0;
        let driver = world.driver_for(spec);
        self.permitted(world, context)?;
        if change.action == effect::Action::Update {
            self.update(driver.as_ref(), context, before).await?;
        } else {
            // Whatever can still fail does so while the old container runs.
            let image = self.image(driver.as_ref(), context).await?;
            let spec = &self.pinned(image);
            let secrets = self.secrets(context).await?;
            if change.action == effect::Action::Replace {
                clear(world, &self.0).await?;
                self.permitted(world, context)?;
            }
            call(driver.create(spec, image, &secrets)).await?;
        }
        let observed = call(driver.start(&spec.name)).await?;
        Ok(Applied::to(sealed(observed, &context.sealer)))
    }

    async fn observe_whole(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        check_node(context, self.0.node.as_deref())?;
        Ok(world.find_for(&self.0).await?.map(|(_, observed)| sealed(observed, &context.sealer)))
    }

    async fn rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Container>,
        earlier: Option<&Container>,
    ) -> Result<Change<Container>> {
        rewind::compare(world, context, now, earlier).await
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Container>,
        earlier: Option<&Container>,
        change: &Change<Container>,
    ) -> Result<Applied<Container>> {
        rewind::apply(world, context, now, earlier, change).await
    }
}

impl Ensure {
    /// Asks the policy again: a link on the way to a mount or program may have been bent since the request was checked.
    fn permitted(&self, world: &World, context: &Context) -> Result<()> {
        context.policy.check(Self::NAME, &self.needs(world)?)
    }

    async fn update(&self, driver: &dyn Driver, context: &Context, before: Option<&Container>) -> Result<()> {
        let live = before.map(|container| opened(container.clone(), &context.sealer)).transpose()?;
        let live = live.map(|live| self.with_secrets_in_place(live, &context.sealer));
        let image = self.image(driver, context).await?;
        let tags = self.tags(&context.sealer);
        let found = compare(&self.pinned(image), image, live.as_ref(), &tags, driver)?;
        let fields: Vec<FieldDiff> = found.fields.into_iter().filter(|field| field.path != "state").collect();
        if fields.is_empty() { Ok(()) } else { call(driver.update(&self.0.name, &fields, &self.0)).await }
    }

    /// What the image says for omitted fields: the one on the node, or the one that the plan brings there.
    async fn image(&self, driver: &dyn Driver, context: &Context) -> Result<Option<&ImageDefaults>> {
        let Some(image) = &self.0.image else { return Ok(None) };
        let look_up = || async {
            if let Some(planned) = images::planned_defaults(context, image) {
                return Ok(planned);
            }
            driver.image_defaults(image).await?.ok_or_else(|| {
                effect::Error::new(effect::Code::ImageMissing, format!("image `{image}` is not on this node"))
                    .hint("`images.ensure` pulls or loads it; `mcrun images` lists what is here")
            })
        };
        self.1.get_or_try_init(look_up).await.map(Some)
    }

    /// The same spec with exactly the image that its tag means now: what runs, and what is recorded.
    fn pinned(&self, image: Option<&ImageDefaults>) -> Spec {
        let mut spec = self.0.clone();
        if let (Some(given), Some(image)) = (&self.0.image, image.filter(|image| image.id != TO_BE_BUILT)) {
            spec.image = Some(pinned(given, &image.digests, &image.id));
        }
        spec
    }

    /// A container that was taken over has in its environment what the spec says as secrets: as long as the values are
    /// the same, these are in place. Whatever replaces it brings them as files.
    fn with_secrets_in_place(&self, mut live: Observed, sealer: &Sealer) -> Observed {
        if !live.adopted {
            return live;
        }
        for (name, secret) in &self.0.secrets {
            let value = live.env.get(name).map(|value| sealer.tag(value.as_bytes()));
            let is_same = secret.values().any(|named| value.as_deref() == Some(named.tag));
            if secret.parts.len() == 1 && is_same {
                live.env.remove(name);
                live.secrets.insert(name.clone(), World::secret_tag(secret, sealer));
            }
        }
        live
    }

    fn tags(&self, sealer: &Sealer) -> SecretTags {
        self.0
            .secrets
            .iter()
            .map(|(name, secret)| (name.clone(), World::secret_tag(secret, sealer)))
            .collect()
    }

    async fn secrets(&self, context: &Context) -> Result<Secrets> {
        let mut secrets = Secrets::new();
        for (name, secret) in &self.0.secrets {
            let value = context.reveal(secret, &World::destination(&self.0.name)).await?;
            secrets.insert(name.clone(), World::material(secret, value, &context.sealer));
        }
        Ok(secrets)
    }
}

/// Which versions of secrets it gets: the hashes that are compared say that there is another one, and not which.
fn versions(spec: &Spec, fields: &[FieldDiff]) -> Vec<String> {
    let changed = fields.iter().filter_map(|field| field.path.strip_prefix("secrets."));
    let given = changed.filter_map(|name| Some((name, spec.secrets.get(name)?)));
    let versioned = given.filter(|(_, secret)| secret.values().any(|named| named.version.is_some()));
    versioned.map(|(name, secret)| format!("{name} is {secret}")).collect()
}

/// Who wrote the program expects what it always had.
fn moved_secrets(spec: &Spec) -> String {
    let moved = spec.secrets.keys().map(|name| format!("{name} is in the file ${name}_FILE"));
    format!("secrets leave the environment: {}", moved.collect::<Vec<_>>().join(", "))
}

/// Takes the old container away, whichever driver had it.
pub(super) async fn clear(world: &World, spec: &Spec) -> Result<()> {
    let Some((driver, old)) = world.find_for(spec).await? else { return Ok(()) };
    call(driver.stop(&old.name, None)).await?;
    call(driver.remove(&old.name, true)).await
}

/// Whether an earlier effect of the plan makes the file, or something beneath it.
pub(super) fn is_planned(context: &Context, path: &Path) -> bool {
    let key = context.key("files", None, &World::resolved(&path.to_string_lossy()));
    let beneath = context.overlay.beneath::<Value>(&format!("{key}/"));
    context.overlay.get::<Value>(&key).flatten().is_some()
        || beneath.iter().any(|(_, planned)| planned.is_some())
}

/// One call of a driver, between two points at which a crash test may end the process.
pub(crate) async fn call<T>(driver: impl Future<Output = Result<T>>) -> Result<T> {
    effect::reached("driver:before");
    let done = driver.await;
    effect::reached("driver:after");
    done
}

pub(super) fn compare(
    spec: &Spec,
    image: Option<&ImageDefaults>,
    live: Option<&Observed>,
    tags: &SecretTags,
    driver: &dyn Driver,
) -> Result<Diff> {
    let mut found = diff::diff(spec, image, live, tags, driver.features())?;
    // A container of another driver is never changed in place.
    if let Some(live) = live.filter(|live| live.driver != driver.name()) {
        found.action = Action::Replace;
        found.fields.insert(
            0,
            FieldDiff {
                path: "driver".into(),
                before: Some(live.driver.clone().into()),
                after: Some(driver.name().into()),
                replaces: true,
                secret: false,
            },
        );
    }
    Ok(found)
}

/// A difference as people see it: what was found live and is as sensitive as a secret is sealed.
pub(super) fn shown(field: &FieldDiff, sealer: &Sealer) -> FieldChange {
    let seal = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        serde_json::to_value(sealer.hide(text.as_bytes())).unwrap_or(Value::Null)
    };
    FieldChange {
        path: field.path.clone(),
        before: field.before.as_ref().map(|value| if field.secret { seal(value) } else { value.clone() }),
        after: field.after.as_ref().map(|value| {
            let is_hash = field.secret && field.path.starts_with("secrets.");
            if is_hash { seal(value) } else { value.clone() }
        }),
        replaces: field.replaces,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_program_takes_the_capability_for_the_file_that_really_runs() {
        let spec = Spec {
            name: "a".to_owned(),
            exec: Some(vec!["/none/bin/allowed".to_owned()]),
            volumes: vec!["/srv/none/other:/none/bin/allowed:ro".to_owned()],
            ..Spec::default()
        };
        let needs = needs_of(&spec).unwrap();
        let of_exec: Vec<&str> =
            needs.iter().filter(|need| need.primitive == "exec").map(|need| need.name.as_str()).collect();
        assert_eq!(of_exec, ["/srv/none/other"]);
    }
}
