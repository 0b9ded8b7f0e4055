//! Owns `zones`, `records` and `dns`: what changes something is a script of one line, looking is done here.

use std::path::Path;

use daemon::edge::{Answer, Ask, Client, supervise};
use dns::effects::Means;
use dns::embedded::Feed;
use dns::forward::Forwarder;
use dns::server::{Service, Snapshot, trace};
use dns::{Driver, Name, RecordSet, file};
use effect::{Code, Error, Result};
use serde_json::{Value, json};

use super::line::{self, Line, carry_out};
use super::services::confirm;
use crate::app::{App, state_folder};
use crate::arguments::Global;
use crate::arguments::dns::{Dns, Records, RecordsWanted, ZoneWanted, Zones};
use crate::config::Config;
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::wiring;

/// No zone file is larger, in bytes: what a script gives an effect is not either, and around it stand a few words.
const LARGEST: u64 = (4 << 20) - 4096;

pub(super) async fn zones(app: &App, command: Zones) -> Result<Exit> {
    match command {
        Zones::List { json } => list_zones(app, json).await,
        Zones::Show { zone, json } => show_zone(app, &zone, json).await,
        Zones::Set(wanted) => set_zone(app, *wanted).await,
        Zones::Rm { zone, how } => {
            if !how.plan {
                confirm(app, &format!("Take the zone `{zone}` away, with all its records?"))?;
            }
            let name = format!("zones rm {zone}");
            let line = Line {
                name: &name,
                effect: "dns.zones.remove",
                params: json!({ "zone": zone }),
                allow: vec!["dns".into()],
            };
            carry_out(app, line, &how).await
        }
        Zones::Import { zone, file, merge, how } => {
            let content = read(&file)?;
            let shown = file.display().to_string();
            // Mistakes are told of before anything is begun.
            let name = Name::absolute(&zone)?;
            file::read(content.as_bytes(), &name, &shown)?;
            let is_there = driver(app)?.zone(&name).await?.is_some();
            let params = json!({ "zone": zone, "content": content, "file": shown, "merge": merge });
            let make = if is_there { "" } else { "dns.zones.ensure { zone = params.zone }\n" };
            let body = format!("{make}dns.zones.import(params)\n");
            line::run(app, &format!("zones import {zone}"), &body, params, vec!["dns".into()], &how).await
        }
        Zones::Export { zone } => {
            let (soa, sets) = whole(app, &zone).await?;
            render::out(file::write(&soa, &sets).trim_end());
            Ok(Exit::Done)
        }
    }
}

pub(super) async fn records(app: &App, command: Records) -> Result<Exit> {
    match command {
        Records::List { zone, name, rtype, json } => {
            let (soa, mut sets) = whole(app, &zone).await?;
            let name = name.map(|name| Name::within(&name, &soa.zone)).transpose()?;
            sets.retain(|set| {
                rtype.is_none_or(|rtype| set.rtype == rtype)
                    && name.as_ref().is_none_or(|name| set.name == *name)
            });
            show_records(&soa.zone, &sets, json)
        }
        Records::Show { zone, name, rtype, json } => {
            let zone = Name::absolute(&zone)?;
            let name = Name::within(&name, &zone)?;
            let found = driver(app)?.get(&zone, &name, rtype).await?;
            let found = found.ok_or_else(|| {
                let message = format!("`{name}` has no records of type {rtype}");
                Error::new(Code::DnsZone, message)
                    .hint(format!("`mcrun records list {zone}` shows all of the zone"))
            })?;
            show_records(&zone, &[found], json)
        }
        Records::Set(wanted) => {
            let RecordsWanted { zone, name, rtype, values, ttl, how } = *wanted;
            let called = format!("records set {zone} {name} {rtype}");
            let ttl = ttl.map(|ttl| ttl.to_string());
            let params = json!({ "zone": zone, "name": name, "type": rtype, "values": values, "ttl": ttl });
            let line = Line { name: &called, effect: "dns.ensure", params, allow: vec!["dns".into()] };
            carry_out(app, line, &how).await
        }
        Records::Rm { zone, name, rtype, how } => {
            let called = format!("records rm {zone} {name} {rtype}");
            let params = json!({ "zone": zone, "name": name, "type": rtype });
            let line = Line { name: &called, effect: "dns.remove", params, allow: vec!["dns".into()] };
            carry_out(app, line, &how).await
        }
    }
}

