//! Owns `routes`: what changes a route is a script of one line through the same corridor as every other; looking is done
//! here.

mod figures;
mod wanted;

use std::path::Path;
use std::sync::Arc;

use daemon::edge::{Answer, Ask, Client};
use effect::{Code, Error, Result};
use routes::driver::BackendFigures;
use routes::effects::{Means, said, unknown};
use routes::route::Backend;
use routes::{Driver, Feature, Figures, Key, Route, Standing};
use serde_json::{Value, json};

use super::line::{self, Line, carry_out};
use crate::app::App;
use crate::arguments::How;
use crate::arguments::routes::Routes;
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::wiring;

pub(super) async fn routes(app: &App, command: Routes) -> Result<Exit> {
    match command {
        Routes::List { hostname, service, listen, json } => {
            let mut standing = driver(app)?.list().await?;
            standing.retain(|Standing { route, .. }| {
                hostname.as_ref().is_none_or(|hostname| route.hostname == *hostname)
                    && service.as_ref().is_none_or(|service| route.service.as_ref() == Some(service))
                    && listen.is_none_or(|listen| route.listen == listen)
            });
            list(&standing, json);
            Ok(Exit::Done)
        }
        Routes::Show { key, json } => show(app, &key, json).await,
        Routes::Set(wanted) => {
            let name = format!("routes set {}", wanted.key);
            let params = wanted::params(&wanted)?;
            let allow = vec!["routes".into(), "routes:backends".into()];
            let line = Line { name: &name, effect: "routes.ensure", params, allow };
            carry_out(app, line, &wanted.how).await
        }
        Routes::Rm { key, how } => operate(app, "rm", "routes.remove", &key, &how).await,
        Routes::Pause { key, how } => operate(app, "pause", "routes.pause", &key, &how).await,
        Routes::Resume { key, how } => operate(app, "resume", "routes.resume", &key, &how).await,
        Routes::Drain { key, backend, within, how } => {
            if let Some(backend) = backend {
                check_backend(app, &key, backend).await?;
            }
            let mut params = params(&key);
            params["backend"] = json!(backend);
            params["within"] = json!(within.map(|within| within.to_string()));
            let body =
                "local drained = routes.drain(params)\nprint(`{drained.ended} ended, {drained.cut} cut`)\n";
            let name = format!("routes drain {key}");
            line::run(app, &name, body, line::without_nulls(params), vec!["routes".into()], &how).await
        }
        Routes::Top { once, every, json } => figures::top(&*driver(app)?, once, every, json).await,
        Routes::Metrics => metrics(app),
    }
}

/// Refuses to drain a back end that the route does not have: nothing is under way there, and somebody mistook it for
/// another. A script may drain one that has just left.
async fn check_backend(app: &App, key: &Key, backend: Backend) -> Result<()> {
    let standing = driver(app)?.get(key).await?.ok_or_else(|| unknown(key))?;
    let known = &standing.route.backends;
    if known.contains(&backend) {
        return Ok(());
    }
    let message = format!("the route `{key}` has no back end `{backend}`");
    let named: Vec<String> = known.iter().map(ToString::to_string).collect();
    let hint = match named.as_slice() {
        [] => "it has none at all".to_owned(),
        named => format!("it has {}", named.join(", ")),
    };
    Err(Error::new(Code::RouteUnknown, message).hint(hint))
}

/// What names a route in the parameters of an effect.
fn params(key: &Key) -> Value {
    json!({ "listen": key.listen, "hostname": key.hostname, "path": key.path })
}

async fn operate(app: &App, operation: &str, effect: &str, key: &Key, how: &How) -> Result<Exit> {
    let name = format!("routes {operation} {key}");
    let line = Line { name: &name, effect, params: params(key), allow: vec!["routes".into()] };
    carry_out(app, line, how).await
}

/// The driver of routes, as configured.
pub(super) fn driver(app: &App) -> Result<Arc<dyn Driver>> {
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
    wiring::proxies(&app.config, &app.state).driver_with(|| Means {
        journal: app.journal.clone(),
        node: app.node.clone(),
        sealer: app.sealer.clone(),
        secrets,
        clock: app.clock.clone(),
    })
}

