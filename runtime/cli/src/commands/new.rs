//! Owns `new`: a starter project that runs as it is.

use std::fs;
use std::path::Path;

use effect::{Code, Error, Result};

use super::documents::write;
use crate::exit::Exit;
use crate::render;

const DEPLOY: &str = include_str!("new/deploy.lua");
const TEST: &str = include_str!("new/deploy.test.lua");
const README: &str = include_str!("new/README.md");

pub(super) fn project(folder: &Path) -> Result<Exit> {
    let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if taken || folder.is_file() {
        return Err(Error::new(Code::Usage, format!("`{}` is not empty", folder.display()))
            .hint("choose a folder that does not exist yet"));
    }
    write(folder, "deploy.lua", DEPLOY)?;
    write(folder, "deploy.test.lua", TEST)?;
    write(folder, "README.md", README)?;
    write(folder, ".gitignore", ".mcrun/\n")?;
    let global =
        crate::arguments::Global { state: None, config: None, yes: false, no_input: true, verbose: 0 };
    super::documents::types(&global, Some(folder))?;
    render::out(format_args!(
        "{}\n  cd {}\n  mcrun plan deploy.lua --allow '*'\n  mcrun deploy.lua --allow containers --allow exec --allow ports --allow health --allow registry",
        render::styled(render::BOLD, "next:"),
        folder.display()
    ));
    Ok(Exit::Done)
}
