//! Owns changes by single calls: which, and in which order. A name that has a value before and after has one all the time:
//! what goes is turned into what comes where there is both, else what comes is made first. A CNAME is the exception: it
//! cannot be made before what it takes the place of is gone.

use std::collections::HashSet;

use effect::{Code, Error, Result};
use http::Method;

use super::api::{NewRecord, Record};
use super::ask::{Call, garbage, segment};
use super::client::{Asked, Client, Found};
use crate::driver::{Change, Driver as _};
use crate::exclusive;
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};

/// Makes `change`, call by call. What was cut is made again from where it stands.
pub(super) async fn make(client: &Client, zone: &Name, change: &Change) -> Result<()> {
    exclusive::check(change)?;
    let is_put =
        |name: &Name, rtype: RecordType| change.put.iter().any(|set| set.name == *name && set.rtype == rtype);
    let aliases: HashSet<&Name> = aliases(change).collect();
    let removed: Vec<&(Name, RecordType)> =
        change.remove.iter().filter(|(name, rtype)| !is_put(name, *rtype)).collect();
    let (first, last): (Vec<_>, Vec<_>) = removed.into_iter().partition(|(name, _)| aliases.contains(name));
    for set in change.put.iter().filter(|set| set.rtype == RecordType::CNAME) {
        leaves_room(client, zone, change, &set.name).await?;
    }
    for (name, rtype) in first {
        remove(client, zone, name, *rtype).await?;
    }
    for set in &change.put {
        put(client, zone, set).await?;
    }
    for (name, rtype) in last {
        remove(client, zone, name, *rtype).await?;
    }
    Ok(())
}

/// Names where a CNAME comes or goes.
fn aliases(change: &Change) -> impl Iterator<Item = &Name> {
    let come = change.put.iter().filter(|set| set.rtype == RecordType::CNAME).map(|set| &set.name);
    let go = change.remove.iter().filter(|(_, rtype)| *rtype == RecordType::CNAME).map(|(name, _)| name);
    come.chain(go)
}

/// Whether nothing is left at `name` beside the CNAME that it gets. What is removed for one that is then refused would be
/// gone for nothing.
async fn leaves_room(client: &Client, zone: &Name, change: &Change, name: &Name) -> Result<()> {
    let there = client.records(zone, Asked::Name(name)).await?;
    let is_left = |found: &&Found| {
        !exclusive::stands_by_a_cname(found.rtype) && !change.remove.contains(&(name.clone(), found.rtype))
    };
    let Some(left) = there.iter().find(is_left) else { return Ok(()) };
    Err(Error::new(
        Code::DnsExclusive,
        format!("`{name}` has {} beside the CNAME that it was to get", left.rtype),
    )
    .because("a CNAME is alone at its name (RFC 1034, section 3.6.2)"))
}

