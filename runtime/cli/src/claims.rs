//! Owns what the registry says of containers that mcrun did not make: `mcrun adopt` records them with their services.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use containers::{Claim, Claims};
use effect::Result;
use journal::Journal;
use serde::Deserialize;

/// The records of services on one node.
pub(crate) struct Recorded {
    journal: Journal,
    node: String,
}

impl Recorded {
    pub(crate) fn new(journal: Journal, node: &str) -> Self {
        Self { journal, node: node.to_owned() }
    }
}

/// The part of a record that tells which containers are the service's.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Service {
    adopted: BTreeMap<String, String>,
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    name: String,
}

#[async_trait]
impl Claims for Recorded {
    async fn claims(&self) -> Result<BTreeMap<String, Claim>> {
        let mut claims = BTreeMap::new();
        for record in self.journal.records("service", Some(&self.node)).await? {
            // Most services have made their containers themselves.
            if !record.value.contains("\"adopted\"") {
                continue;
            }
            // What a script recorded in a form of its own claims nothing.
            let service: Service = serde_json::from_str(&record.value).unwrap_or_default();
            claims.extend(of_service(&record.name, service));
        }
        Ok(claims)
    }
}

/// Only what is also recorded as a container of the service is claimed by it.
fn of_service(name: &str, service: Service) -> Vec<(String, Claim)> {
    let own: BTreeSet<String> = service.spec.containers.into_iter().map(|container| container.name).collect();
    let claimed = service.adopted.into_iter().filter(|(container, _)| own.contains(container));
    claimed.map(|(container, id)| (id, Claim { name: container, service: name.to_owned() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_for_containers_that_the_service_has_recorded() {
        let text =
            r#"{"adopted":{"web":"1a","db":"2b"},"spec":{"containers":[{"name":"web","image":"x:v1"}]}}"#;
        let claims = of_service("web", serde_json::from_str(text).unwrap());
        let claim = Claim { name: "web".to_owned(), service: "web".to_owned() };
        assert_eq!(claims, [("1a".to_owned(), claim)]);
    }
}
