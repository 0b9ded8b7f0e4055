//! Owns the way back of containers: one that was changed, replaced or removed is made again from what was seen of it, with
//! exactly its image; one that was not there goes away. What it wrote outside its volumes is nowhere any more.

use effect::secret::Named;
use effect::{
    Action, Applied, Change, Code, Context, Declared as _, Error, FieldChange, Need, Result, Secret,
};
use serde_json::Value;

use super::ensure::{Ensure, call, clear, compare as differences, is_planned, needs_of, shown};
use super::{Container, World, opened, sealed};
use crate::diff::{self, Diff, FieldDiff, SecretTags};
use crate::driver::Driver;
use crate::images::reference::pinned;
use crate::observed::{ImageDefaults, Observed, State};
use crate::spec::{Secrets, Spec};

/// The remark on a container that goes away.
pub(super) fn lost(name: &str) -> String {
    format!("what `{name}` wrote outside its volumes is lost")
}

/// What bringing `earlier` back changes.
pub(super) async fn compare(
    world: &World,
    context: &Context,
    now: Option<&Container>,
    earlier: Option<&Container>,
) -> Result<Change<Container>> {
    match (now, earlier) {
        (None, None) => Ok(Change::none(None)),
        (Some(now), None) => {
            check_ours(now)?;
            Ok(Change::to(Action::Remove, None, Vec::new()).note(lost(&now.name)))
        }
        (Some(now), Some(earlier)) if differs_in_state_alone(now, earlier) => Ok(state_change(now, earlier)),
        (now, Some(earlier)) => {
            now.map_or(Ok(()), check_ours)?;
            let original = Original::find(world, context, earlier).await?;
            original.change(context, now).await
        }
    }
}

/// Brings it back.
pub(super) async fn apply(
    world: &World,
    context: &Context,
    now: Option<&Container>,
    earlier: Option<&Container>,
    change: &Change<Container>,
) -> Result<Applied<Container>> {
    let Some(earlier) = earlier else {
        if let Some((driver, live)) = find(world, now).await? {
            call(driver.stop(&live.name, None)).await?;
            call(driver.remove(&live.name, true)).await?;
        }
        return Ok(Applied::gone());
    };
    let driver = driver_of(world, earlier)?;
    match now {
        Some(now) if differs_in_state_alone(now, earlier) => {}
        now => {
            Original::find(world, context, earlier).await?.make(world, context, now, change.action).await?
        }
    }
    settle(driver, earlier).await?;
    let observed = driver.inspect(&earlier.name).await?;
    Ok(Applied { after: observed.map(|observed| sealed(observed, &context.sealer)), writes: Vec::new() })
}

async fn find<'a>(
    world: &'a World,
    now: Option<&Container>,
) -> Result<Option<(&'a std::sync::Arc<dyn Driver>, Observed)>> {
    match now {
        Some(now) => world.find(&now.name).await,
        None => Ok(None),
    }
}

/// Running or not, as it was.
async fn settle(driver: &dyn Driver, earlier: &Container) -> Result<()> {
    if earlier.is_up() {
        call(driver.start(&earlier.name)).await.map(drop)
    } else {
        call(driver.stop(&earlier.name, None)).await
    }
}

fn driver_of<'a>(world: &'a World, earlier: &Container) -> Result<&'a dyn Driver> {
    let driver = world.driver_named(&earlier.driver).map(AsRef::as_ref);
    driver.ok_or_else(|| {
        refusal(
            earlier,
            &format!("it was a container of {}, which is not in use here any more", earlier.driver),
        )
        .hint("select that driver in `mcrun.toml` again")
    })
}

fn refusal(container: &Container, why: &str) -> Error {
    Error::new(Code::NotUndoable, format!("`{}` cannot be made again as it was", container.name)).because(why)
}

/// What somebody else made meanwhile under the same name is not ours to take away.
fn check_ours(now: &Container) -> Result<()> {
    if now.managed {
        return Ok(());
    }
    let message = format!("the container `{}` that is there now was not made by mcrun", now.name);
    Err(Error::new(Code::ForeignContainer, message).hint("remove it by hand, then undo again"))
}

/// Whether it is the same container still, at most started or stopped.
fn differs_in_state_alone(now: &Container, earlier: &Container) -> bool {
    let stripped = |container: &Container| Container {
        state: State::Created,
        exit_code: None,
        pid: None,
        started_at: None,
        restarts: 0,
        capabilities: Vec::new(),
        ..container.clone()
    };
    stripped(now) == stripped(earlier)
}

