//! Owns Caddy's configuration as a whole: where in it our routes, policies and certificates are, putting one in and taking
//! one out. What is not ours is never touched.

use std::cmp::Reverse;

use effect::Result;
use serde_json::{Map, Value, json};

use super::encode;
use super::parts::{Names, block, id, pem};
use super::servers::describe;
use crate::Settings;
use crate::driver::{Material, Standing};
use crate::route::{Hostname, Key};

/// The configuration.
pub(super) struct Config(Value);

/// A route of ours that is in it.
pub(super) struct Held<'a> {
    /// Its `@id`.
    pub(super) id: &'a str,
    /// What it says in Caddy's words.
    pub(super) value: &'a Value,
    /// The server that it is in.
    pub(super) server: &'a Value,
}

impl Held<'_> {
    /// What is noted in it.
    pub(super) fn noted(&self) -> Option<Standing> {
        noted(self.value)
    }
}

fn noted(route: &Value) -> Option<Standing> {
    let handlers = route.get("handle")?.as_array()?;
    let noted = handlers.iter().find_map(|handler| handler.get("mcrun"))?;
    serde_json::from_value(noted.clone()).ok()
}

/// The servers of `config`, by name.
pub(super) fn servers(config: &Value) -> Option<&Map<String, Value>> {
    config.pointer("/apps/http/servers")?.as_object()
}

/// The routes of ours in a server.
pub(super) fn held_in<'a>(server: Option<&'a Value>, names: &Names) -> Vec<Held<'a>> {
    let Some(server) = server else { return Vec::new() };
    let routes = server.get("routes").and_then(Value::as_array).into_iter().flatten();
    routes
        .filter_map(|value| {
            let id = id(value)?;
            let is_ours = noted(value).is_some_and(|standing| names.route(&standing.route.key()) == id);
            is_ours.then_some(Held { id, value, server })
        })
        .collect()
}

impl Config {
    pub(super) fn new(value: Value) -> Self {
        Self(value)
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }

    /// Every route of ours, in whichever of our servers.
    pub(super) fn held(&self, names: &Names) -> Vec<Held<'_>> {
        servers(&self.0).into_iter().flatten().flat_map(|(_, server)| held_in(Some(server), names)).collect()
    }

    /// The chain that is shown for a route whose certificate has this id, in PEM.
    pub(super) fn certificate(&self, names: &Names, held: &Held<'_>, certificate: &str) -> Option<String> {
        let tag = names.tag(certificate);
        let policies = held.server.get("tls_connection_policies")?.as_array()?;
        let policy = Names::policy(held.id);
        let policy = policies.iter().find(|value| id(value) == Some(&policy))?;
        let asked = policy.pointer("/certificate_selection/any_tag/0")?.as_str()?;
        let loaded = self.0.pointer("/apps/tls/certificates/load_pem")?.as_array()?;
        let found = loaded.iter().find(|entry| has_tag(entry, &tag))?;
        (asked == tag).then(|| found.get("certificate")?.as_str().map(str::to_owned))?
    }

    /// Puts a route in.
    pub(super) fn put(
        &mut self,
        names: &Names,
        settings: &Settings,
        standing: &Standing,
        material: Option<&Material>,
    ) -> Result<()> {
        let key = standing.route.key();
        let route = names.route(&key);
        let value = encode::route(standing, &route, settings.linger.0)?;
        let server = child(&mut self.0, &["apps", "http", "servers", &names.server(key.listen)]);
        describe(server, settings, key.listen);
        place(server, "routes", &route, Some(value));
        let policy = standing.route.cert.as_deref().map(|certificate| policy(names, &key, certificate));
        place(server, "tls_connection_policies", &Names::policy(&route), policy);
        arrange(server, names, key.listen);
        if let (Some(certificate), Some(material)) = (&standing.route.cert, material) {
            self.load(&names.tag(certificate), material);
        }
        self.unload(names);
        Ok(())
    }

    /// Takes a route out.
    pub(super) fn remove(&mut self, names: &Names, key: &Key) {
        let route = names.route(key);
        let name = names.server(key.listen);
        if servers(&self.0).is_none_or(|servers| !servers.contains_key(&name)) {
            return;
        }
        let server = child(&mut self.0, &["apps", "http", "servers", &name]);
        place(server, "routes", &route, None);
        place(server, "tls_connection_policies", &Names::policy(&route), None);
        arrange(server, names, key.listen);
        if list(server, "routes").is_empty() {
            prune(&mut self.0, &["apps", "http", "servers", &name]);
        }
        self.unload(names);
    }

    fn load(&mut self, tag: &str, material: &Material) {
        let entry = json!({
            "certificate": pem(&material.chain),
            "key": block("PRIVATE KEY", &material.key),
            "tags": [tag],
        });
        let loaded = list_mut(child(&mut self.0, &["apps", "tls", "certificates"]), "load_pem");
        match loaded.iter_mut().find(|entry| has_tag(entry, tag)) {
            Some(found) => *found = entry,
            None => loaded.push(entry),
        }
    }

    /// Takes certificates of ours out that no route shows any more.
    fn unload(&mut self, names: &Names) {
        let shown: Vec<String> = servers(&self.0)
            .into_iter()
            .flatten()
            .filter_map(|(_, server)| server.get("tls_connection_policies")?.as_array())
            .flatten()
            .filter_map(|policy| policy.pointer("/certificate_selection/any_tag")?.as_array())
            .flatten()
            .filter_map(|tag| Some(tag.as_str()?.to_owned()))
            .collect();
        let is_over = |entry: &Value| {
            let mut tags = entry.get("tags").and_then(Value::as_array).into_iter().flatten();
            tags.any(|tag| {
                tag.as_str().is_some_and(|tag| names.is_tag(tag) && !shown.iter().any(|other| other == tag))
            })
        };
        let Some(loaded) =
            self.0.pointer_mut("/apps/tls/certificates/load_pem").and_then(Value::as_array_mut)
        else {
            return;
        };
        let before = loaded.len();
        loaded.retain(|entry| !is_over(entry));
        if loaded.is_empty() && before > 0 {
            prune(&mut self.0, &["apps", "tls", "certificates", "load_pem"]);
        }
    }
}

