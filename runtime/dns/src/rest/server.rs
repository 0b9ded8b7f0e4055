//! Owns the server side of the calls of mcns: which path with which method does what, and who may. It holds nothing: what
//! stands where is asked of the driver beneath. Sockets, TLS and time-outs are the listener's.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::form_urlencoded;

use super::api::{NewRecord, NewZone, Record, Records, Zones};
use super::id::Id;
use super::tokens::{Caller, Tokens};
use crate::driver::{Change, Driver, Feature, check_feature};
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};
use answer::{Answer, Answered, Denied, NO_RECORD, NO_ZONE, forbidden, json, nothing, refusal, respond};

/// Octets of a request's body: the longest value of a TXT record, escaped, and room for the rest.
pub const LARGEST_BODY: usize = 320 << 10;
/// Octets of a path with its query: two names, each octet escaped twice over, and what is fixed.
const LONGEST_PATH: usize = 8 << 10;

/// What answers the calls.
pub struct Server {
    driver: Arc<dyn Driver>,
    tokens: Tokens,
    /// Calls change single records, drivers change sets: between the look and the change nobody else comes.
    writing: Mutex<()>,
}

/// What stands as it is in an address (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const ZONES: &str = "GET, POST";
const ZONE: &str = "GET, PUT, DELETE";

impl Server {
    /// Puts it together.
    #[must_use]
    pub fn new(driver: Arc<dyn Driver>, tokens: Tokens) -> Self {
        Self { driver, tokens, writing: Mutex::new(()) }
    }

    /// The answer to a request of `peer`, whose body is there.
    pub async fn handle(&self, request: Request<Bytes>, peer: SocketAddr) -> Response<Bytes> {
        let Some(caller) = self.tokens.caller(request.headers()) else {
            tracing::info!(target: "dns", %peer, "a call without a token that is known");
            let mut response =
                refusal(StatusCode::UNAUTHORIZED, "a token is needed: `Authorization: Bearer …`");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        };
        let answered = self.route(&caller, &request).await;
        if let (Ok(_), false) = (&answered, request.method().is_safe()) {
            tracing::info!(target: "dns", %peer, holder = caller.holder, method = %request.method(), path = request.uri().path(), "changed by a call");
        }
        respond(answered)
    }

