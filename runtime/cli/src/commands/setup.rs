//! Owns `setup`: how mcrun becomes a service of a machine that systemd runs. What is to be done is a script that ships,
//! through the same corridor as every other, so that it is planned, journaled, resumed and undone like one. Here is what has
//! to be right before it begins.

mod check;
mod hand_over;
mod units;

use std::path::{Path, PathBuf};

use effect::policy::Grants;
use effect::{Code, Error, Mode, Result};
use serde_json::json;

use super::evaluate::{self, Job};
use super::services::confirm;
use crate::app::{App, OF_THE_MACHINE as STATE};
use crate::arguments::Global;
use crate::config::Config;
use crate::execute;
use crate::exit::Exit;
use crate::render;

const SCRIPT: &str = include_str!("setup.luau");
/// Its configuration.
const CONFIG: &str = "/etc/mcrun/mcrun.toml";
/// Where an administrator's units lie; those of a package are elsewhere.
const UNITS: &str = "/etc/systemd/system";
/// The group that may use the daemon's socket.
const GROUP: &str = "/etc/sysusers.d/mcrun.conf";
/// What makes the socket's folder at every boot.
const FOLDERS: &str = "/etc/tmpfiles.d/mcrun.conf";

/// What the command line says.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) user: String,
    pub(super) prefix: Option<PathBuf>,
    pub(super) no_start: bool,
    /// Only show it.
    pub(super) plan: bool,
    pub(super) json: bool,
}

/// Where everything goes.
#[derive(Debug)]
struct Places {
    program: PathBuf,
    state: PathBuf,
    config: PathBuf,
    user: String,
    /// The socket of the API as the configuration that is there has it; none where setup writes one.
    socket: Option<PathBuf>,
    /// Whether that configuration has something for an edge to do: without, one would end right after its start.
    has_edge: bool,
}

pub(super) async fn setup(global: &Global, wish: Wish) -> Result<Exit> {
    check::is_root()?;
    let places = places(global, &wish)?;
    check::all(&places, &wish)?;
    if wish.plan || !wish.json {
        // Looking leaves nothing behind, so it is journaled where nothing stays.
        let folder = tempfile::tempdir()
            .map_err(|error| Error::new(Code::StateUnusable, "there is no room for a plan").because(error))?;
        let app = App::with(global, Config::default(), folder.path().to_owned())?;
        let shown =
            evaluate::show_plan(&app, job(&app, &places, &wish, Mode::Plan)?, wish.json, false).await?;
        if wish.plan || shown != Exit::Done {
            return Ok(shown);
        }
        confirm(&app, "Set mcrun up like this?")?;
    } else if !global.yes {
        return Err(Error::new(Code::Usage, "not confirmed").hint("say `--yes`, or `--plan` to look first"));
    }
    // What the operator asks for is not bound by what scripts are granted.
    let app = App::with(global, Config::default(), places.state.clone())?;
    if places.user != "root" {
        // Before the daemon starts, which has to open it; the script makes the user.
        return as_user(&app, &places, &wish).await;
    }
    start(&app, &places, &wish).await
}

/// Sets up a daemon that is not root: its state directory, which this very run is recorded in, becomes the user's before
/// anything is started.
async fn as_user(app: &App, places: &Places, wish: &Wish) -> Result<Exit> {
    let first = Wish { user: wish.user.clone(), prefix: None, no_start: true, plan: false, json: wish.json };
    let ended = start(app, places, &first).await?;
    if ended != Exit::Done {
        return Ok(ended);
    }
    hand_over::hand_over(&places.state, &places.user)?;
    if wish.no_start {
        return Ok(ended);
    }
    let ended = start(app, places, wish).await;
    hand_over::hand_over(&places.state, &places.user)?;
    ended
}

async fn start(app: &App, places: &Places, wish: &Wish) -> Result<Exit> {
    let job = job(app, places, wish, Mode::Run)?;
    render::note("");
    let (run, main) = (job.id, (job.name.clone(), job.source.clone()));
    let lock = app.journal.lock_run(&run)?;
    let new = execute::new_run(app, &job, Path::new(&job.name));
    // Here, also where a daemon has the state directory: it is about to be restarted by this very run.
    let going = |watch| execute::run(app, job, watch, lock, execute::begin(app, new));
    let ended = evaluate::shown(app, run, main, wish.json, going).await?;
    if ended == Exit::Done && !wish.json {
        let state = places.state.display();
        let units = units::enabled(places).join(" ");
        render::note(format_args!(
            "`systemctl disable --now {units}`, then `mcrun --state {state} undo {run}` takes it back"
        ));
    }
    Ok(ended)
}

fn places(global: &Global, wish: &Wish) -> Result<Places> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| {
            Error::new(Code::SetupPath, format!("`{}` has no absolute path", path.display())).because(error)
        })
    };
    let program = match &wish.prefix {
        Some(prefix) => absolute(prefix)?.join("bin/mcrun"),
        None => std::env::current_exe().map_err(|error| {
            Error::new(Code::SetupProgram, "this program's own file cannot be found").because(error)
        })?,
    };
    let state = absolute(global.state.as_deref().unwrap_or(Path::new(STATE)))?;
    let config = absolute(global.config.as_deref().unwrap_or(Path::new(CONFIG)))?;
    // A daemon that cannot read it would not come up.
    let present = config.exists().then(|| Config::load(Some(&config))).transpose()?;
    let socket = present.as_ref().map(|present| present.daemon.api.socket_in(&state));
    let has_edge = present.as_ref().is_some_and(super::edge::is_wanted);
    Ok(Places { program, state, config, user: wish.user.clone(), socket, has_edge })
}

fn job(app: &App, places: &Places, wish: &Wish, mode: Mode) -> Result<Job> {
    let units = units::all(places);
    let config = places.config.display().to_string();
    let params = json!({
        "units": units.iter().map(|unit| json!({ "path": unit.path, "content": unit.text })).collect::<Vec<_>>(),
        "enabled": units::enabled(places),
        "started": units::started(places),
        "socket": { "unit": units::SOCKET_UNIT, "path": units::LISTEN, "folder": units::FOLDER },
        "users": { "path": GROUP, "content": units::users(places) },
        "folders": { "path": FOLDERS, "content": units::FOLDERS },
        "config": { "path": config, "content": units::config() },
        "user": places.user,
        "booted": check::is_booted(),
        "start": !wish.no_start,
    });
    let paths: Vec<&str> =
        units.iter().map(|unit| unit.path.as_str()).chain([config.as_str(), GROUP, FOLDERS]).collect();
    let grants = Grants { allow: allowed(&paths), ..Grants::default() };
    Ok(Job { mode, params, ..evaluate::shipped_job(app, "setup", SCRIPT, Vec::new(), grants)? })
}

/// The files, the folders above them, and the programs of the machine; nothing else.
fn allowed(paths: &[&str]) -> Vec<String> {
    let above = paths.iter().filter_map(|path| Path::new(path).parent()).map(Path::display);
    let mut allow: Vec<String> = above.map(|folder| format!("files:write:{folder}")).collect();
    allow.extend(paths.iter().map(|path| format!("files:write:{path}")));
    allow.extend(["/run/systemd/**", units::FOLDER, units::LISTEN].map(|path| format!("files:read:{path}")));
    for folder in check::FOLDERS_OF_PROGRAMS {
        allow.extend(check::PROGRAMS.map(|program| format!("exec:write:{folder}/{program}")));
    }
    allow
}
