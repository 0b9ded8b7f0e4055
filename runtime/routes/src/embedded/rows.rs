//! Owns how routes lie in the database: a row for each, and one for each host name at a port, which every change beneath
//! that name writes as well. By this two services that claim one name at the same time cannot both have it.

use std::collections::BTreeMap;

use effect::{Code, Error, Result};
use journal::{Expect, Look, Record, Write};
use serde_json::json;

use crate::driver::Standing;
use crate::route::{Key, Path};

/// The kind of the rows of routes.
pub(super) const ROUTE: &str = "route";
/// The kind of the rows of proofs that are offered.
pub(super) const PROOF: &str = "route-challenge";
/// The kind of the rows that say whose the paths of a host name are.
const HOST: &str = "route-host";

/// What is recorded of a host name at a port, as of one moment.
pub(super) struct Host {
    place: String,
    row: Option<String>,
    routes: BTreeMap<Key, (Standing, String)>,
}

/// `mcq.example.net:443`.
fn place(key: &Key) -> String {
    Key { path: Path::default(), ..key.clone() }.to_string()
}

/// What is to be looked for to know the host name of `key`.
pub(super) fn looks(key: &Key) -> Vec<Look> {
    let one = |kind: &str| Look::One { kind: kind.to_owned(), name: place(key) };
    vec![one(HOST), one(ROUTE), Look::Beneath { kind: ROUTE.to_owned(), prefix: format!("{}/", place(key)) }]
}

/// A route as it is recorded.
pub(super) fn standing(record: &str) -> Result<Standing> {
    serde_json::from_str(record)
        .map_err(|error| Error::new(Code::JournalBroken, "a recorded route cannot be read").because(error))
}

impl Host {
    /// What the looks found.
    pub(super) fn read(key: &Key, found: Vec<Vec<Record>>) -> Result<Self> {
        let mut found = found.into_iter();
        let row = found.next().into_iter().flatten().next().map(|row| row.value);
        let mut routes = BTreeMap::new();
        for row in found.flatten() {
            let standing = standing(&row.value)?;
            routes.insert(standing.route.key(), (standing, row.value));
        }
        Ok(Self { place: place(key), row, routes })
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Standing> {
        self.routes.get(key).map(|(standing, _)| standing)
    }

    /// Refuses a route of another service than those that have the name.
    pub(super) fn check_claim(&self, wanted: &Standing) -> Result<()> {
        let Some(service) = &wanted.route.service else { return Ok(()) };
        let others = self.routes.values().filter_map(|(standing, _)| standing.route.service.as_ref());
        match others.into_iter().find(|other| *other != service) {
            None => Ok(()),
            Some(other) => {
                let message = format!("`{}` belongs to the service `{other}`", self.place);
                Err(Error::new(Code::RouteClaimed, message)
                    .because(format!("`{service}` asks for it as well")))
            }
        }
    }

    /// What is written to have `wanted` in the place of what is recorded under `key`.
    pub(super) fn writes(&self, node: &str, key: &Key, wanted: Option<&Standing>) -> Vec<Write> {
        let mut owners: BTreeMap<String, Option<&String>> = self
            .routes
            .values()
            .map(|(standing, _)| (standing.route.path.to_string(), standing.route.service.as_ref()))
            .collect();
        match wanted {
            Some(wanted) => owners.insert(key.path.to_string(), wanted.route.service.as_ref()),
            None => owners.remove(key.path.as_str()),
        };
        let owners = (!owners.is_empty()).then(|| json!(owners).to_string());
        let before = self.routes.get(key).map(|(_, row)| row.as_str());
        let wanted = wanted.map(|wanted| json!(wanted).to_string());
        vec![
            write(node, ROUTE, &key.to_string(), wanted, before),
            write(node, HOST, &self.place, owners, self.row.as_deref()),
        ]
    }
}

fn write(node: &str, kind: &str, name: &str, value: Option<String>, before: Option<&str>) -> Write {
    let expect = before.map_or(Expect::Absent, |before| Expect::Value(before.into()));
    Write { kind: kind.to_owned(), node: node.to_owned(), name: name.to_owned(), value, expect }
}