    async fn route(&self, caller: &Caller<'_>, request: &Request<Bytes>) -> Answered {
        let uri = request.uri();
        if uri.path_and_query().is_some_and(|path| path.as_str().len() > LONGEST_PATH) {
            return Err(Denied::Unknown("there is no such path"));
        }
        if request.body().len() > LARGEST_BODY {
            return Err(Denied::TooLarge);
        }
        let parts: Option<Vec<String>> = uri
            .path()
            .split('/')
            .skip(1)
            .map(|part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned))
            .collect();
        let parts = parts.ok_or_else(|| Denied::Malformed("the path is not UTF-8".into()))?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let method = request.method();
        match parts.as_slice() {
            ["v1", "zones"] => match *method {
                Method::GET => self.zones(caller).await,
                Method::POST => self.make_zone(caller, read(request)?).await,
                _ => Err(Denied::Method(ZONES)),
            },
            ["v1", "zones", zone] => self.one_zone(caller, &named(zone)?, request).await,
            ["v1", "zones", zone, "records"] => match *method {
                Method::GET => self.records(caller, &named(zone)?, uri.query().unwrap_or_default()).await,
                Method::POST => self.add(caller, &named(zone)?, &read(request)?).await,
                _ => Err(Denied::Method(ZONES)),
            },
            ["v1", "zones", zone, "records", id] => self.one_record(caller, &named(zone)?, id, request).await,
            _ => Err(Denied::Unknown("there is no such path")),
        }
    }

    async fn zones(&self, caller: &Caller<'_>) -> Answered {
        check_feature(&*self.driver, Feature::ZoneList)?;
        let mut zones = self.driver.zones().await?;
        zones.retain(|zone| caller.reads_zone(&zone.zone));
        json(StatusCode::OK, &Zones { zones })
    }

    async fn make_zone(&self, caller: &Caller<'_>, wanted: NewZone) -> Answered {
        let name = wanted.zone.as_deref().ok_or_else(|| Denied::Malformed("`zone` is missing".into()))?;
        let zone = named(name)?;
        if !caller.writes_zone(&zone) {
            return Err(forbidden("dns:write", &zone.to_string()));
        }
        let _writing = self.writing.lock().await;
        if self.driver.zone(&zone).await?.is_some() {
            return Err(Denied::Conflict(format!("the zone `{zone}` is there already")));
        }
        self.put_zone(zone, &wanted, StatusCode::CREATED).await
    }

    async fn put_zone(&self, zone: Name, wanted: &NewZone, status: StatusCode) -> Answered {
        check_feature(&*self.driver, Feature::Zones)?;
        let (wanted, nameservers) = wanted.parts(zone.clone())?;
        self.driver.put_zone(&wanted, &nameservers).await?;
        let now = self.driver.zone(&zone).await?.ok_or(Denied::Unknown("the zone is gone already"))?;
        let location = format!("/v1/zones/{}", escaped(&zone.to_string()));
        Ok(Answer { location: Some(location), ..json(status, &now)? })
    }

    async fn one_zone(&self, caller: &Caller<'_>, zone: &Name, request: &Request<Bytes>) -> Answered {
        let is_reading = request.method() == Method::GET;
        if is_reading && !caller.reads_zone(zone) {
            return Err(forbidden("dns:read", &zone.to_string()));
        }
        if !is_reading && !caller.writes_zone(zone) {
            return Err(forbidden("dns:write", &zone.to_string()));
        }
        let _writing = if is_reading { None } else { Some(self.writing.lock().await) };
        let found = self.driver.zone(zone).await?;
        match *request.method() {
            Method::GET => json(StatusCode::OK, &found.ok_or(NO_ZONE)?),
            Method::PUT => {
                let wanted: NewZone = read(request)?;
                let named_otherwise = match &wanted.zone {
                    Some(text) => named(text)? != *zone,
                    None => false,
                };
                if named_otherwise {
                    return Err(Denied::Malformed("`zone` is another one than that of the path".into()));
                }
                let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
                self.put_zone(zone.clone(), &wanted, status).await
            }
            Method::DELETE => {
                check_feature(&*self.driver, Feature::Zones)?;
                found.ok_or(NO_ZONE)?;
                self.driver.remove_zone(zone).await?;
                Ok(nothing())
            }
            _ => Err(Denied::Method(ZONE)),
        }
    }

    async fn records(&self, caller: &Caller<'_>, zone: &Name, query: &str) -> Answered {
        let (mut name, mut rtype) = (None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "name" => name = Some(Name::within(&value, zone)?),
                "type" => rtype = Some(value.parse::<RecordType>()?),
                _ => return Err(Denied::Malformed(format!("`{}` is not asked by", cut(&key)))),
            }
        }
        if let Some(name) = &name
            && !caller.reads(zone, name)
        {
            return Err(forbidden("dns:read", &format!("{zone}/{}", name.in_zone(zone))));
        }
        let sets = match (&name, rtype) {
            (Some(name), Some(rtype)) => self.driver.get(zone, name, rtype).await?.into_iter().collect(),
            _ => self.driver.list(zone).await?,
        };
        let is_empty = sets.is_empty();
        let wanted = |set: &RecordSet| {
            name.as_ref().is_none_or(|name| set.name == *name)
                && rtype.is_none_or(|rtype| set.rtype == rtype)
                && caller.reads(zone, &set.name)
        };
        let sets: Vec<RecordSet> = sets.into_iter().filter(wanted).collect();
        let sees_nothing = sets.is_empty() && !is_empty && name.is_none() && rtype.is_none();
        if (sees_nothing || is_empty && name.is_none()) && !caller.reads_zone(zone) {
            return Err(forbidden("dns:read", &format!("{zone}/**")));
        }
        let records = sets.iter().flat_map(|set| set.values.iter().map(|value| record(zone, set, value)));
        json(StatusCode::OK, &Records { records: records.collect() })
    }

    async fn add(&self, caller: &Caller<'_>, zone: &Name, wanted: &NewRecord) -> Answered {
        let added = wanted.set(zone)?;
        may_write(caller, zone, &added.name)?;
        let _writing = self.writing.lock().await;
        let now = self.driver.get(zone, &added.name, added.rtype).await?;
        let mut values = now.map(|set| set.values).unwrap_or_default();
        if holds(&values, &added, None) {
            return Err(Denied::Conflict(format!("`{}` has this {} already", added.name, added.rtype)));
        }
        values.extend(added.values.iter().cloned());
        self.set(zone, &added, values).await?;
        let made = record(zone, &added, &added.values[0]);
        let location = format!("/v1/zones/{}/records/{}", escaped(&zone.to_string()), made.id);
        Ok(Answer { location: Some(location), ..json(StatusCode::CREATED, &made)? })
    }

    async fn one_record(
        &self,
        caller: &Caller<'_>,
        zone: &Name,
        id: &str,
        request: &Request<Bytes>,
    ) -> Answered {
        let id = Id::parse(id).filter(|id| id.name.is_within(zone)).ok_or(NO_RECORD)?;
        let is_reading = request.method() == Method::GET;
        if is_reading && !caller.reads(zone, &id.name) {
            return Err(forbidden("dns:read", &format!("{zone}/{}", id.name.in_zone(zone))));
        }
        if !is_reading {
            may_write(caller, zone, &id.name)?;
        }
        let _writing = if is_reading { None } else { Some(self.writing.lock().await) };
        let set = self.driver.get(zone, &id.name, id.rtype).await?.ok_or(NO_RECORD)?;
        let at = set.values.iter().position(|value| id.is_of(value)).ok_or(NO_RECORD)?;
        match *request.method() {
            Method::GET => json(StatusCode::OK, &record(zone, &set, &set.values[at])),
            Method::PUT => self.replace(zone, &set, at, &read(request)?).await,
            Method::DELETE => {
                let mut values = set.values.clone();
                values.remove(at);
                self.set(zone, &set, values).await?;
                Ok(nothing())
            }
            _ => Err(Denied::Method(ZONE)),
        }
    }

    async fn replace(&self, zone: &Name, set: &RecordSet, at: usize, wanted: &NewRecord) -> Answered {
        let wanted = wanted.set(zone)?;
        if (&wanted.name, wanted.rtype) != (&set.name, set.rtype) {
            return Err(Denied::Malformed(
                "a record keeps its name and type: remove it, and make another".into(),
            ));
        }
        if holds(&set.values, &wanted, Some(at)) {
            return Err(Denied::Conflict(format!("`{}` has this {} already", set.name, set.rtype)));
        }
        let mut values = set.values.clone();
        values[at] = wanted.values[0].clone();
        self.set(zone, &wanted, values).await?;
        json(StatusCode::OK, &record(zone, &wanted, &wanted.values[0]))
    }

    /// Gives the name and type of `of` these values, with its time to live.
    async fn set(&self, zone: &Name, of: &RecordSet, values: Vec<Value>) -> Result<(), Denied> {
        let change = match values.is_empty() {
            true => Change::removing(of.name.clone(), of.rtype),
            false => Change::putting(RecordSet::new(of.name.clone(), of.rtype, of.ttl, values)?),
        };
        Ok(self.driver.change(zone, &change).await?)
    }
}

/// Whether one of `values`, but that at `except`, is the first of `set`.
fn holds(values: &[Value], set: &RecordSet, except: Option<usize>) -> bool {
    let wanted = set.values[0].canonical(set.rtype);
    values.iter().enumerate().any(|(at, value)| Some(at) != except && value.canonical(set.rtype) == wanted)
}

fn may_write(caller: &Caller<'_>, zone: &Name, name: &Name) -> Result<(), Denied> {
    match caller.writes(zone, name) {
        true => Ok(()),
        false => Err(forbidden("dns:write", &format!("{zone}/{}", name.in_zone(zone)))),
    }
}

fn named(text: &str) -> Result<Name, Denied> {
    Ok(Name::absolute(text)?)
}

fn record(zone: &Name, set: &RecordSet, value: &Value) -> Record {
    let NewRecord { name, kind, value: text, ttl } = NewRecord::new(zone, set, value);
    Record { id: Id::of(&set.name, set.rtype, value).text(), name, kind, value: text, ttl }
}

fn read<T: DeserializeOwned>(request: &Request<Bytes>) -> Result<T, Denied> {
    serde_json::from_slice(request.body()).map_err(|error| Denied::Malformed(format!("the body: {error}")))
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
