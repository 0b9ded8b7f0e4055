//! Owns `backup` and `restore`: mcrun's own state as one archive, and the way back. What is in it and how it is checked is
//! the matter of `system::backup`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use effect::units::Size;
use effect::{Code, Error, Result};
use journal::Timestamp;
use serde_json::{Value, json};
use system::backup::{self, Found, Taking};
use zeroize::Zeroizing;

use crate::app::{App, state_folder};
use crate::arguments::Global;
use crate::arguments::certs::Passphrase;
use crate::config::Config;
use crate::execute::ear::Signals;
use crate::exit::Exit;
use crate::{passphrase, render};

/// How a backup is wanted.
pub(super) struct Wish {
    pub(super) out: Option<PathBuf>,
    pub(super) seal: bool,
    pub(super) passphrase: Passphrase,
    pub(super) json: bool,
}

pub(super) async fn backup(app: &App, wish: Wish) -> Result<Exit> {
    let is_sealed = wish.seal || wish.passphrase.passphrase_file.is_some();
    let passphrase = if is_sealed { Some(required(&app.global, &wish.passphrase)?) } else { None };
    let taken = app.clock.now();
    let out = wish.out.unwrap_or_else(|| backup::default_name(&app.node, taken, is_sealed).into());
    let out = whole(&out, &app.state)?;
    let taking = Taking {
        out: out.clone(),
        node: app.node.clone(),
        taken,
        passphrase,
        parents: false,
        token: std::process::id().to_string(),
    };
    let done = backup::take(&app.journal, taking).await?;
    if wish.json {
        render::json(&json!({
            "file": out,
            "sealed": is_sealed,
            "size": done.size,
            "manifest": done.manifest,
        }));
        return Ok(Exit::Done);
    }
    render::out(format_args!(
        "{}: {} with {}, {} packed",
        out.display(),
        render::count(done.manifest.files.len() as u64, "file"),
        Size(done.manifest.size()),
        Size(done.size)
    ));
    if !is_sealed {
        render::note(
            "whoever reads it has every key of this node: keep it where nobody else does, or seal it with `--seal`",
        );
    }
    render::note(format_args!("`mcrun restore {} --check` tries it", out.display()));
    Ok(Exit::Done)
}

/// How a backup is to come back.
pub(super) struct Restoring {
    pub(super) file: PathBuf,
    pub(super) only_check: bool,
    pub(super) passphrase: Passphrase,
    pub(super) json: bool,
}

pub(super) async fn restore(global: &Global, wish: Restoring) -> Result<Exit> {
    let state = state_folder(global)?;
    // Before signals are heard: at the terminal a question ends with Ctrl-C.
    let mut given = match backup::is_sealed(&wish.file) {
        Ok(true) => passphrase::given(global, &wish.passphrase, "passphrase of the backup")?,
        _ => None,
    };
    let (file, only_check, place) = (wish.file.clone(), wish.only_check, state.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&stop);
    let mut signals = Signals::open().ok();
    // Sums, decompression and the look through the database take a while, and nothing else goes on here.
    let mut work = tokio::task::spawn_blocking(move || {
        let mut ask = || Ok(given.take());
        if only_check {
            backup::check(&file, &mut ask, &stops).map(|found| (found, 0))
        } else {
            backup::restore(&file, &mut ask, &place, &stops).map(|restored| (restored.found, restored.rested))
        }
    });
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = next(&mut signals) => {
            stop.store(true, Ordering::Relaxed);
            // What was unpacked holds every key of the node, and is taken away first.
            work.await
        }
    };
    let ended = ended.map_err(|error| Error::ended("a restore ended early", &error))?;
    if ended.is_err() && stop.load(Ordering::Relaxed) {
        render::note("interrupted: nothing was put in place, and nothing is left of it");
        return Ok(Exit::Interrupted);
    }
    let (found, rested) = ended?;
    if wish.json {
        let mut shown = as_json(&found);
        if !only_check {
            shown["state"] = json!(state);
            shown["rested"] = json!(rested);
        }
        render::json(&shown);
        return Ok(Exit::Done);
    }
    tell(&wish.file, &found);
    if only_check {
        render::out("every sum fits, and the database is whole: it can be restored");
        return Ok(Exit::Done);
    }
    render::out(format_args!("it is in place at {}", state.display()));
    if rested > 0 {
        render::note(format_args!(
            "{} under way when it was taken. What they have done since is not recorded, so nobody goes on with them \
             unasked: look with `mcrun runs --only paused`, then `mcrun resume RUN` or `mcrun cancel RUN`",
            if rested == 1 { "1 run was".to_owned() } else { format!("{rested} runs were") }
        ));
    }
    let here = Config::load(global.config.as_deref())?.node_name();
    if here != found.manifest.node {
        render::note(format_args!(
            "it is the state of the node `{}`, and this one is called `{here}`: its services are found under its own name, \
             so set `name` under [node] in mcrun.toml",
            found.manifest.node
        ));
    }
    Ok(Exit::Done)
}

async fn next(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

fn tell(file: &Path, found: &Found) {
    let (manifest, inspected) = (&found.manifest, &found.inspected);
    render::out(format_args!(
        "{}: node {}, taken {} by mcrun {}",
        file.display(),
        manifest.node,
        render::rfc3339(Timestamp(manifest.taken)),
        manifest.mcrun
    ));
    render::out(format_args!(
        "  {} with {}, database of version {}",
        render::count(manifest.files.len() as u64, "file"),
        Size(manifest.size()),
        inspected.version
    ));
    render::out(format_args!(
        "  {}, {}, {} not over, {}, {}",
        render::count(inspected.services, "service"),
        render::count(inspected.runs, "run"),
        inspected.unfinished,
        render::count(inspected.effects, "effect"),
        render::count(inspected.records, "record"),
    ));
}

fn as_json(found: &Found) -> Value {
    let inspected = &found.inspected;
    json!({
        "manifest": found.manifest,
        "database": inspected.version,
        "services": inspected.services,
        "runs": inspected.runs,
        "unfinished": inspected.unfinished,
        "effects": inspected.effects,
        "records": inspected.records,
        "passphrases": found.passphrases,
    })
}

fn required(global: &Global, given: &Passphrase) -> Result<Zeroizing<String>> {
    passphrase::given(global, given, "passphrase for the backup")?.filter(|text| !text.is_empty()).ok_or_else(
        || Error::new(Code::Usage, "a passphrase is needed").hint("give it: `--passphrase-file FILE`"),
    )
}

/// The absolute path of a file whose folder is there, whatever links lead to it: it is the operator's own.
fn whole(file: &Path, state: &Path) -> Result<PathBuf> {
    let wrong = |cause: &dyn std::fmt::Display| {
        Error::new(Code::Usage, format!("`{}` cannot be written", file.display())).because(cause)
    };
    let name = file.file_name().ok_or_else(|| wrong(&"it names no file"))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| wrong(&error))?;
    // Each backup would hold all that were taken before it.
    if state.canonicalize().is_ok_and(|state| folder.starts_with(state)) {
        return Err(wrong(&"it lies in the state directory itself").hint("name another place with `--out`"));
    }
    Ok(folder.join(name))
}
