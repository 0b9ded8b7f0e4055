//! Owns `emit`.

use effect::{Code, Error, Result};
use serde_json::Value;

use crate::app::App;
use crate::exit::Exit;
use crate::render;

/// No more is told with an event: every run that waits for it keeps a copy.
const LONGEST_DATA: usize = 64 << 10;

pub(super) async fn emit(app: &App, event: &str, data: Option<&str>) -> Result<Exit> {
    system::event::check_name(event).map_err(|reason| {
        Error::new(Code::Usage, format!("`{event}` is no name of an event")).because(format!("it {reason}"))
    })?;
    let data = data.unwrap_or("null");
    if data.len() > LONGEST_DATA {
        return Err(Error::new(
            Code::Usage,
            format!("`--data` has {} bytes, the most is {LONGEST_DATA}", data.len()),
        )
        .hint("put it into a file and tell its path"));
    }
    let data: Value = serde_json::from_str(data).map_err(|error| {
        Error::new(Code::Usage, "`--data` is not JSON")
            .because(error)
            .hint("quote it for the shell: `--data '{ \"from\": \"nightly\" }'`")
    })?;
    app.journal.emit(event, &data.to_string()).await?;
    render::note(format_args!("told `{event}`"));
    Ok(Exit::Done)
}
