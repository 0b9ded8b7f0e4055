//! Owns the reads: `routes.get`, `routes.list`, `routes.metrics` and `routes.features`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Target, World, check_node, claims};
use crate::driver::{Feature, Figures, Standing, check_feature};
use crate::route::{Hostname, Key, Path};

/// Looks at a route. Returns `nil` when there is none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The port.
    #[schemars(range(min = 1))]
    listen: u16,
    /// The host name.
    hostname: Hostname,
    /// The path.
    #[serde(default)]
    path: Path,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Get {
    const NAME: &'static str = "routes.get";
    const CAPABILITY: &'static str = "routes:read:HOSTNAME";
    const EXAMPLE: &'static str = "local found = routes.get { listen = 8080, hostname = \"hello.mcrun.test\" }\nprint(if found then found.service else \"nothing\")";
    type World = World;
    type Output = Option<Standing>;

    fn subject(&self) -> String {
        Target::new(self.listen, &self.hostname, &self.path).subject()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("routes", self.hostname.as_str())])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
        check_node(context, self.node.as_deref())?;
        let target = Target::new(self.listen, &self.hostname, &self.path);
        match context.overlay.get(&target.key(context)) {
            Some(planned) => Ok(planned),
            None => target.observe(world, context).await,
        }
    }
}

/// Lists the routes that the script may see, by host name, port and path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Only those of this host name.
    hostname: Option<Hostname>,
    /// Only those of this service.
    service: Option<String>,
    /// Only those at this port.
    listen: Option<u16>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for List {
    const NAME: &'static str = "routes.list";
    const CAPABILITY: &'static str = "routes:read:HOSTNAME";
    const EXAMPLE: &'static str =
        "for _, route in routes.list {} do\n    print(route.hostname, route.listen, route.cert)\nend";
    type World = World;
    type Output = Vec<Standing>;

    fn subject(&self) -> String {
        let service = self.service.as_deref();
        self.hostname.as_ref().map(Hostname::as_str).or(service).unwrap_or_default().to_owned()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Standing>> {
        check_node(context, self.node.as_deref())?;
        let mut standing = claims::routes(world, context).await?;
        standing.retain(|Standing { route, .. }| {
            self.hostname.as_ref().is_none_or(|hostname| route.hostname == *hostname)
                && self.service.as_ref().is_none_or(|service| route.service.as_ref() == Some(service))
                && self.listen.is_none_or(|listen| route.listen == listen)
                && may_see(context, &route.hostname)
        });
        standing.sort_by(|one, other| {
            let order = |standing: &Standing| {
                let Key { listen, hostname, path } = standing.route.key();
                (hostname, listen, path)
            };
            order(one).cmp(&order(other))
        });
        Ok(standing)
    }
}

fn may_see(context: &Context, hostname: &Hostname) -> bool {
    context.policy.allows(&Need::read("routes", hostname.as_str()))
}

/// Reads what has happened on the routes that the script may see, and how their back ends stand.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Only those of this host name.
    hostname: Option<Hostname>,
    /// Only those at this port.
    listen: Option<u16>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Metrics {
    const NAME: &'static str = "routes.metrics";
    const CAPABILITY: &'static str = "routes:read:HOSTNAME";
    const EXAMPLE: &'static str = "for _, figures in routes.metrics { listen = 8080 } do\n    print(figures.route, figures.requests, figures.failed)\nend";
    type World = World;
    type Output = Vec<Figures>;

    fn subject(&self) -> String {
        self.hostname.as_ref().map(Hostname::to_string).unwrap_or_default()
    }

    /// It shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Metrics {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Figures>> {
        check_node(context, self.node.as_deref())?;
        let driver = world.driver(context)?;
        check_feature(&*driver, Feature::Figures)?;
        let mut figures = driver.figures().await?;
        figures.retain(|figures| {
            let Ok(key) = figures.route.parse::<Key>() else { return false };
            self.hostname.as_ref().is_none_or(|hostname| key.hostname == *hostname)
                && self.listen.is_none_or(|listen| key.listen == listen)
                && may_see(context, &key.hostname)
        });
        Ok(figures)
    }
}

/// Tells which proxy performs the effects on routes, and what it has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// The node; this one unless given.
    node: Option<String>,
}

/// What a proxy has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Abilities {
    /// The driver: `embedded`, `caddy`, `remote`.
    pub driver: String,
    /// What it has beyond what every driver must have, too.
    pub features: Vec<Feature>,
}

impl Declared for Features {
    const NAME: &'static str = "routes.features";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str =
        "for _, feature in routes.features({}).features do\n    print(feature)\nend";
    type World = World;
    type Output = Abilities;

    fn subject(&self) -> String {
        String::new()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Features {
    async fn read(&self, world: &World, context: &Context) -> Result<Abilities> {
        check_node(context, self.node.as_deref())?;
        let driver = world.driver(context)?;
        Ok(Abilities { driver: driver.name().to_owned(), features: driver.features().to_vec() })
    }
}