/// What has to be done so that a name has the values of a set.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    /// The record with this id gets this value, or the time to live of the set.
    Turn(&'a str, &'a Value),
    Make(&'a Value),
    Remove(&'a str),
}

fn steps<'a>(there: &'a [Found], set: &'a RecordSet) -> Vec<Step<'a>> {
    let canonical = |value: &Value| value.canonical(set.rtype);
    let mut kept = HashSet::new();
    let mut steps = Vec::new();
    let mut gone = Vec::new();
    for found in there {
        let wanted = set.values.iter().find(|value| canonical(value) == canonical(&found.value));
        match wanted {
            Some(value) if kept.insert(canonical(value)) => {
                if found.ttl != set.ttl {
                    steps.push(Step::Turn(&found.id, value));
                }
            }
            _ => gone.push(found.id.as_str()),
        }
    }
    let mut gone = gone.into_iter();
    for value in set.values.iter().filter(|value| !kept.contains(&canonical(value))) {
        steps.push(gone.next().map_or(Step::Make(value), |id| Step::Turn(id, value)));
    }
    steps.extend(gone.map(Step::Remove));
    steps
}

async fn put(client: &Client, zone: &Name, set: &RecordSet) -> Result<()> {
    let there = client.records(zone, Asked::Set(&set.name, set.rtype)).await?;
    let steps = steps(&there, set);
    if steps.is_empty() {
        return Ok(());
    }
    let what = format!("`{}` {}", set.name, set.rtype);
    let segment = segment(zone)?;
    for step in &steps {
        match step {
            Step::Turn(id, value) => {
                let path = [segment.as_str(), "records", id];
                let call = Call::new(Method::PUT, &path, &what).saying(&NewRecord::new(zone, set, value))?;
                let _: Record = client.api.read(call).await.map_err(meanwhile)?;
            }
            Step::Make(value) => {
                let path = [segment.as_str(), "records"];
                let call = Call::new(Method::POST, &path, &what).saying(&NewRecord::new(zone, set, value))?;
                let _: Record = client.api.read(call).await?;
            }
            Step::Remove(id) => {
                client.api.tell(Call::new(Method::DELETE, &[&segment, "records", id], &what)).await?;
            }
        }
    }
    verify(client, zone, set).await
}

/// A record that was there a moment ago, and is not: the next attempt looks again.
fn meanwhile(error: Error) -> Error {
    if error.code == Code::DnsZone { Error { code: Code::DnsRefused, ..error }.retryable() } else { error }
}

/// Whether it became so: several calls are not one, and others make some as well.
async fn verify(client: &Client, zone: &Name, wanted: &RecordSet) -> Result<()> {
    let found = client.get(zone, &wanted.name, wanted.rtype).await?;
    if found.as_ref().is_some_and(|found| found.same_as(wanted)) {
        return Ok(());
    }
    let side = |set: &RecordSet| format!("{} {}", set.ttl, set.texts().join(", "));
    let cause = format!("`{}` {} does not have the values that it was given", wanted.name, wanted.rtype);
    Err(garbage(&client.api.url, cause)
        .hint("somebody else may have changed it at the same time; ask again")
        .detail(format!("wanted: {}", side(wanted)))
        .detail(format!("there:  {}", found.as_ref().map_or_else(|| "nothing".into(), side)))
        .retryable())
}

async fn remove(client: &Client, zone: &Name, name: &Name, rtype: RecordType) -> Result<()> {
    let what = format!("`{name}` {rtype}");
    if rtype == RecordType::SOA {
        let message = format!("{what} cannot be removed");
        return Err(Error::new(Code::DnsRefused, message).because("a zone keeps its SOA"));
    }
    let segment = segment(zone)?;
    for found in client.records(zone, Asked::Set(name, rtype)).await? {
        // One that is gone meanwhile is what was wanted.
        client.api.tell(Call::new(Method::DELETE, &[&segment, "records", &found.id], &what)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_of(there: &[(&str, u32)], wanted: &[&str], ttl: u32) -> Vec<String> {
        let zone = Name::absolute("mcrun.test").unwrap();
        let texts: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        let set = RecordSet::parse(&zone, "a", RecordType::A, ttl, &texts).unwrap();
        let found = |(text, ttl): &(&str, u32)| Found {
            id: (*text).to_owned(),
            name: set.name.clone(),
            rtype: set.rtype,
            ttl: *ttl,
            value: Value::parse(RecordType::A, text, &zone).unwrap(),
        };
        let there: Vec<Found> = there.iter().map(found).collect();
        let told = |step: &Step<'_>| match step {
            Step::Turn(id, value) => format!("{id}={}", value.text(RecordType::A)),
            Step::Make(value) => format!("+{}", value.text(RecordType::A)),
            Step::Remove(id) => format!("-{id}"),
        };
        steps(&there, &set).iter().map(told).collect()
    }

    #[test]
    fn a_name_is_never_without_a_value_in_between() {
        let one = ("192.0.2.1", 60);
        let two = ("192.0.2.2", 60);
        assert_eq!(steps_of(&[], &["192.0.2.1"], 60), ["+192.0.2.1"]);
        assert_eq!(steps_of(&[one], &["192.0.2.1"], 60), [""; 0]);
        assert_eq!(steps_of(&[one], &["192.0.2.1"], 30), ["192.0.2.1=192.0.2.1"]);
        assert_eq!(steps_of(&[one], &["192.0.2.2"], 60), ["192.0.2.1=192.0.2.2"]);
        assert_eq!(steps_of(&[one, two], &["192.0.2.2"], 60), ["-192.0.2.1"]);
        assert_eq!(
            steps_of(&[one, two], &["192.0.2.3", "192.0.2.4", "192.0.2.5"], 60),
            ["192.0.2.1=192.0.2.3", "192.0.2.2=192.0.2.4", "+192.0.2.5"]
        );
        // What stands twice stands once afterwards.
        assert_eq!(steps_of(&[one, one], &["192.0.2.1"], 60), ["-192.0.2.1"]);
    }
}
