//! Owns playbooks: what a file says it is, where files come from, which version of each is active, and what is wrong with
//! those that cannot be loaded. When one is started is left to `triggers`, how to `runs`.

mod claims;
mod definition;
mod fields;
mod folder;
mod grants;
pub mod history;
mod keep;
mod keeper;
mod loader;
mod look;
mod on;
pub mod params;
mod places;
mod read;
mod settings;
mod shelf;
mod state;
mod table;
mod watching;
mod ways;

pub use self::definition::{
    At, CatchUp, Cron, Definition, Every, Filter, Forge, OnEvent, OnFile, OnWebhook, Overlap, Parameter,
    ParameterKind, Trigger,
};
pub use self::folder::list as files;
pub(crate) use self::folder::{Identity, identity};
pub use self::grants::{grants, lacking, lacking_note};
pub use self::keeper::Keeper;
pub use self::loader::{Loader, Mistake, Parts, Text};
pub use self::places::{Places, calls_playbook, names_playbook};
pub use self::read::{Misread, check_name, read};
pub use self::settings::Settings;
pub use self::shelf::{Options, Shelf};
pub use self::table::{Broken, Playbook, Table};
