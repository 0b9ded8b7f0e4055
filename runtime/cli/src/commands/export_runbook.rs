//! Owns `export-runbook`: what recreates every service without mcrun, on standard output or in a file.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use effect::Result;

use crate::app::App;
use crate::exit::Exit;
use crate::{render, runbook};

pub(super) async fn export_runbook(app: &App, out: Option<&Path>) -> Result<Exit> {
    let text = runbook::text(app).await?;
    match out {
        Some(file) => {
            runbook::write(file, &text)?;
            render::note(format_args!("`sh {}` recreates what is recorded, without mcrun", file.display()));
        }
        None if std::io::stdout().is_terminal() => render::out(render::printable(text.trim_end())),
        None => {
            // As it is: words of services may look like colours. A reader that has gone wants no more.
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        }
    }
    Ok(Exit::Done)
}
