//! Owns whether what is served can be reached: each route by the whole way to its back ends, and the servers that answer for
//! names. A container may be well and its service out of reach all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use effect::Result;
use routes::driver::Standing;
use routes::hops;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Parts;
use super::memory::{Changes, Memory};

/// A look opens connections to every route and asks servers of others: it is made less often than one at this machine.
const EVERY: Duration = Duration::from_secs(60);
/// One that fails so often in a row is told of. What has begun to fail is looked at again soon.
const FAILURES: u32 = 3;
/// Routes of one look; the others follow in the next ones.
const MOST: usize = 200;
const ROUTE: &str = "route/";
const RESOLVER: &str = "resolver/";

/// What is known of the last looks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What failed, and how often in a row.
    failures: BTreeMap<String, u32>,
    /// What failed and is not told of yet.
    doubted: BTreeSet<String>,
    /// Up to which route the last look went.
    last: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stood {
    fails: bool,
}

/// What is told of an object when it fails, and when it does so no longer.
struct Events {
    fails: &'static str,
    works: &'static str,
}

impl Watch {
    /// How long after a look the next one is due.
    pub(super) fn pause(&self, every: Duration) -> Duration {
        if self.doubted.is_empty() { EVERY.min(every * 12) } else { every }
    }

    pub(super) async fn routes(&mut self, parts: &Parts<'_>, memory: &mut Memory) -> Result<()> {
        const EVENTS: Events = Events { fails: "route.broken", works: "route.mended" };
        let listed = parts.judge.routes().await?;
        // Where requests wait, somebody wanted that; what a run changes now is its business.
        let is_held = |standing: &Standing| {
            let service = standing.route.service.as_deref();
            service.is_some_and(|service| parts.journal.holder_of_lease(parts.node, service).is_some())
        };
        let all: BTreeMap<String, Standing> =
            listed.into_iter().map(|standing| (key(&standing), standing)).collect();
        self.forget(memory, ROUTE, &|name| all.contains_key(name)).await?;
        let picked = self.pick(&all);
        let standings: Vec<Standing> =
            picked.into_iter().filter(|standing| !standing.paused && !is_held(standing)).collect();
        let ways = parts.judge.ways(&standings).await?;
        let mut changes = Changes::default();
        for (standing, way) in standings.iter().zip(ways) {
            if is_held(standing) {
                continue;
            }
            let broken = hops::broken(&way);
            let mut data =
                json!({ "route": standing.route.key().to_string(), "service": standing.route.service });
            if let Some(hop) = broken {
                data["hop"] = json!(hop.what);
                data["message"] = json!(hop.problem);
            }
            self.judge(memory, &mut changes, (key(standing), broken.is_some()), (&EVENTS, data)).await?;
        }
        memory.settle(changes).await
    }

    pub(super) async fn resolvers(&mut self, parts: &Parts<'_>, memory: &mut Memory) -> Result<()> {
        const EVENTS: Events = Events { fails: "resolver.silent", works: "resolver.back" };
        let servers = parts.judge.servers().await?;
        let is_known = |name: &str| servers.iter().any(|(server, _)| name == format!("{RESOLVER}{server}"));
        self.forget(memory, RESOLVER, &is_known).await?;
        let mut changes = Changes::default();
        for (server, problem) in &servers {
            let mut data = json!({ "server": server });
            if let Some(problem) = problem {
                data["message"] = json!(problem);
            }
            let name = format!("{RESOLVER}{server}");
            self.judge(memory, &mut changes, (name, problem.is_some()), (&EVENTS, data)).await?;
        }
        memory.settle(changes).await
    }

    /// Those that are in doubt, else the next ones in turn.
    fn pick(&mut self, all: &BTreeMap<String, Standing>) -> Vec<Standing> {
        let doubted: Vec<Standing> =
            self.doubted.iter().filter_map(|name| all.get(name)).take(MOST).cloned().collect();
        if !doubted.is_empty() {
            return doubted;
        }
        let last = self.last.take().unwrap_or_default();
        let after = all.range(last.clone()..).filter(|(name, _)| **name != last);
        let picked: Vec<_> = after.chain(all.range(..=last.clone())).take(MOST).collect();
        self.last = picked.last().map(|(name, _)| (*name).clone());
        picked.into_iter().map(|(_, standing)| standing.clone()).collect()
    }

    /// Counts how an object was found, and tells where that is news.
    async fn judge(
        &mut self,
        memory: &mut Memory,
        changes: &mut Changes,
        (name, fails): (String, bool),
        (events, data): (&Events, Value),
    ) -> Result<()> {
        let failed = memory.of::<Stood>(&name).await?.is_some_and(|stood| stood.fails);
        if !fails {
            self.failures.remove(&name);
            self.doubted.remove(&name);
            if failed {
                changes.tell(events.works, data);
                changes.forget(name);
            }
            return Ok(());
        }
        let failures = self.failures.entry(name.clone()).or_default();
        *failures = failures.saturating_add(1);
        if failed {
            return Ok(());
        }
        if *failures < FAILURES {
            self.doubted.insert(name);
            return Ok(());
        }
        self.doubted.remove(&name);
        changes.tell(events.fails, data);
        changes.keep(name, &Stood { fails: true });
        Ok(())
    }

    /// What is there no longer neither fails nor works.
    async fn forget(
        &mut self,
        memory: &mut Memory,
        family: &str,
        is_known: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let is_gone = |name: &String| name.starts_with(family) && !is_known(name);
        self.failures.retain(|name, _| !is_gone(name));
        self.doubted.retain(|name| !is_gone(name));
        let gone: Vec<String> = memory.all().await?.keys().filter(|name| is_gone(name)).cloned().collect();
        let mut changes = Changes::default();
        gone.into_iter().for_each(|name| changes.forget(name));
        memory.settle(changes).await
    }
}

fn key(standing: &Standing) -> String {
    format!("{ROUTE}{}", standing.route.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(count: usize) -> BTreeMap<String, Standing> {
        let standing = |number: usize| -> Standing {
            let value = json!({ "listen": 443, "hostname": format!("h{number:04}.test"), "backends": ["127.0.0.1:1"] });
            serde_json::from_value(value).unwrap()
        };
        (0..count).map(standing).map(|standing| (key(&standing), standing)).collect()
    }

    #[test]
    fn many_routes_are_looked_at_in_turn_and_none_twice_before_all_were() {
        let (all, mut watch) = (routes(500), Watch::default());
        let mut seen = BTreeSet::new();
        for expected in [200, 400, 500] {
            seen.extend(watch.pick(&all).iter().map(key));
            assert_eq!(seen.len(), expected);
        }
        assert_eq!(Watch::default().pick(&routes(0)).len(), 0);
        assert_eq!(Watch::default().pick(&routes(3)).len(), 3);
    }

    #[test]
    fn what_is_in_doubt_comes_first_and_soon() {
        let (all, mut watch) = (routes(500), Watch::default());
        let every = Duration::from_secs(5);
        assert_eq!(watch.pause(every), EVERY);
        let doubted = all.keys().next_back().unwrap().clone();
        watch.doubted.insert(doubted.clone());
        assert_eq!(watch.pick(&all).iter().map(key).collect::<Vec<_>>(), [doubted]);
        assert_eq!(watch.pause(every), every);
    }
}