fn state_change(now: &Container, earlier: &Container) -> Change<Container> {
    if now.is_up() == earlier.is_up() {
        return Change::none(Some(now.clone()));
    }
    let state = if earlier.is_up() { State::Running } else { State::Exited };
    let after = Container { state, ..now.clone() };
    let mut change = Change::to(Action::Update, Some(after), vec![state_field(now.state, state)]);
    change.unknown = vec!["pid", "started_at", "exit_code"];
    change
}

fn state_field(before: State, after: State) -> FieldChange {
    let word = |state: State| Some(Value::from(state.as_str()));
    FieldChange { path: "state".into(), before: word(before), after: word(after), replaces: false }
}

/// A container as it was, ready to be made again.
struct Original<'a> {
    earlier: &'a Container,
    spec: Spec,
    image: Option<ImageDefaults>,
    tags: SecretTags,
    driver: &'a dyn Driver,
}

impl<'a> Original<'a> {
    async fn find(world: &'a World, context: &Context, earlier: &'a Container) -> Result<Self> {
        if !earlier.managed {
            let why = "it was not made by mcrun, which does not see all that it was";
            return Err(refusal(earlier, why));
        }
        let driver = driver_of(world, earlier)?;
        let observed = opened(earlier.clone(), &context.sealer)?;
        let image = if earlier.native { None } else { Some(image_of(driver, earlier).await?) };
        let described = image.as_ref().map(|(reference, defaults)| (reference.as_str(), defaults));
        let mut spec = observed.spec(described)?;
        spec.secrets = secrets_of(context, earlier)?;
        driver.check(&spec)?;
        let tags = earlier.origins.iter().map(|(name, origin)| (name.clone(), origin.tag().to_owned()));
        Ok(Self { earlier, spec, tags: tags.collect(), image: image.map(|(_, image)| image), driver })
    }

    async fn change(&self, context: &Context, now: Option<&Container>) -> Result<Change<Container>> {
        let found = self.differences(context, now)?;
        let live = now.map(|now| opened(now.clone(), &context.sealer)).transpose()?;
        let action = match found.action {
            diff::Action::None => return Ok(Change::none(now.cloned())),
            diff::Action::Update => Action::Update,
            diff::Action::Create => Action::Create,
            diff::Action::Replace => Action::Replace,
        };
        if action != Action::Update {
            self.check(context).await?;
        }
        let mut predicted =
            diff::predict(&self.spec, self.image.as_ref(), live.as_ref(), &self.tags, self.driver.name())?;
        predicted.state = if self.earlier.is_up() { State::Running } else { State::Exited };
        predicted.origins = self.earlier.origins.clone();
        let fields = found.fields.iter().map(|field| shown(field, &context.sealer)).collect();
        let mut change = Change::to(action, Some(sealed(predicted, &context.sealer)), fields);
        change.unknown = vec!["id", "pid", "started_at"];
        if action == Action::Update {
            return Ok(change);
        }
        change = match self.earlier.state {
            _ if self.earlier.is_up() => change,
            State::Paused => change.note("it was paused, and is left stopped"),
            _ => change.note("it is left stopped, as it was"),
        };
        Ok(change.note(match action {
            Action::Replace => lost(&self.earlier.name),
            _ => format!("what `{}` had written outside its volumes is lost", self.earlier.name),
        }))
    }

    /// What differs from what is there, where one that did not run is not missed running.
    fn differences(&self, context: &Context, now: Option<&Container>) -> Result<Diff> {
        let live = now.map(|now| opened(now.clone(), &context.sealer)).transpose()?;
        let mut found = differences(&self.spec, self.image.as_ref(), live.as_ref(), &self.tags, self.driver)?;
        let Some(now) = now else { return Ok(found) };
        if !self.earlier.is_up() {
            found.fields.retain(|field| field.path != "state");
            if now.is_up() {
                let word = |state: State| Some(Value::from(state.as_str()));
                found.fields.push(FieldDiff {
                    path: "state".into(),
                    before: word(now.state),
                    after: word(State::Exited),
                    replaces: false,
                    secret: false,
                });
            }
        }
        found.action = match found.fields.iter().map(|field| field.replaces).max() {
            None => diff::Action::None,
            Some(false) => diff::Action::Update,
            Some(true) => diff::Action::Replace,
        };
        Ok(found)
    }

