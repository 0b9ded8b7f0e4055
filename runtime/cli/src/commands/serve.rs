//! Owns `serve`: the process that stays. It executes every run of its state directory, looks after the edge, publishes
//! what the embedded authority has, answers ACME clients, and renews certificates when their time has come.
//!
//! Each room is a file below `serve/` with one function that is called here; what a run does is left to
//! [`crate::execute`].

mod api;
mod authority;
mod edge;
mod handed;
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

use daemon::renewals;
use effect::Result;

pub(crate) use self::handed::take_environment;
use self::handed::{Handed, environment};
use self::life::Life;
use self::listeners::Listeners;
use self::renewing::Renewals;
use self::signs::Signs;
use crate::app::App;
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
    authority::publish(app, &mut listeners)?;
    authority::serve_acme(app, &mut listeners).await?;
    edge::serve(app, &mut listeners).await?;
    names::serve(app, &mut listeners).await?;
    let shelf = playbooks::keep(app, &mut listeners).await?;
    api::serve(app, &desk, shelf.table(), signs.reloading(), &mut listeners).await?;
    triggers::serve(app, &desk, &shelf, &mut listeners).await?;
    let wished = routes::serve(app, &mut listeners).await?;
    let renewals = Renewals::new(app, desk.clone())?;
    observe::tell(app, &mut listeners)?;
    listeners.handed.check_all_taken()?;
    render::note("ready; certificates are renewed when their time has come");
    signs.ready();
    let leaving = life.leaving();
    let ran = tokio::select! {
        ran = executor.run() => ran,
        never = life.listen() => match never {},
        never = signs.keep(app, leaving) => match never {},
        () = observe::monitor(app, listeners.shutdown()) => Ok(()),
        () = renewals::keep_renewing(&app.journal, &app.node, &renewals, listeners.shutdown()) => Ok(()),
        () = routes::obtain(app, &desk, wished) => Ok(()),
    };
    tokio::select! {
        () = listeners.end() => {}
        never = signs.last() => match never {},
        () = life.no_more_patience() => {}
    }
    ran.map(|()| Exit::Done)
}
