//! Owns `adopt`: containers that mcrun did not make are recorded as services, each with its definition as a script. A script
//! that ships does it, through the same corridor as every other; the containers are only looked at.

mod definition;

pub(super) use self::definition::is_floating;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use containers::effects::World;
use containers::{Description, Observed};
use effect::policy::{Grants, Need, allow_arguments};
use effect::session::Patience;
use effect::{Code, Error, Mode, Result};
use serde_json::{Value, json};

use self::definition::Definition;
use super::evaluate::{self, Job};
use crate::app::App;
use crate::arguments::How;
use crate::exit::Exit;
use crate::{render, wiring};

const SCRIPT: &str = include_str!("adopt.luau");

/// What `adopt` is asked for.
pub(super) struct Wish<'a> {
    /// The containers; every foreign one that runs unless given.
    pub(super) names: &'a [String],
    /// The folder for the definitions.
    pub(super) out: &'a Path,
    pub(super) how: &'a How,
    pub(super) patience: Patience,
}

/// One container that is about to be taken over.
struct Adoption {
    live: Observed,
    description: Description,
    definition: Definition,
    file: PathBuf,
}

pub(super) async fn adopt(app: &App, wish: Wish<'_>) -> Result<Exit> {
    let out = folder(app, wish.out)?;
    let (adoptions, left) = look(app, wish.names, &out).await?;
    for error in &left {
        render::failure(error);
    }
    if adoptions.is_empty() {
        render::note("there is nothing to take over: `mcrun ps --all` lists what runs");
        return Ok(if left.is_empty() { Exit::Done } else { Exit::Failed });
    }
    if !wish.how.json {
        adoptions.iter().for_each(tell);
    }
    let job = job(app, &adoptions, wish.patience)?;
    let ended = if wish.how.plan {
        let job = Job { mode: Mode::Plan, ..job };
        evaluate::show_plan(app, job, wish.how.json, false).await?
    } else {
        let name = job.name.clone();
        evaluate::start(app, job, Path::new(&name), wish.how.json).await?
    };
    if ended == Exit::Done && !wish.how.plan && !wish.how.json {
        adoptions.iter().for_each(advise);
    }
    Ok(if ended == Exit::Done && !left.is_empty() { Exit::Failed } else { ended })
}

/// Scripts are written there, so nothing that rules over scripts may lie in it.
fn folder(app: &App, out: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(out).map_err(|error| {
        Error::new(Code::Usage, format!("`{}` has no absolute path", out.display())).because(error)
    })?;
    // What is not there yet has no links in it, but for the folders above.
    let real = absolute.ancestors().find_map(|above| {
        let rest = absolute.strip_prefix(above).ok()?;
        Some(std::fs::canonicalize(above).ok()?.join(rest))
    });
    let real = real.unwrap_or(absolute);
    let real = real.components().collect::<PathBuf>();
    app.config.check_apart_from(&real)?;
    Ok(real)
}

