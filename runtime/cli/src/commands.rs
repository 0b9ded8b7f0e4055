//! Owns the way from a parsed command line to the command that carries it out.

mod access;
mod adopt;
mod apply;
mod approvals;
mod audit;
mod backup;
mod boot;
mod build;
mod cancel;
mod cause;
mod certs;
mod check;
mod copies;
mod definitions;
mod docs;
mod doctor;
mod documents;
mod drift;
mod edge;
mod edit;
mod evaluate;
mod events;
mod exec;
mod export_runbook;
mod fork;
mod gc;
mod history;
mod images;
mod inspect;
mod judge;
mod line;
mod logs;
mod lua;
mod mcias;
mod names;
mod new;
mod plan_file;
mod playbooks;
mod recover;
mod releases;
mod replay;
mod resume;
mod resume_all;
mod routes;
mod runs;
mod schedule;
mod screen;
mod secrets;
mod serve;
mod services;
mod setup;
mod start;
mod sync;
mod test;
mod top;
mod transfer;
mod undo;
mod ways;

use effect::Result;
use effect::policy::Grants;

use crate::app::App;
use crate::arguments::access::Policy;
use crate::arguments::{self as of, Arguments, Command};
use crate::exit::Exit;

pub(crate) use check::{Checker, Finding, Sources};
pub(crate) use evaluate::{Given, Params, adapted, script_job, split};
pub(crate) use resume::{check_resumable, decisions};
pub(crate) use serve::take_environment;
pub(crate) use services::{grants as grants_of, operation_job};
pub(crate) use undo::undo_job;

/// Carries out a command.
pub(crate) async fn dispatch(arguments: Arguments) -> Result<Exit> {
    let global = arguments.global;
    match arguments.command {
        Command::New(of::tools::New { folder }) => new::project(&folder),
        Command::Types(of::tools::Types { folder }) => documents::types(&global, folder.as_deref()),
        Command::Reference(of::tools::Reference { folder, check }) => {
            documents::reference(&global, &folder, check)
        }
        Command::Explain(of::tools::Explain { code }) => documents::explain(&code),
        Command::Completions(of::tools::Completions { shell }) => documents::completions(shell),
        Command::Man(of::tools::Man { command, out }) => documents::man(command.as_deref(), out.as_deref()),
        Command::Check(of::tools::Check { paths, json }) => check::check(&global, &paths, json).await,
        Command::Test(of::tools::Test { paths, filter, json }) => {
            test::test(&global, &paths, filter.as_deref(), json).await
        }
        Command::Doctor(of::machine::Doctor { json }) => doctor::doctor(&global, json).await,
        Command::Setup(of::machine::Setup { user, prefix, no_start, how }) => {
            setup::setup(&global, setup::Wish { user, prefix, no_start, plan: how.plan, json: how.json })
                .await
        }
        Command::CanI(wish) => access::can_i(&global, wish),
        Command::Policy(Policy::Test { file, json }) => access::test(&global, &file, json),
        // It makes the state directory, so it must not be there.
        Command::Restore(of::machine::Restore { file, check, passphrase, json }) => {
            backup::restore(&global, backup::Restoring { file, only_check: check, passphrase, json }).await
        }
        // It answers without a state directory that can be used, too.
        Command::Edge => edge::edge(&global).await,
        // The one that answers is spoken to however the database is.
        Command::Dns(command) => names::server(&global, command).await,
        command if command.evaluates() => with_state(&App::open_to_evaluate(&global)?, command).await,
        command => with_state(&App::open(&global)?, command).await,
    }
}

