//! Owns `serve`: the process that stays. It executes every run of its state directory, looks after the edge, publishes
//! what the embedded authority has, answers ACME clients, and renews certificates when their time has come.
//!
//! Each room is a file below `serve/` with one function that is called here; what a run does is left to
//! [`crate::execute`].

mod authority;
mod edge;
mod life;
mod listeners;
mod names;
mod own;
mod playbooks;
mod renewing;
mod routes;

use daemon::renewals;
use effect::Result;

use self::life::Life;
use self::listeners::Listeners;
use self::renewing::Renewals;
use crate::app::App;
use crate::execute::executor::{Bounds, Executor};
use crate::exit::Exit;
use crate::render;

pub(super) async fn serve(app: &App) -> Result<Exit> {
    let _lock = app.journal.lock_daemon()?;
    let mut life = Life::begin()?;
    let mut listeners = Listeners::new();
    let bounds = Bounds { workers: app.config.daemon.workers(), queue: app.config.daemon.queue() };
    let (executor, desk) = Executor::new(app, bounds, life.leaving());
    authority::publish(app, &mut listeners).await?;
    authority::serve_acme(app, &mut listeners).await?;
    edge::serve(app, &mut listeners).await?;
    names::serve(app, &mut listeners).await?;
    let wished = routes::serve(app, &mut listeners).await?;
    let _shelf = playbooks::keep(app, &mut listeners).await?;
    let renewals = Renewals::new(app, desk.clone())?;
    render::note("ready; certificates are renewed when their time has come");
    let ran = tokio::select! {
        ran = executor.run() => ran,
        never = life.listen() => match never {},
        () = renewals::keep_renewing(&app.journal, &app.node, &renewals, listeners.shutdown()) => Ok(()),
        () = routes::obtain(app, &desk, wished) => Ok(()),
    };
    tokio::select! {
        () = listeners.end() => {}
        () = life.no_more_patience() => {}
    }
    ran.map(|()| Exit::Done)
}