/// Speaks with the edge, and needs nothing else for it.
pub(super) async fn server(global: &Global, command: Dns) -> Result<Exit> {
    let state = state_folder(global)?;
    match command {
        Dns::Status { json } => status(&state, json),
        Dns::Trace { name, rtype, json } => {
            let steps = match Client::connect(&state) {
                Some(mut edge) => match edge.ask(&Ask::Trace { name, rtype })? {
                    Answer::Steps { steps } => steps,
                    _ => return Err(Error::new(Code::Internal, "the edge answers something else")),
                },
                None => {
                    render::note("no name server answers here; this is what one would do");
                    trace::trace(&*service(global, &state)?, &name, rtype).await?
                }
            };
            match json {
                true => render::json(&steps),
                false => steps.iter().for_each(render::out),
            }
            Ok(Exit::Done)
        }
        Dns::Metrics => match edge(&state)?.ask(&Ask::Metrics)? {
            Answer::Text { text } => {
                render::out(text.trim_end());
                Ok(Exit::Done)
            }
            _ => Err(Error::new(Code::Internal, "the edge answers something else")),
        },
        Dns::Flush => {
            edge(&state)?.ask(&Ask::Flush)?;
            render::note("what others answered is forgotten");
            Ok(Exit::Done)
        }
        Dns::Stop => {
            edge(&state)?.ask(&Ask::Stop)?;
            render::note("the name server ends");
            Ok(Exit::Done)
        }
    }
}

fn edge(state: &Path) -> Result<Client> {
    Client::connect(state).ok_or_else(|| {
        Error::new(Code::DnsUnavailable, "no name server answers for this state directory")
            .hint("`mcrun serve` starts it, where [dns] of mcrun.toml says where to `listen`")
    })
}

/// What the edge would answer, without one.
fn service(global: &Global, state: &Path) -> Result<std::sync::Arc<Service>> {
    let config = Config::load(global.config.as_deref())?;
    let forward = &config.dns.forward;
    let forwarder = if forward.enabled() { Some(Forwarder::new(forward)?) } else { None };
    let service = Service::new(forwarder, None, 0);
    if let Some(snapshot) = Feed::open(state, &config.node_name())?.look(&Snapshot::default())? {
        service.put(snapshot);
    }
    Ok(service)
}

fn status(state: &Path, as_json: bool) -> Result<Exit> {
    let standing = supervise::standing(state);
    if as_json {
        render::json(&standing);
        return Ok(if standing.is_some() { Exit::Done } else { Exit::Failed });
    }
    let Some(standing) = standing else {
        drop(edge(state)?);
        return Ok(Exit::Failed);
    };
    let listen = standing.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    render::out(format_args!(
        "answers at {listen} (process {}, version {})",
        standing.process, standing.version
    ));
    let mut table = Table::new(&["zone", "serial", "records"]);
    for (zone, serial, records) in standing.zones {
        table.row([zone, serial.to_string(), records.to_string()]);
    }
    table.print();
    Ok(Exit::Done)
}

/// The driver of names, as configured.
pub(super) fn driver(app: &App) -> Result<std::sync::Arc<dyn Driver>> {
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
    wiring::names(&app.config).driver_with(|| Means {
        journal: app.journal.clone(),
        node: app.node.clone(),
        secrets,
        clock: app.clock.clone(),
    })
}

