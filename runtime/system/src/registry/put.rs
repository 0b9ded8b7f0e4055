//! Owns `registry.put`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use journal::{Expect, Write};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    RELEASE, Release, SERVICE, Service, decode, difference, release_key, release_name, releases, rewind,
};
use crate::World;
use crate::node::only_local;
use crate::ports::check_service_name;

/// More containers than this no service takes over.
const MOST_ADOPTED: usize = 100;
/// The longest id of an engine.
const LONGEST_ID: usize = 128;
/// How many releases of a service are kept unless a call says otherwise.
const KEPT: u32 = 100;

/// Records the desired state of a service, which recovery and `mcrun status` compare against.
///
/// With `release` a new entry of its history is made, unless version and spec are those of the latest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The service.
    service: String,
    /// What it should be: any table.
    spec: Map<String, Value>,
    /// The release that this is.
    release: Option<NewRelease>,
    /// Running containers that mcrun did not make and that belong to the service from now on: the engine's ids by name.
    /// Takes `containers:write` on each. Left out, those that are recorded stay.
    adopted: Option<BTreeMap<String, String>>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// A release to be recorded.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// Its version.
    version: String,
    /// What else should be noted with it: any table.
    #[serde(default)]
    details: Map<String, Value>,
    /// How many releases of the service are kept, this one included; 100 unless given.
    #[schemars(range(min = 1, max = 1000))]
    keep: Option<u32>,
}

impl Declared for Put {
    const NAME: &'static str = "registry.put";
    const CAPABILITY: &'static str = "registry:write:SERVICE";
    const EXAMPLE: &'static str = "registry.put { service = \"hello\", spec = { exec = { \"/bin/true\" } }, release = { version = \"v1.0.0\" } }";
    type World = World;
    type Output = Ensured<Service>;

    fn subject(&self) -> String {
        self.service.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        let mut needs = vec![Need::write("registry", &self.service)];
        if self.adopted.as_ref().is_some_and(|adopted| adopted.len() > MOST_ADOPTED) {
            return Err(Error::new(
                Code::Argument,
                format!("field `adopted`: has more than {MOST_ADOPTED} containers"),
            )
            .hint("a service is told apart from others by its containers: record several services"));
        }
        for (name, id) in self.adopted.iter().flatten() {
            check_claim(name, id)?;
            // Whoever says that a container is a service's has it changed and removed as one.
            needs.push(Need::write("containers", name));
        }
        Ok(needs)
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone())
    }
}

/// A claim is kept for as long as the service: it is what it looks like, and short.
fn check_claim(name: &str, id: &str) -> Result<()> {
    check_service_name("adopted", name)?;
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::new(
            Code::Argument,
            format!("field `adopted.{name}`: is not the id of a container"),
        )
        .hint("`containers.get` tells it in `id`"));
    }
    Ok(())
}

impl Put {
    fn node<'a>(&'a self, context: &'a Context) -> &'a str {
        self.node.as_deref().unwrap_or(&context.node)
    }

    /// The release that the change will record.
    fn release(&self, context: &Context, after: &Service) -> Option<Release> {
        let new = self.release.as_ref()?;
        Some(Release {
            service: self.service.clone(),
            number: after.release?,
            version: new.version.clone(),
            spec: self.spec.clone(),
            details: new.details.clone(),
            at: context.now().0 as f64 / 1000.0,
        })
    }

    fn write<T: serde::Serialize>(&self, context: &Context, kind: &str, name: String, value: &T) -> Write {
        Write {
            kind: kind.to_owned(),
            node: self.node(context).to_owned(),
            name,
            value: Some(json!(value).to_string()),
            expect: Expect::Any,
        }
    }
}

#[async_trait]
impl Ensure for Put {
    type State = Service;
    const OWN_RECORDS: bool = true;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("registry", self.node.as_deref(), &self.service)
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Service>> {
        only_local(context, self.node.as_deref())?;
        let record = context.journal.record(SERVICE, self.node(context), &self.service).await?;
        record.map(|record| decode(&record.value)).transpose()
    }

    async fn change(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Service>,
    ) -> Result<Change<Service>> {
        let version = |service: &Service| service.version.clone();
        let wanted = self.release.as_ref().map(|release| release.version.clone());
        let mut fields = difference::fields("spec", before.map(|before| &before.spec), &self.spec);
        let before_version = before.and_then(version);
        if wanted.is_some() && wanted != before_version {
            fields.push(FieldChange {
                path: "version".into(),
                before: before_version.as_ref().map(|version| json!(version)),
                after: wanted.as_ref().map(|version| json!(version)),
                replaces: false,
            });
        }
        let recorded = before.map(|before| before.adopted.clone()).unwrap_or_default();
        let adopted = self.adopted.clone().unwrap_or_else(|| recorded.clone());
        if adopted != recorded {
            fields.push(difference::of("adopted", &recorded, &adopted));
        }
        if let (Some(before), true) = (before, fields.is_empty()) {
            return Ok(Change::none(Some(before.clone())));
        }
        let latest =
            releases(context, self.node(context), &self.service).await?.first().map(|latest| latest.number);
        let after = Service {
            service: self.service.clone(),
            spec: self.spec.clone(),
            version: wanted.or(before_version),
            release: match &self.release {
                Some(_) => Some(latest.unwrap_or(0) + 1),
                None => before.and_then(|before| before.release),
            },
            adopted,
        };
        if let (true, Some(release)) = (context.planning(), self.release(context, &after)) {
            let name = release_name(&self.service, release.number);
            context.overlay.set(&release_key(context, self.node(context), &name), Some(&release));
        }
        let action = if before.is_some() { Action::Update } else { Action::Create };
        Ok(Change::to(action, Some(after), fields))
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Service>,
        change: &Change<Service>,
    ) -> Result<Applied<Service>> {
        let Some(after) = change.after.clone() else {
            return Err(Error::new(Code::Internal, "a service's record has no outcome"));
        };
        let mut writes = vec![self.write(context, SERVICE, self.service.clone(), &after)];
        if let Some(release) = self.release(context, &after) {
            let name = release_name(&self.service, release.number);
            // Another run that was faster makes the corridor compare again.
            writes.push(Write { expect: Expect::Absent, ..self.write(context, RELEASE, name, &release) });
            let keep = self.release.as_ref().and_then(|new| new.keep).unwrap_or(KEPT);
            let retained = release.number.saturating_sub(keep.into());
            let known = releases(context, self.node(context), &self.service).await?;
            writes.extend(known.iter().filter(|old| old.number <= retained).map(|old| Write {
                value: None,
                ..self.write(context, RELEASE, release_name(&self.service, old.number), &())
            }));
        }
        Ok(Applied::to(after).writing(writes))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Service>,
        earlier: Option<&Service>,
    ) -> Result<Change<Service>> {
        Ok(rewind::compare(now, earlier))
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Service>,
        earlier: Option<&Service>,
        _: &Change<Service>,
    ) -> Result<Applied<Service>> {
        Ok(rewind::apply(self.node(context), &self.service, earlier))
    }
}
