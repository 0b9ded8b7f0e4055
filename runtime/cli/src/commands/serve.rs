//! Owns `serve`: the process that stays. It executes every run of its state directory, looks after the edge, publishes
//! what the embedded authority has, answers ACME clients, and renews certificates when their time has come.
//!
//! Each room is a file below `serve/` with one function that is called here; what a run does is left to
//! [`crate::execute`].

mod accounts;
mod api;
mod authority;
mod edge;
mod handed;
mod identity;
mod life;
mod listeners;
mod names;
mod notify;
mod observe;
mod own;
mod playbooks;
mod reload;
mod renewing;
mod routes;
mod signs;
mod triggers;

use std::sync::Arc;

use daemon::api::Reload;
use daemon::renewals;
use effect::Result;
use script::Interrupt;
use tokio::sync::mpsc;

pub(crate) use self::handed::take_environment;
use self::handed::{Handed, environment};
use self::life::Life;
use self::listeners::Listeners;
use self::renewing::Renewals;
use self::signs::Signs;
use crate::app::App;
use crate::execute::desk::Desk;
use crate::execute::executor::{Bounds, Executor};
use crate::exit::Exit;
use crate::render;

pub(super) async fn serve(app: &App) -> Result<Exit> {
    crate::logs::choose(app.config.daemon.log)?;
    let environment = environment();
    let mut listeners = Listeners::new(Handed::take(&environment)?);
    let _lock = app.journal.lock_daemon()?;
    let (mut life, mut signs) = (Life::begin()?, Signs::begin(&environment)?);
    let bounds = Bounds { workers: app.config.daemon.workers(), queue: app.config.daemon.queue() };
    let (executor, desk) = Executor::new(app, bounds, life.leaving());
    let mut leaving = life.leaving();
    let started = tokio::select! {
        started = start(app, &desk, signs.reloading(), &mut listeners) => Some(started?),
        never = life.listen() => match never {},
        // Whoever asks for the end need not wait for a folder that does not answer.
        _ = leaving.wait_for(|level| *level != Interrupt::None) => None,
    };
    let ran = match started {
        None => Ok(()),
        Some((renewals, wished)) => {
            render::note("ready; certificates are renewed when their time has come");
            signs.ready();
            tokio::select! {
                ran = executor.run() => ran,
                never = life.listen() => match never {},
                never = signs.keep(app, leaving) => match never {},
                () = observe::monitor(app, listeners.shutdown()) => Ok(()),
                () = renewals::keep_renewing(&app.journal, &app.node, &renewals, listeners.shutdown()) => Ok(()),
                () = routes::obtain(app, &desk, wished) => Ok(()),
            }
        }
    };
    tokio::select! {
        () = listeners.end() => {}
        never = signs.last() => match never {},
        () = life.no_more_patience() => {}
    }
    ran.map(|()| Exit::Done)
}

/// Opens everything that answers, and loads what starts by itself.
async fn start<'a>(
    app: &'a App,
    desk: &Desk,
    reload: Arc<dyn Reload>,
    listeners: &mut Listeners,
) -> Result<(Renewals<'a>, mpsc::Receiver<routes::Wish>)> {
    authority::publish(app, listeners)?;
    authority::serve_acme(app, listeners).await?;
    edge::serve(app, listeners).await?;
    names::serve(app, listeners).await?;
    identity::serve(app, listeners).await?;
    let shelf = playbooks::keep(app, listeners).await?;
    api::serve(app, desk, shelf.table(), reload, listeners).await?;
    triggers::serve(app, desk, &shelf, listeners).await?;
    let wished = routes::serve(app, listeners).await?;
    let renewals = Renewals::new(app, desk.clone())?;
    observe::tell(app, listeners)?;
    listeners.handed.check_all_taken()?;
    Ok((renewals, wished))
}