async fn whole(app: &App, zone: &str) -> Result<(dns::Zone, Vec<RecordSet>)> {
    let driver = driver(app)?;
    let name = Name::absolute(zone)?;
    let soa = driver.zone(&name).await?;
    let soa = soa.ok_or_else(|| Error::new(Code::DnsZone, format!("there is no zone `{name}`")))?;
    let sets = driver.list(&name).await?;
    Ok((soa, sets))
}

async fn list_zones(app: &App, as_json: bool) -> Result<Exit> {
    let driver = driver(app)?;
    dns::driver::check_feature(&*driver, dns::Feature::ZoneList)?;
    let zones = driver.zones().await?;
    if as_json {
        render::json(&zones);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["zone", "serial", "primary", "admin"]);
    for zone in zones {
        table.row([
            zone.zone.to_string(),
            zone.serial.to_string(),
            zone.primary.to_string(),
            zone.admin.to_string(),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

async fn show_zone(app: &App, zone: &str, as_json: bool) -> Result<Exit> {
    let (soa, sets) = whole(app, zone).await?;
    let nameservers: Vec<String> = sets
        .iter()
        .filter(|set| set.name == soa.zone && set.rtype == dns::RecordType::NS)
        .flat_map(RecordSet::texts)
        .collect();
    if as_json {
        let mut value = json!(soa);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("nameservers".into(), json!(nameservers));
            fields.insert("sets".into(), json!(sets.len()));
        }
        render::json(&value);
        return Ok(Exit::Done);
    }
    let line = |name: &str, value: &dyn std::fmt::Display| {
        render::out(format_args!("{} {value}", render::styled(render::DIM, format_args!("{name:<12}"))));
    };
    render::out(render::styled(render::BOLD, &soa.zone));
    line("serial", &soa.serial);
    line("primary", &soa.primary);
    line("admin", &soa.admin);
    line("nameservers", &nameservers.join(", "));
    line(
        "timers",
        &format_args!(
            "refresh {}, retry {}, expire {}, minimum {} s",
            soa.refresh, soa.retry, soa.expire, soa.minimum
        ),
    );
    line("sets", &sets.len());
    Ok(Exit::Done)
}

fn show_records(zone: &Name, sets: &[RecordSet], as_json: bool) -> Result<Exit> {
    if as_json {
        let shown: Vec<Value> = sets
            .iter()
            .map(|set| {
                json!({
                    "zone": zone,
                    "name": set.name.in_zone(zone),
                    "type": set.rtype,
                    "ttl": set.ttl,
                    "values": set.texts(),
                })
            })
            .collect();
        render::json(&shown);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["name", "type", "ttl", "value"]);
    for set in sets {
        for text in set.texts() {
            table.row([set.name.in_zone(zone), set.rtype.to_string(), set.ttl.to_string(), text]);
        }
    }
    table.print();
    Ok(Exit::Done)
}

async fn set_zone(app: &App, wanted: ZoneWanted) -> Result<Exit> {
    let ZoneWanted { zone, nameservers, admin, ttl, minimum, how } = wanted;
    let name = format!("zones set {zone}");
    let params = json!({
        "zone": zone,
        "nameservers": (!nameservers.is_empty()).then_some(nameservers),
        "admin": admin,
        "ttl": ttl.map(|span| span.to_string()),
        "minimum": minimum.map(|span| span.to_string()),
    });
    let line = Line { name: &name, effect: "dns.zones.ensure", params, allow: vec!["dns".into()] };
    carry_out(app, line, &how).await
}

fn read(file: &Path) -> Result<String> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::new(Code::Usage, format!("`{}` cannot be read", file.display())).because(why)
    };
    let found = file.metadata().map_err(|error| failed(&error))?;
    if !found.is_file() {
        return Err(failed(&"it is no file"));
    }
    if found.len() > LARGEST {
        return Err(failed(&"it is larger than 4 MiB")
            .hint("split it: the first part makes the zone, and the others are added to it with `--merge`"));
    }
    std::fs::read_to_string(file).map_err(|error| failed(&error))
}