/// What is taken over, and why the rest is not.
async fn look(app: &App, names: &[String], out: &Path) -> Result<(Vec<Adoption>, Vec<Error>)> {
    let world = wiring::containers(app);
    let mut adoptions = Vec::new();
    if !names.is_empty() {
        for name in names.iter().collect::<BTreeSet<_>>() {
            adoptions.push(of_name(app, &world, name, out).await?);
        }
        return Ok((adoptions, Vec::new()));
    }
    let mut left = Vec::new();
    for live in world.list().await? {
        if live.managed || !live.is_up() {
            continue;
        }
        match of(app, &world, live, out).await {
            Ok(adoption) => adoptions.push(adoption),
            Err(error) if error.code == Code::NotAdopted => left.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok((adoptions, left))
}

async fn of_name(app: &App, world: &World, name: &str, out: &Path) -> Result<Adoption> {
    let Some((_, live)) = world.find(name).await? else {
        return Err(Error::new(Code::ContainerUnknown, format!("there is no container `{name}`"))
            .hint("`mcrun ps --all` lists what runs here, whoever started it"));
    };
    if live.managed {
        let service = live.service.as_deref().unwrap_or(name);
        let how = if live.adopted { "taken over already" } else { "made by mcrun" };
        return Err(refusal(name, &format!("it was {how}, as a container of the service `{service}`")).hint(
            format!("`mcrun status {service}` shows it; `mcrun edit {service}` opens its definition"),
        ));
    }
    of(app, world, live, out).await
}

async fn of(app: &App, world: &World, live: Observed, out: &Path) -> Result<Adoption> {
    let name = live.name.clone();
    if app.journal.record("service", &app.node, &name).await?.is_some() {
        return Err(refusal(&name, "a service of this name is recorded already").hint(format!(
            "`mcrun status {name}` shows it; `mcrun undeploy {name}` takes it out of the registry"
        )));
    }
    let description = world.describe(&live).await?;
    let definition = Definition::new(&live, &description, &app.sealer)?;
    let file = out.join(format!("{name}.lua"));
    check_free(&file, &definition.text)?;
    Ok(Adoption { live, description, definition, file })
}

fn refusal(name: &str, why: &str) -> Error {
    Error::new(Code::NotAdopted, format!("the container `{name}` cannot be taken over: {why}"))
}

/// What somebody has written is not written over.
fn check_free(file: &Path, text: &str) -> Result<()> {
    match std::fs::read(file) {
        Ok(content) if content != text.as_bytes() => {
            let message = format!("`{}` is there already and says something else", file.display());
            Err(Error::new(Code::Usage, message)
                .hint("name another folder with `--out`, or move the file away"))
        }
        _ => Ok(()),
    }
}

fn job(app: &App, adoptions: &[Adoption], patience: Patience) -> Result<Job> {
    let given: Vec<Value> = adoptions
        .iter()
        .map(|adoption| {
            json!({
                "definition": adoption.definition.value,
                "id": adoption.live.id,
                "image": adoption.description.pinned,
                "file": adoption.file,
                "text": adoption.definition.text,
            })
        })
        .collect();
    let mut allow = Vec::new();
    for adoption in adoptions {
        allow.extend(needs(adoption)?.iter().map(ToString::to_string));
    }
    allow.sort();
    allow.dedup();
    let name = match adoptions {
        [one] => format!("adopt {}", one.live.name),
        several => format!("adopt {} containers", several.len()),
    };
    let grants = Grants { allow, ..Grants::default() };
    let job = evaluate::shipped_job(app, &name, SCRIPT, Vec::new(), grants)?;
    Ok(Job { params: json!({ "containers": given }), patience, ..job })
}

/// What recording it takes, and what `mcrun start` and its siblings will: these have what the run had that recorded the
/// service. It is no more than the container has by itself.
fn needs(adoption: &Adoption) -> Result<Vec<Need>> {
    let name = &adoption.live.name;
    let mut needs = containers::effects::needs_of(&adoption.description.spec)?;
    needs.push(Need::write("registry", name));
    needs.push(Need::write("ports", name));
    needs.push(Need::write("files", adoption.file.to_string_lossy()));
    needs.extend(adoption.definition.secrets.iter().map(|(_, secret)| Need::read("secrets", secret)));
    Ok(needs)
}

/// Says what the definition does not.
fn tell(adoption: &Adoption) {
    let name = &adoption.live.name;
    let warning = |what: String| {
        render::note(format_args!("{} {name}: {what}", render::styled(render::YELLOW, "note:")))
    };
    if !adoption.description.unsaid.is_empty() {
        let options = adoption.description.unsaid.join(", ");
        warning(format!("left out, and gone once it is replaced: {options}"));
    }
    for note in &adoption.description.notes {
        warning(render::printable(note));
    }
}

/// Says what to do with the definition, and what has to be configured before.
fn advise(adoption: &Adoption) {
    let Definition { secrets, .. } = &adoption.definition;
    if !secrets.is_empty() {
        render::note(format_args!("before that, mcrun.toml has to say where these come from:"));
        for (variable, secret) in secrets {
            render::note(format_args!("    [secrets.\"{secret}\"]    # what is in ${variable} now"));
            render::note(format_args!("    file = \"…\"\n    to = [\"containers:{}\"]", adoption.live.name));
        }
    }
    let mut needs = containers::effects::needs_of(&adoption.description.spec).unwrap_or_default();
    needs.push(Need::write("registry", &adoption.live.name));
    needs.extend(secrets.iter().map(|(_, secret)| Need::read("secrets", secret)));
    let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
    render::note(format_args!(
        "`mcrun plan {} {}` shows that nothing changes",
        adoption.file.display(),
        allow_arguments(&needs)
    ));
}