async fn with_state(app: &App, command: Command) -> Result<Exit> {
    match command {
        Command::Run(of::runs::Run { script, wait, json }) => {
            evaluate::run(app, &script, wait.patience(), json).await
        }
        Command::Plan(of::runs::Plan { script, out, json, detailed_exitcode }) => {
            let wish = evaluate::Wish { json, detailed: detailed_exitcode, out: out.as_deref() };
            evaluate::plan(app, &script, wish).await
        }
        Command::Apply(of::runs::Apply { plan, wait, json }) => {
            apply::apply(app, &plan, wait.patience(), json).await
        }
        Command::Resume(of::runs::Resume {
            run: Some(run),
            from,
            doubt,
            limit,
            leave_plan,
            wait,
            json,
            ..
        }) => {
            let (from, patience) = (from.as_deref(), wait.patience());
            let wish = resume::Wish { doubts: &doubt, from, limits: &limit, leave_plan, patience, json };
            resume::resume(app, &run, wish).await
        }
        Command::Resume(of::runs::Resume { run: None, active, json, .. }) => {
            resume_all::resume_all(app, active.into(), json).await
        }
        Command::Fork(of::runs::Fork { run, from, limit, wait, json }) => {
            let wish = fork::Wish { from: &from, limits: &limit, patience: wait.patience(), json };
            fork::fork(app, &run, wish).await
        }
        Command::Audit(wish) => audit::audit(app, &wish).await,
        Command::Gc(of::runs::Gc { dry_run, json }) => gc::gc(app, dry_run, json).await,
        Command::Backup(of::machine::Backup { out, seal, passphrase, json }) => {
            backup::backup(app, backup::Wish { out, seal, passphrase, json }).await
        }
        Command::Export(of::runs::Export { run, out }) => transfer::export(app, &run, out).await,
        Command::ExportRunbook(of::machine::ExportRunbook { out }) => {
            export_runbook::export_runbook(app, out.as_deref()).await
        }
        Command::Import(of::runs::Import { file }) => transfer::import(app, &file).await,
        Command::Replay(of::runs::Replay { run, against, json }) => {
            replay::replay(app, &run, &against, json).await
        }
        Command::Runs(of::runs::Runs { only, limit, json }) => runs::list(app, only, limit, json).await,
        Command::Show(of::runs::Show { run, json }) => runs::show(app, &run, json).await,
        Command::Cancel(of::runs::Cancel { run }) => cancel::cancel(app, &run).await,
        Command::Schedule(of::told::Schedule { name, next, last, json }) => {
            schedule::schedule(app, schedule::Wish { name: name.as_deref(), next, last, json }).await
        }
        Command::Emit(of::told::Emit { event, data }) => events::emit(app, &event, data.as_deref()).await,
        Command::Events(of::told::Events { event, follow, since, tail, json }) => {
            let wish = events::Wish { pattern: event.as_deref(), follow, since, tail, json };
            events::events(app, &wish).await
        }
        Command::Logs(of::runs::Logs { subject, follow, tail, json }) => {
            logs::logs(app, &subject, follow, tail, json).await
        }
        Command::Undo(of::runs::Undo { run, force, plan, allow, deny, wait, json }) => {
            let (more, patience) = (Grants { allow, deny, ..Grants::default() }, wait.patience());
            undo::undo(app, &run, undo::Wish { force, plan, json, more, patience }).await
        }
        Command::Ps(of::services::Ps { all, json }) => inspect::ps(app, all, json).await,
        Command::Top(of::services::Top { all, once, every, json }) => {
            top::top(app, all, once, every, json).await
        }
        Command::Exec(of::services::Inside { service, user, workdir, env, no_terminal, argv }) => {
            let wanted = exec::Wanted { service, user, workdir, env, has_terminal: !no_terminal, argv };
            exec::exec(app, wanted).await
        }
        Command::Images(of::services::Images { name, json }) => {
            images::images(app, name.as_deref(), json).await
        }
        Command::Serve(_) => serve::serve(app).await,
        Command::Certs(command) => certs::certs(app, command).await,
        Command::Mcias(command) => mcias::mcias(app, command).await,
        Command::Zones(command) => names::zones(app, command).await,
        Command::Records(command) => names::records(app, command).await,
        Command::Routes(command) => routes::routes(app, command).await,
        Command::Approvals(command) => approvals::approvals(app, command).await,
        Command::Docs(command) => docs::docs(app, command).await,
        Command::Secrets(command) => secrets::secrets(app, command).await,
        Command::Playbooks(of::playbooks::Listing { command, json }) => {
            playbooks::playbooks(app, command, json).await
        }
        Command::Drift(of::services::Drift { services, json }) => drift::drift(app, &services, json).await,
        Command::Status(of::services::Status { service, json }) => {
            inspect::status(app, service.as_deref(), json).await
        }
        Command::Stop(of::services::Stop { service, wait }) => {
            services::operate(app, "stop", &service, wait.patience()).await
        }
        Command::Start(words) => start::start(app, &words).await,
        Command::Boot(words) => boot::boot(app, &words).await,
        Command::Recover(words) => recover::recover(app, &words).await,
        Command::Restart(of::services::Restart { service, wait }) => {
            services::operate(app, "restart", &service, wait.patience()).await
        }
        Command::Adopt(of::services::Adopt { names, out, how, wait }) => {
            let wish = adopt::Wish { names: &names, out: &out, how: &how, patience: wait.patience() };
            adopt::adopt(app, wish).await
        }
        Command::Sync(of::services::Sync { place, domain, grants, wait, how }) => {
            let (domain, patience) = (domain.as_deref(), wait.patience());
            sync::sync(app, sync::Wish { place: &place, domain, grants: &grants, how: &how, patience }).await
        }
        Command::Build(of::services::Build { service, definition, grants, how }) => {
            let definition = definition.as_deref();
            build::build(app, build::Wish { service: &service, definition, grants: &grants, how: &how }).await
        }
        Command::Edit(of::services::Edit { service, apply, domain, grants, wait }) => {
            let (domain, patience) = (domain.as_deref(), wait.patience());
            let wish = edit::Wish { service: &service, apply, domain, grants: &grants, patience };
            edit::edit(app, wish).await
        }
        Command::Releases(of::services::Releases { service, limit, json }) => {
            releases::list(app, &service, limit, json).await
        }
        Command::Rollback(of::services::Rollback { service, to, plan, wait, json }) => {
            releases::rollback(app, &service, releases::Wish { to, plan, patience: wait.patience(), json })
                .await
        }
        Command::Undeploy(of::services::Undeploy { service, wait }) => {
            services::operate(app, "undeploy", &service, wait.patience()).await
        }
        Command::New(_)
        | Command::CanI(_)
        | Command::Policy(_)
        | Command::Check(_)
        | Command::Test(_)
        | Command::Types(_)
        | Command::Reference(_)
        | Command::Explain(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Edge
        | Command::Restore(_)
        | Command::Setup(_)
        | Command::Dns(_)
        | Command::Doctor(_) => unreachable!("`dispatch` carries out what needs no state"),
    }
}
