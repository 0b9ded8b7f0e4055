//! Owns `routes.ensure`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::state::differences;
use super::{Target, World, at_least_one, check_node, claims};
use crate::driver::{Standing, check_feature, needed};
use crate::route::Route;

/// Makes sure that requests for a host name, at a port and beneath a path, go where this says, on exactly these terms.
///
/// One of its back ends has to answer first. On return every new request goes this way, and what ran over back ends that
/// it had before and has no longer is over: by itself or, after `drain`, cut. Other routes are never disturbed. What was
/// paused stays so.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ensure {
    #[schemars(flatten)]
    route: Route,
    /// Whether one of the back ends has to answer before it is sent requests.
    #[schemars(default = "yes")]
    probe: bool,
    /// The node; this one unless given.
    node: Option<String>,
}

fn yes() -> bool {
    true
}

/// By hand: the fields of the route keep their names in what is said of mistakes, which a flattened one loses.
impl<'de> Deserialize<'de> for Ensure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let probe = field(&mut fields, "probe")?.unwrap_or_else(yes);
        let node = field(&mut fields, "node")?;
        let route: Route =
            serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| match error.path() {
                path if path.iter().len() == 0 => de::Error::custom(error.inner()),
                path => de::Error::custom(format_args!("field `{path}`: {}", error.inner())),
            })?;
        Ok(Self { route: route.in_order(), probe, node })
    }
}

fn field<T: de::DeserializeOwned, E: de::Error>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, E> {
    let given = fields.remove(name).filter(|value| !value.is_null());
    given
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| E::custom(format_args!("field `{name}`: {error}")))
}

impl Ensure {
    fn target(&self) -> Target {
        Target(self.route.key())
    }

    /// Refuses what the proxy could not take, as far as a plan can tell.
    async fn admit(&self, world: &World, context: &Context, after: &Standing) -> Result<()> {
        let driver = world.driver(context)?;
        let Some(id) = &self.route.cert else { return driver.admit(after).await };
        match context.overlay.get::<Value>(&context.key("certs", None, id)) {
            None => {
                world.certificates(context).check(id, &self.route.hostname).await?;
                driver.admit(after).await
            }
            Some(None) => Err(no_certificate(id)),
            // An earlier effect of the plan orders it: the proxy is asked about everything else.
            Some(Some(_)) => {
                let route = Route { cert: None, ..after.route.clone() };
                driver.admit(&Standing { route, ..after.clone() }).await
            }
        }
    }
}

fn no_certificate(id: &str) -> Error {
    Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`"))
        .hint("`certs.ensure` orders one; its `after.id` is what `cert` takes")
}

impl Declared for Ensure {
    const NAME: &'static str = "routes.ensure";
    const CAPABILITY: &'static str = "routes:write:HOSTNAME";
    const EXAMPLE: &'static str = "routes.ensure { listen = 8080, hostname = \"hello.mcrun.test\", backends = { \"127.0.0.1:18081\" } }";
    type World = World;
    type Output = Ensured<Standing>;

    fn subject(&self) -> String {
        self.target().subject()
    }

    /// A back end beyond this machine is a way into somebody's network.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        let beyond =
            self.route.backends.iter().filter(|backend| !backend.0.ip().to_canonical().is_loopback());
        let chosen = beyond.map(|backend| Need::extra("routes", "backends", backend.to_string()));
        Ok(std::iter::once(self.target().need()).chain(chosen).collect())
    }

    fn lease(&self) -> Option<String> {
        Some(self.target().lease())
    }
}

#[async_trait]
impl effect::Ensure for Ensure {
    type State = Standing;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        self.target().key(context)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
        check_node(context, self.node.as_deref())?;
        self.target().observe(world, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Standing>,
    ) -> Result<Change<Standing>> {
        let paused = before.is_some_and(|before| before.paused);
        let after = Standing { route: self.route.clone(), paused };
        if before == Some(&after) {
            return Ok(Change::none(Some(after)));
        }
        self.route.check()?;
        let driver = world.driver(context)?;
        for feature in needed(&self.route) {
            check_feature(&*driver, feature)?;
        }
        claims::check(&self.route, &claims::routes(world, context).await?)?;
        self.admit(world, context, &after).await?;
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let fields = differences(before, Some(&after));
        Ok(Change::to(action, Some(after), fields))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Standing>,
        change: &Change<Standing>,
    ) -> Result<Applied<Standing>> {
        if self.probe {
            at_least_one(&world.prober(), &self.route).await?;
        }
        self.target().apply(world, context, change.after.as_ref()).await
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Standing>,
        earlier: Option<&Standing>,
    ) -> Result<Change<Standing>> {
        Ok(self.target().rewound(now, earlier))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Standing>,
        earlier: Option<&Standing>,
        _: &Change<Standing>,
    ) -> Result<Applied<Standing>> {
        self.target().apply(world, context, earlier).await
    }
}
