//! Owns what `mcrun.toml` says of playbooks under `[playbooks]`.

use std::path::{Component, PathBuf};
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result};
use serde::Deserialize;

/// Each is listed at every look.
const MOST_FOLDERS: usize = 64;
const SETTLE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(10));
const POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
const MOST_VERSIONS: u32 = 1000;

/// `[playbooks]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folders that playbooks come from: each `.lua` and `.luau` file that lies directly in one.
    pub folders: Vec<PathBuf>,
    /// A change is loaded when nothing has changed for so long.
    pub settle: Span,
    /// How often folders are looked at although nothing was heard: not every file system tells of changes.
    pub poll: Span,
    /// How many versions of each playbook are kept.
    pub versions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            settle: Span(Duration::from_millis(25)),
            poll: Span::seconds(10),
            versions: 50,
        }
    }
}

impl Settings {
    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Error::new(Code::Config, message);
        if self.folders.len() > MOST_FOLDERS {
            return Err(wrong(format!("`playbooks.folders` has more than {MOST_FOLDERS} folders")));
        }
        for (index, folder) in self.folders.iter().enumerate() {
            let shown = folder.display();
            let is_plain =
                folder.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !folder.is_absolute() || !is_plain {
                let message = format!("`playbooks.folders` has `{shown}`, which is no absolute path");
                return Err(wrong(message).hint("write it from `/` on, without `..`"));
            }
            if self.folders[..index].contains(folder) {
                return Err(wrong(format!("`playbooks.folders` has `{shown}` twice")));
            }
        }
        within("settle", self.settle, SETTLE)?;
        within("poll", self.poll, POLL)?;
        if !(1..=MOST_VERSIONS).contains(&self.versions) {
            return Err(wrong(format!("`playbooks.versions` is not between 1 and {MOST_VERSIONS}")));
        }
        Ok(())
    }
}

fn within(key: &str, span: Span, (least, most): (Duration, Duration)) -> Result<()> {
    if (least..=most).contains(&span.0) {
        return Ok(());
    }
    let message = format!("`playbooks.{key}` is not between {} and {}", Span(least), Span(most));
    Err(Error::new(Code::Config, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        settings.check().map_err(|error| {
            assert_eq!(error.code, Code::Config);
            error.message
        })?;
        Ok(settings)
    }

    #[test]
    fn a_folder_is_all_that_must_be_given() {
        let settings = read("folders = [\"/etc/mcrun/playbooks\"]").unwrap();
        assert_eq!(settings.folders, [PathBuf::from("/etc/mcrun/playbooks")]);
        assert_eq!((settings.settle.0, settings.versions), (Duration::from_millis(25), 50));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        for (text, part) in [
            ("folders = [\"playbooks\"]", "playbooks.folders"),
            ("folders = [\"/etc/../srv\"]", "playbooks.folders"),
            ("folders = [\"/a\", \"/a\"]", "twice"),
            ("settle = \"1ms\"", "playbooks.settle"),
            ("settle = \"1m\"", "playbooks.settle"),
            ("poll = \"10ms\"", "playbooks.poll"),
            ("versions = 0", "playbooks.versions"),
            ("versions = 1001", "playbooks.versions"),
            ("folder = [\"/a\"]", "unknown field"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
