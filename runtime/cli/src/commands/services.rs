//! Owns `stop`, `start`, `restart` and `undeploy`: a script of one line through the same corridor as every other.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use effect::{Code, Error, Result};

use super::evaluate;
use crate::app::App;
use crate::execute;
use crate::exit::Exit;
use crate::render;

/// A container that is gone comes back with all that its record needs; the operator's policy stays the bound.
const ALLOW: &[&str] = &["*"];

pub(super) async fn operate(app: &App, operation: &str, service: &str) -> Result<Exit> {
    if operation == "undeploy" {
        confirm(app, &format!("Remove `{service}`: its containers, ports and record?"))?;
    }
    let source = format!("--!strict\nrequire(\"@std/services\").{operation}(args[1])\n");
    let name = format!("{operation}.luau");
    let job = evaluate::shipped_job(app, &name, &source, vec![service.to_owned()], ALLOW)?;
    let lock = execute::create(app, &job, Path::new(&name)).await?;
    evaluate::follow(app, job, lock, false).await
}

/// Asks before something goes away that nothing brings back.
fn confirm(app: &App, question: &str) -> Result<()> {
    if app.global.yes {
        return Ok(());
    }
    if app.global.no_input || !std::io::stdin().is_terminal() {
        return Err(Error::new(Code::Usage, format!("not confirmed: {question}")).hint("say `--yes`"));
    }
    render::note(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::new(Code::Usage, "the answer cannot be read").because(error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::new(Code::Usage, "not confirmed, nothing was done")),
    }
}