fn has_tag(entry: &Value, tag: &str) -> bool {
    entry.get("tags").and_then(Value::as_array).is_some_and(|tags| tags.iter().any(|other| other == tag))
}

/// Has TLS for the name of a route show its certificate.
fn policy(names: &Names, key: &Key, certificate: &str) -> Value {
    let mut policy = json!({
        "@id": Names::policy(&names.route(key)),
        "certificate_selection": { "any_tag": [names.tag(certificate)] },
    });
    if key.hostname.as_str().parse::<std::net::IpAddr>().is_ok() {
        // Who asks for an address sends no name (RFC 6066, section 3).
        policy["match"] = json!({ "local_ip": { "ranges": [key.hostname] } });
    } else if !key.hostname.is_any() {
        policy["match"] = json!({ "sni": [key.hostname] });
    }
    policy
}

/// Puts `value` in the place of the one with the `@id`, at the end where there is none; takes that away where it is none.
fn place(server: &mut Map<String, Value>, key: &str, which: &str, value: Option<Value>) {
    let is_there = server.contains_key(key);
    if value.is_none() && !is_there {
        return;
    }
    let all = list_mut(server, key);
    let at = all.iter().position(|other| id(other) == Some(which));
    match (at, value) {
        (Some(at), Some(value)) => all[at] = value,
        (Some(at), None) => drop(all.remove(at)),
        (None, Some(value)) => all.push(value),
        (None, None) => {}
    }
    if all.is_empty() {
        server.shift_remove(key);
    }
}

/// Names before wildcards before `*`, and of one name the longest path first: Caddy takes what comes first.
fn order(key: &Key) -> (u8, String, Reverse<usize>, String) {
    let (rank, _) = rank(&key.hostname);
    let path = key.path.as_str();
    (rank, key.hostname.to_string(), Reverse(path.len()), path.to_owned())
}

fn rank(hostname: &Hostname) -> (u8, &Hostname) {
    let rank = match (hostname.is_any(), hostname.wildcard_suffix()) {
        (true, _) => 2,
        (false, Some(_)) => 1,
        (false, None) => 0,
    };
    (rank, hostname)
}

/// Brings our routes and policies of a server into order, with what answers where none of them does.
fn arrange(server: &mut Map<String, Value>, names: &Names, port: u16) {
    let routes = std::mem::take(list_mut(server, "routes"));
    let mut ours = Vec::new();
    let mut others = Vec::new();
    for value in routes {
        match (noted(&value), id(&value)) {
            (_, Some(id)) if names.is_nothing(port, id) => {}
            (Some(standing), Some(id)) if names.route(&standing.route.key()) == id => {
                ours.push((standing.route.key(), value));
            }
            _ => others.push(value),
        }
    }
    ours.sort_by_key(|(key, _)| order(key));
    let policies: Vec<String> = ours.iter().rev().map(|(key, _)| Names::policy(&names.route(key))).collect();
    let arranged = with_nothings(ours, others, names, port);
    if arranged.is_empty() {
        server.shift_remove("routes");
    } else {
        server.insert("routes".into(), arranged.into());
    }
    if let Some(shown) = server.get_mut("tls_connection_policies").and_then(Value::as_array_mut) {
        // Those of one name: the shortest path decides, as it does everywhere.
        shown.sort_by_cached_key(|policy| {
            let at = id(policy).and_then(|id| policies.iter().position(|other| other == id));
            at.map_or((1, 0), |at| (0, at))
        });
    }
}

/// A name that has a route is no other route's, whatever the path.
fn with_nothings(ours: Vec<(Key, Value)>, others: Vec<Value>, names: &Names, port: u16) -> Vec<Value> {
    if ours.is_empty() {
        return others;
    }
    let mut arranged = Vec::new();
    let mut number = 0;
    let mut nothing = |host: Option<&Hostname>| {
        number += 1;
        encode::nothing(&names.nothing(port, number), host)
    };
    let mut ours = ours.into_iter().peekable();
    while let Some((key, value)) = ours.next() {
        arranged.push(value);
        let is_last = ours.peek().is_none_or(|(next, _)| next.hostname != key.hostname);
        if is_last && key.path.as_str() != "/" && !key.hostname.is_any() {
            arranged.push(nothing(Some(&key.hostname)));
        }
    }
    arranged.extend(others);
    // Caddy's own answer to what no route takes is 200.
    arranged.push(nothing(None));
    arranged
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn list_mut<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let entry = object.entry(key).or_insert_with(|| json!([]));
    if !entry.is_array() {
        *entry = json!([]);
    }
    match entry {
        Value::Array(list) => list,
        _ => unreachable!("it was just made a list"),
    }
}

/// The object at `path`, made where it is not there.
fn child<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let Value::Object(object) = value else { unreachable!("it was just made an object") };
    match path {
        [] => object,
        [first, rest @ ..] => child(object.entry(*first).or_insert(Value::Null), rest),
    }
}

/// Takes away what is at `path`, and what is empty without it.
fn prune(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let Some(object) = parents.iter().try_fold(&mut *value, |value, key| value.get_mut(*key)) else { return };
    let Some(object) = object.as_object_mut() else { return };
    object.shift_remove(*last);
    if object.is_empty() && !parents.is_empty() {
        prune(value, parents);
    }
}