fn metrics(app: &App) -> Result<Exit> {
    let edge = Client::connect(&app.state).ok_or_else(|| {
        Error::new(Code::ProxyUnavailable, "no edge answers for this state directory")
            .hint("`mcrun serve` starts it, where [routes] of mcrun.toml has `addresses`")
    });
    match edge?.ask(&Ask::Metrics)? {
        Answer::Text { text } => {
            render::out(text.trim_end());
            Ok(Exit::Done)
        }
        _ => Err(Error::new(Code::Internal, "the edge answers something else")),
    }
}

fn list(standing: &[Standing], as_json: bool) {
    if as_json {
        return render::json(&standing);
    }
    let mut table = Table::new(&["route", "to", "certificate", "service", "state"]);
    for Standing { route, paused } in standing {
        let state = match (paused, &route.maintenance) {
            (true, _) => "paused",
            (false, Some(_)) => "maintenance",
            (false, None) => "",
        };
        table.row([
            route.key().to_string(),
            goal(route),
            route.cert.clone().unwrap_or_default(),
            route.service.clone().unwrap_or_default(),
            state.to_owned(),
        ]);
    }
    table.print();
}

/// Where requests go, in a few words.
fn goal(route: &Route) -> String {
    const NAMED: usize = 3;
    if let Some(redirect) = &route.redirect {
        return redirect.to.clone();
    }
    let named = route.backends.iter().take(NAMED).map(ToString::to_string);
    let more = route.backends.len().checked_sub(NAMED).filter(|more| *more > 0);
    let all: Vec<String> = named.chain(more.map(|more| format!("{more} more"))).collect();
    let l4 = matches!(route.mode, routes::Mode::L4).then_some(" (l4)").unwrap_or_default();
    format!("{}{l4}", all.join(", "))
}

async fn show(app: &App, key: &Key, as_json: bool) -> Result<Exit> {
    let driver = driver(app)?;
    let standing = driver.get(key).await?.ok_or_else(|| unknown(key))?;
    let figures = figures_of(&*driver, key).await;
    if as_json {
        let mut value = json!(standing);
        value["figures"] = json!(figures.as_ref().ok());
        render::json(&value);
        return Ok(Exit::Done);
    }
    render::out(render::styled(render::BOLD, render::printable(&key.to_string())));
    for (field, value) in said(&standing) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = text.trim_end().replace('\n', "\n             ");
        render::out(format_args!(
            "{} {}",
            render::styled(render::DIM, format_args!("{field:<12}")),
            render::printable(&text)
        ));
    }
    match figures {
        Ok(Some(figures)) => show_figures(&figures),
        Ok(None) => {}
        Err(error) => render::note(format_args!("what happens on it is not known: {}", error.message)),
    }
    Ok(Exit::Done)
}

/// What happens on one route, where the driver can tell.
async fn figures_of(driver: &dyn Driver, key: &Key) -> Result<Option<Figures>> {
    if !driver.features().contains(&Feature::Figures) {
        return Ok(None);
    }
    let own = key.to_string();
    Ok(driver.figures().await?.into_iter().find(|figures| figures.route == own))
}

fn show_figures(figures: &Figures) {
    render::out(format_args!(
        "\n{}, {} failed, {} under way, {} waiting; half begin within {}, 99 of 100 within {}",
        render::count(figures.requests, "request"),
        figures.failed,
        figures.active,
        figures.waiting,
        figures::latency(figures.p50_us),
        figures::latency(figures.p99_us),
    ));
    if figures.backends.is_empty() {
        return;
    }
    let mut table = Table::new(&["back end", "state", "under way", "requests", "failed"]);
    for backend in &figures.backends {
        table.row([
            backend.address.to_string(),
            state(backend),
            backend.active.to_string(),
            backend.requests.to_string(),
            backend.failed.to_string(),
        ]);
    }
    table.print();
}

fn state(backend: &BackendFigures) -> String {
    match (backend.healthy, &backend.problem) {
        (true, _) => "well".to_owned(),
        (false, Some(problem)) => format!("out: {problem}"),
        (false, None) => "out".to_owned(),
    }
}
