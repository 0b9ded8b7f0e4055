//! Owns how two states of a route differ, field by field, and what bringing an earlier one back changes.

use effect::{Action, Applied, Change, Context, FieldChange, Result};
use serde_json::{Map, Value};

use super::{Target, World};
use crate::driver::Standing;

/// What the key says is the object itself.
const OF_THE_KEY: [&str; 3] = ["listen", "hostname", "path"];

/// The fields that differ between two states, of which either may be missing. What nobody said is not shown of a route
/// that is made or goes away.
pub(super) fn differences(before: Option<&Standing>, after: Option<&Standing>) -> Vec<FieldChange> {
    let Some(either) = before.or(after) else { return Vec::new() };
    let unsaid = leaves(&Standing { route: either.route.bare(), paused: false });
    let fields = |standing: Option<&Standing>| standing.map(leaves);
    let (was, becomes) = (fields(before), fields(after));
    let mut names: Vec<&String> =
        was.iter().chain(&becomes).flat_map(Map::keys).filter(|name| !is_of_the_key(name)).collect();
    names.sort();
    names.dedup();
    let (alone, whole) = (was.is_none() || becomes.is_none(), |side: &Option<Map<_, _>>, name: &String| {
        side.as_ref().and_then(|fields| fields.get(name)).cloned()
    });
    let differing = names.into_iter().filter_map(|name| {
        let (before, after) = (whole(&was, name), whole(&becomes, name));
        let is_unsaid = alone && before.as_ref().or(after.as_ref()) == unsaid.get(name);
        (before != after && !is_unsaid).then(|| FieldChange {
            path: name.clone(),
            before,
            after,
            replaces: false,
        })
    });
    differing.collect()
}

/// What a route says beyond its key and what nobody has to say, field by field.
#[must_use]
pub fn said(standing: &Standing) -> Vec<(String, Value)> {
    let fields = differences(None, Some(standing)).into_iter();
    fields.filter_map(|field| Some((field.path, field.after?))).collect()
}

fn is_of_the_key(name: &str) -> bool {
    OF_THE_KEY.contains(&name)
}

/// Every field by its path, tables taken apart: `limits.rate`.
fn leaves(standing: &Standing) -> Map<String, Value> {
    fn into(leaves: &mut Map<String, Value>, path: String, value: Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    into(leaves, path, value);
                }
            }
            Value::Object(_) | Value::Null => {}
            value => drop(leaves.insert(path, value)),
        }
    }
    let mut all = Map::new();
    into(&mut all, String::new(), serde_json::to_value(standing).unwrap_or_default());
    all
}

impl Target {
    /// What bringing back `earlier` changes.
    pub(super) fn rewound(&self, now: Option<&Standing>, earlier: Option<&Standing>) -> Change<Standing> {
        let action = match (now, earlier) {
            (now, earlier) if now == earlier => return Change::none(now.cloned()),
            (_, None) => Action::Remove,
            (None, Some(_)) => Action::Create,
            (Some(_), Some(_)) => Action::Update,
        };
        Change::to(action, earlier.cloned(), differences(now, earlier))
    }

    /// Has the route stand as `after`.
    pub(super) async fn apply(
        &self,
        world: &World,
        context: &Context,
        after: Option<&Standing>,
    ) -> Result<Applied<Standing>> {
        let driver = world.driver(context)?;
        match after {
            Some(after) => {
                driver.put(after).await?;
                Ok(Applied::to(after.clone()))
            }
            None => {
                driver.remove(&self.0).await?;
                Ok(Applied::gone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn standing(more: Value) -> Standing {
        let mut fields = json!({ "listen": 443, "hostname": "mcq.example.net" });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    fn paths(before: Option<&Standing>, after: Option<&Standing>) -> Vec<String> {
        differences(before, after).into_iter().map(|field| field.path).collect()
    }

    #[test]
    fn a_new_route_shows_what_was_said_of_it() {
        let route = standing(json!({ "backends": ["127.0.0.1:1"], "limits": { "rate": 5 }, "retries": 2 }));
        assert_eq!(paths(None, Some(&route)), ["backends", "limits.rate"]);
        assert_eq!(paths(Some(&route), None), ["backends", "limits.rate"]);
    }

    #[test]
    fn a_changed_route_shows_what_differs() {
        let before = standing(json!({ "backends": ["127.0.0.1:1"], "headers": { "set": { "a": "b" } } }));
        let after = standing(json!({ "backends": ["127.0.0.1:1"], "retries": 0, "paused": true }));
        assert_eq!(paths(Some(&before), Some(&after)), ["headers.set.a", "paused", "retries"]);
        assert!(differences(Some(&before), Some(&before)).is_empty());
    }
}
