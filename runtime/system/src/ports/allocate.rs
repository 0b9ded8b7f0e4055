//! Owns `ports.allocate`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
};
use journal::Expect;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Allocation, BY_NAME, allocations, check_service_name, decode, record_name, system};
use crate::World;
use crate::node::only_local;
use crate::registry;

const FIRST: u16 = 10_000;
const LAST: u16 = 60_000;

/// Gives a service a port of its own, and returns the same number ever after.
///
/// The number lies between 10000 and 60000. What another service has or publishes, as far as it is recorded, and what the
/// system uses is skipped, and so are the numbers from which the system serves outgoing connections, as long as there are others. It is chosen from node,
/// service and name, so a plan names the number that the run will use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allocate {
    /// The service.
    service: String,
    /// What the service calls the port.
    #[serde(default = "default_name")]
    name: String,
    /// The number to try first when none is recorded yet.
    #[schemars(range(min = 1))]
    preferred: Option<u16>,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_name() -> String {
    "http".into()
}

impl Declared for Allocate {
    const NAME: &'static str = "ports.allocate";
    const CAPABILITY: &'static str = "ports:write:SERVICE";
    const EXAMPLE: &'static str =
        "local web = ports.allocate { service = \"hello\", name = \"web\" }\nprint(web)";
    type World = World;
    type Output = Ensured<Allocation>;

    fn subject(&self) -> String {
        record_name(&self.service, &self.name)
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        check_service_name("port", &self.name)?;
        Ok(vec![Need::write("ports", &self.service)])
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone())
    }
}

impl Allocate {
    fn node<'a>(&'a self, context: &'a Context) -> &'a str {
        self.node.as_deref().unwrap_or(&context.node)
    }

    /// The numbers in the order in which they are tried: those of `outgoing` last, for a service that is stopped for a
    /// moment may find such a one taken by some connection when it starts again.
    fn candidates(&self, node: &str, outgoing: RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
        let hash = blake3::hash(format!("{node}\0{}\0{}", self.service, self.name).as_bytes());
        let seed = hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        let (mut rest, mut listening): (Vec<u16>, Vec<u16>) =
            (FIRST..=LAST).partition(|port| outgoing.contains(port));
        // Each in itself: what is skipped must not have many services begin at the same number.
        for ports in [&mut listening, &mut rest] {
            let count = ports.len().max(1);
            ports.rotate_left(seed % count);
        }
        self.preferred.into_iter().chain(listening).chain(rest)
    }

    async fn choose(&self, context: &Context) -> Result<u16> {
        let node = self.node(context);
        let mut taken: BTreeSet<u16> =
            allocations(context, node).await?.iter().map(|taken| taken.port).collect();
        // A service that is down for a moment finds its port free when it comes back.
        taken.extend(registry::published(context, node).await?);
        let mut candidates = self.candidates(node, system::outgoing());
        candidates.find(|port| !taken.contains(port) && system::is_free(*port)).ok_or_else(|| {
            let message = format!("no port between {FIRST} and {LAST} is left for `{}`", self.subject());
            Error::new(Code::NoPort, message)
        })
    }
}

#[async_trait]
impl Ensure for Allocate {
    type State = Allocation;
    const OWN_RECORDS: bool = true;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("ports", self.node.as_deref(), &self.subject())
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Allocation>> {
        only_local(context, self.node.as_deref())?;
        let record = context.journal.record(BY_NAME, self.node(context), &self.subject()).await?;
        record.map(|record| decode(&record.value)).transpose()
    }

    async fn change(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Allocation>,
    ) -> Result<Change<Allocation>> {
        if let Some(before) = before {
            return Ok(Change::none(Some(before.clone())));
        }
        let port = self.choose(context).await?;
        let after = Allocation { service: self.service.clone(), name: self.name.clone(), port };
        let field =
            FieldChange { path: "port".into(), before: None, after: Some(json!(port)), replaces: false };
        Ok(Change::to(Action::Create, Some(after), vec![field]))
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Allocation>,
        change: &Change<Allocation>,
    ) -> Result<Applied<Allocation>> {
        let Some(after) = change.after.clone() else {
            return Err(Error::new(Code::Internal, "a port's allocation has no outcome"));
        };
        // Another run that was faster makes the corridor compare again.
        let writes = after.writes(self.node(context), &Expect::Absent, true).to_vec();
        Ok(Applied::to(after).writing(writes))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Allocation>,
        earlier: Option<&Allocation>,
    ) -> Result<Change<Allocation>> {
        Ok(match (now, earlier) {
            (Some(now), None) => {
                let port = Some(json!(now.port));
                let field = FieldChange { path: "port".into(), before: port, after: None, replaces: false };
                Change::to(Action::Remove, None, vec![field])
            }
            // An allocation that stands is never changed, so there is nothing else to bring back.
            _ => Change::none(now.cloned()),
        })
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Allocation>,
        _: Option<&Allocation>,
        _: &Change<Allocation>,
    ) -> Result<Applied<Allocation>> {
        let writes = now.into_iter().flat_map(|now| now.writes(self.node(context), &Expect::Any, false));
        Ok(Applied::gone().writing(writes.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = (LAST - FIRST) as usize + 1;

    fn tried(preferred: Option<u16>, outgoing: RangeInclusive<u16>) -> Vec<u16> {
        tried_for("hello", preferred, outgoing)
    }

    fn tried_for(service: &str, preferred: Option<u16>, outgoing: RangeInclusive<u16>) -> Vec<u16> {
        let wanted = Allocate { service: service.into(), name: "web".into(), preferred, node: None };
        wanted.candidates("rift", outgoing).collect()
    }

    #[test]
    fn services_begin_at_numbers_of_their_own() {
        let first = |index: u32| tried_for(&format!("service-{index}"), None, 32_768..=60_999)[0];
        let distinct: BTreeSet<u16> = (0..100).map(first).collect();
        assert!(distinct.len() > 95, "{distinct:?}");
    }

    #[test]
    fn what_outgoing_connections_use_is_tried_last_and_everything_once() {
        let all = tried(None, 32_768..=60_999);
        let below = usize::from(32_768 - FIRST);
        assert!(all[..below].iter().all(|port| (FIRST..32_768).contains(port)));
        assert!(all[below..].iter().all(|port| (32_768..=LAST).contains(port)));
        let distinct: BTreeSet<u16> = all.iter().copied().collect();
        assert_eq!((all.len(), distinct.len()), (COUNT, COUNT));
        assert_eq!(all, tried(None, 32_768..=60_999), "the same every time");
    }

    #[test]
    fn a_range_that_leaves_nothing_is_used_and_what_is_preferred_comes_first() {
        assert_eq!(tried(None, 1024..=65_535).len(), COUNT);
        assert_eq!(tried(Some(40_000), 32_768..=60_999)[0], 40_000);
        assert!((20_001..=LAST).contains(&tried(None, 1024..=20_000)[0]), "above it is as good as below");
    }
}