    /// What can be refused before the container that is there now goes away.
    async fn check(&self, context: &Context) -> Result<()> {
        context.policy.check(Ensure::NAME, &self.needs()?)?;
        self.driver.check_node(&self.spec, &|path| is_planned(context, path))?;
        for (name, secret) in &self.spec.secrets {
            context.may_go(secret, &World::destination(&self.spec.name))?;
            self.check_known(context, name, secret).await?;
        }
        Ok(())
    }

    /// What the container takes, whoever makes it.
    fn needs(&self) -> Result<Vec<Need>> {
        let mut needs = needs_of(&self.spec)?;
        let secrets = self.spec.secrets.values().flat_map(Secret::names);
        needs.extend(secrets.map(|name| Need::read("secrets", name)));
        Ok(needs)
    }

    /// Refuses a secret that has another value now: the old one is kept nowhere.
    async fn check_known(&self, context: &Context, field: &str, secret: &Secret) -> Result<()> {
        let unknown = |why: &dyn std::fmt::Display| {
            let message = format!(
                "the value that the secret `{field}` of `{}` had is not known any more",
                self.spec.name
            );
            Error::new(Code::NotUndoable, message)
                .because(why)
                .hint("give the secret its old value again, or deploy what you want with the new one")
        };
        for Named { name, version, tag } in secret.values() {
            let value = context.secrets.reveal_version(name, version).await;
            let value = value.map_err(|error| unknown(&error))?;
            if context.sealer.tag(&value) != tag {
                return Err(unknown(&format!("secret `{name}` has another value now")));
            }
        }
        Ok(())
    }

    async fn secrets(&self, context: &Context) -> Result<Secrets> {
        let mut secrets = Secrets::new();
        for (name, secret) in &self.spec.secrets {
            let value = context.reveal(secret, &World::destination(&self.spec.name)).await?;
            secrets.insert(name.clone(), World::material(secret, value, &context.sealer));
        }
        Ok(secrets)
    }

    /// Makes it so, apart from whether it runs.
    async fn make(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Container>,
        action: Action,
    ) -> Result<()> {
        if action == Action::Update {
            let mut fields = self.differences(context, now)?.fields;
            fields.retain(|field| field.path != "state");
            return match fields.is_empty() {
                true => Ok(()),
                false => call(self.driver.update(&self.spec.name, &fields, &self.spec)).await,
            };
        }
        self.check(context).await?;
        let secrets = self.secrets(context).await?;
        if action == Action::Replace {
            clear(world, &self.spec).await?;
            // A link on the way to a mount or program may have been bent meanwhile.
            context.policy.check(Ensure::NAME, &self.needs()?)?;
        }
        call(self.driver.create(&self.spec, self.image.as_ref(), &secrets)).await
    }
}

/// The image that it ran, by a name that means exactly that content, and what it says for omitted fields.
async fn image_of(driver: &dyn Driver, earlier: &Container) -> Result<(String, ImageDefaults)> {
    let bare = |id: &str| id.trim_start_matches("sha256:").to_owned();
    let id = earlier.image_id.as_deref().unwrap_or_default();
    for reference in earlier.image.iter().map(String::as_str).chain([id]).filter(|text| !text.is_empty()) {
        if let Some(image) =
            driver.image_defaults(reference).await?.filter(|image| bare(&image.id) == bare(id))
        {
            return Ok((pinned(reference, &image.digests, &image.id), image));
        }
    }
    let name = earlier.image.as_deref().unwrap_or(id);
    Err(Error::new(
        Code::ImageMissing,
        format!("the image that `{}` ran is not on this node any more", earlier.name),
    )
    .because(format!("image {id} is gone"))
    .hint(format!("`images.ensure {{ image = \"{name}\" }}` may bring it from its registry")))
}

/// The secrets that it had, by where they came from.
fn secrets_of(context: &Context, earlier: &Container) -> Result<std::collections::BTreeMap<String, Secret>> {
    if let Some(name) = earlier.secrets.keys().find(|name| !earlier.origins.contains_key(*name)) {
        return Err(refusal(earlier, &format!("it is not known where its secret `{name}` came from")));
    }
    let open = |origin| {
        let handle = context.sealer.open_hidden(origin)?;
        serde_json::from_slice(&handle).map_err(|error| {
            Error::new(Code::JournalBroken, "the origin of a secret cannot be decoded").because(error)
        })
    };
    earlier.origins.iter().map(|(name, origin)| Ok((name.clone(), open(origin)?))).collect()
}
