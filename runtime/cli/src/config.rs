//! Owns `mcrun.toml`: where it is looked for, what it may say, and errors that name file, line and key.

#[cfg(test)]
mod example;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effect::units::Span;
use effect::{Code, Error, Result, access};
use rustix::fs::OFlags;
use serde::Deserialize;
use system::secrets::SecretSource;

/// No configuration is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// The configuration. Unknown keys are errors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) node: Node,
    #[serde(default)]
    pub(crate) drivers: Drivers,
    pub(crate) policy: Option<PolicyBound>,
    #[serde(default)]
    pub(crate) retention: Retention,
    #[serde(default)]
    pub(crate) daemon: daemon::runs::Settings,
    #[serde(default)]
    pub(crate) playbooks: daemon::playbooks::Settings,
    #[serde(default)]
    pub(crate) certs: certs::Settings,
    #[serde(default)]
    pub(crate) dns: dns::Settings,
    #[serde(default)]
    pub(crate) routes: routes::Settings,
    #[serde(default)]
    pub(crate) mcias: mcias::Settings,
    pub(crate) webhooks: Option<daemon::triggers::webhook::Settings>,
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    #[serde(default)]
    pub(crate) secrets_store: system::secrets::sealed::Settings,
    #[serde(default)]
    pub(crate) monitors: daemon::monitors::Settings,
    pub(crate) telemetry: Option<daemon::telemetry::Settings>,
    #[serde(default)]
    pub(crate) access: access::Settings,
    /// `access`, compiled, with what `daemon.api` says of callers.
    #[serde(skip)]
    pub(crate) compiled: Arc<access::Policy>,
    /// The file it came from.
    #[serde(skip)]
    pub(crate) file: Option<PathBuf>,
    /// As it was written: what a later version of the file is compared with.
    #[serde(skip)]
    pub(crate) table: toml::Table,
}

/// This machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Its name; the host name unless given.
    pub(crate) name: Option<String>,
    /// The address under which others reach it, to which names of its services lead.
    pub(crate) address: Option<std::net::IpAddr>,
}

/// Which driver performs which primitive.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drivers {
    #[serde(default)]
    pub(crate) containers: Containers,
    #[serde(default)]
    pub(crate) certs: certs::Choice,
    #[serde(default)]
    pub(crate) dns: dns::Choice,
    #[serde(default)]
    pub(crate) routes: routes::Choice,
    #[serde(default)]
    pub(crate) mcias: mcias::Choice,
    pub(crate) remote: Option<routes::remote::Settings>,
    pub(crate) issuer: Option<mcias::remote::Issuer>,
    pub(crate) openid: Option<mcias::remote::Provider>,
    pub(crate) rfc2136: Option<dns::rfc2136::Settings>,
    pub(crate) rest: Option<dns::rest::Settings>,
    pub(crate) acme: Option<certs::acme::driver::Settings>,
    pub(crate) vault: Option<certs::vault::Settings>,
    #[serde(default)]
    pub(crate) caddy: routes::caddy::Settings,
    #[serde(default)]
    pub(crate) podman: Podman,
    #[serde(default)]
    pub(crate) docker: Docker,
}

impl Drivers {
    /// The driver of identity.
    pub(crate) fn identity(&self) -> Result<mcias::settings::Chosen> {
        let external = mcias::settings::External { issuer: self.issuer.clone(), openid: self.openid.clone() };
        external.chosen(self.mcias)
    }
}

/// `drivers.containers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Containers {
    /// Whatever is there.
    #[default]
    Auto,
    /// podman.
    Podman,
    /// docker.
    Docker,
    /// Native processes only.
    Process,
}

/// `drivers.podman`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Podman {
    /// Its socket.
    pub(crate) socket: Option<PathBuf>,
}

/// `drivers.docker`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Docker {
    /// Its socket.
    pub(crate) socket: Option<PathBuf>,
}

/// `policy`: the upper bound of what scripts may do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyBound {
    /// Capabilities.
    pub(crate) scripts: Vec<String>,
}

/// `retention`: which finished runs `mcrun gc` keeps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Those that ended within this time.
    pub(crate) age: Span,
    /// At most so many, the newest.
    pub(crate) runs: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Span::seconds(90 * 86_400), runs: 10_000 }
    }
}

impl Config {
    /// Reads the file that was named, else the first that exists in the usual places.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self> {
        let file = match named {
            Some(file) => Some(file.to_owned()),
            None => usual_places().into_iter().find(|file| file.is_file()),
        };
        match file {
            Some(file) => Self::read(&file),
            None => Ok(Self { compiled: Arc::new(access::Policy::new(&[], Vec::new())?), ..Self::default() }),
        }
    }

    fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let text = text_of(file)
            .map_err(|error| Error::new(Code::Config, format!("`{shown}` cannot be read")).because(error))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| wrong_in(file, &text, &error))?;
        config.file = Some(file.to_owned());
        // It was read as such above.
        config.table = text.parse().unwrap_or_default();
        config.settle(file.parent()).map_err(|error| within(&shown.to_string(), error))?;
        Ok(config)
    }

    /// What the operator's policy grants scripts and playbooks at most; none where there is no policy.
    pub(crate) fn granted(&self) -> Option<&[String]> {
        self.policy.as_ref().map(|policy| policy.scripts.as_slice())
    }

    /// Refuses what makes no sense, and compiles what is asked often. Files that it names lie in `folder`, where they have no
    /// whole path.
    fn settle(&mut self, folder: Option<&Path>) -> Result<()> {
        self.check()?;
        let mut rules = self.access.rules.clone();
        let mut own = None;
        if let Some(file) = &mut self.access.file {
            *file = folder.unwrap_or(Path::new("")).join(&file);
            let text = read_text(file)?;
            let mut said: access::File =
                toml::from_str(&text).map_err(|error| wrong_in(file, &text, &error))?;
            rules.append(&mut said.rules);
            own = Some((file.display().to_string(), said.four_eyes));
        }
        let named = self.daemon.api.rules().into_iter().chain(self.routes.api.rules());
        let mut compiled = access::Policy::new(&rules, named.collect())?
            .with_four_eyes(&self.access.four_eyes)
            .map_err(|error| within("[access]", error))?;
        if let Some((file, four_eyes)) = own {
            // Both count. A mistake of one is told even where the other wants four eyes of everything.
            compiled = compiled.with_four_eyes(&four_eyes).map_err(|error| within(&file, error))?;
        }
        self.compiled = Arc::new(compiled);
        Ok(())
    }

    /// Who may make which calls of the API.
    pub(crate) fn access(&self) -> Arc<access::Policy> {
        self.compiled.clone()
    }

    /// What the syntax cannot tell: capabilities and secrets that make no sense.
    fn check(&self) -> Result<()> {
        if let Some(policy) = &self.policy {
            effect::Policy::new(Some(&policy.scripts), &effect::policy::Grants::default())?;
        }
        self.daemon.check()?;
        self.playbooks.check()?;
        self.certs.check()?;
        self.dns.check()?;
        self.routes.check()?;
        self.mcias.check()?;
        self.drivers.identity()?;
        self.webhooks.iter().try_for_each(daemon::triggers::webhook::Settings::check)?;
        self.drivers.remote.iter().try_for_each(routes::remote::Settings::check)?;
        self.monitors.check()?;
        self.telemetry.iter().try_for_each(daemon::telemetry::Settings::check)?;
        self.secrets_store.check()?;
        // No script lies in this folder, so only the sources themselves are looked at.
        system::SecretStore::new(&self.secrets, Path::new("/dev/null"))?;
        Ok(())
    }

    /// Refuses a configuration that lies where scripts lie: whoever may write a script must not write its policy.
    pub(crate) fn check_apart_from(&self, script_folder: &Path) -> Result<()> {
        let beneath = |file: &&PathBuf| {
            std::fs::canonicalize(file).unwrap_or_else(|_| (*file).clone()).starts_with(script_folder)
        };
        let Some(file) = [&self.file, &self.access.file].into_iter().flatten().find(beneath) else {
            return Ok(());
        };
        let message = format!("`{}` lies in the script's own folder", file.display());
        Err(Error::new(Code::Config, message)
            .because("policy and secrets must come from somewhere that whoever edits scripts does not edit")
            .hint("move it to ~/.config/mcrun/mcrun.toml or /etc/mcrun/mcrun.toml"))
    }

    /// This node's name.
    pub(crate) fn node_name(&self) -> String {
        self.node.name.clone().unwrap_or_else(|| {
            rustix::system::uname()
                .nodename()
                .to_str()
                .ok()
                .filter(|name| !name.is_empty())
                .unwrap_or("local")
                .to_owned()
        })
    }
}

/// The same mistake, with where it stands.
fn within(place: &str, error: Error) -> Error {
    let wrong = Error::new(Code::Config, format!("{place}: {}", error.message));
    error.hint.into_iter().fold(wrong, Error::hint)
}

/// The text of a file of the configuration.
pub(crate) fn read_text(file: &Path) -> Result<String> {
    text_of(file).map_err(|error| {
        Error::new(Code::Config, format!("`{}` cannot be read", file.display())).because(error)
    })
}

/// What is wrong in a file, and where: `mcrun.toml:3:1`.
pub(crate) fn wrong_in(file: &Path, text: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map(|span| {
        let before = &text[..span.start.min(text.len())];
        let line = before.rsplit('\n').next().unwrap_or_default();
        format!(":{}:{}", before.matches('\n').count() + 1, line.chars().count() + 1)
    });
    mistake(&format!("{}{}", file.display(), place.unwrap_or_default()), error.message())
}

/// The text of a file within its bounds: a pipe may never be written to, a device never end.
fn text_of(file: &Path) -> std::io::Result<String> {
    let refused = |why: &str| Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(file)?;
    let kind = opened.metadata()?.file_type();
    // A device ends at once, as `/dev/null`, or at the bound.
    if !kind.is_file() && !kind.is_char_device() {
        return refused("it is not a regular file");
    }
    let mut text = String::new();
    if opened.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        return refused("it is larger than 1 MiB");
    }
    Ok(text)
}

/// A mistake in the file, in our words where it is a key or a value that this version does not know.
fn mistake(place: &str, said: &str) -> Error {
    const USUAL: &str = "`deploy/mcrun.toml`, which a package has as /usr/share/doc/mcrun/mcrun.toml, explains every key; `mcrun doctor` checks the whole file";
    let plain = || Error::new(Code::Config, format!("{place}: {said}")).hint(USUAL);
    let Some((what, rest)) = ["field", "variant"]
        .into_iter()
        .find_map(|what| Some((what, said.strip_prefix(&format!("unknown {what} `"))?)))
    else {
        return plain();
    };
    let Some((given, expected)) = rest.split_once('`') else { return plain() };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let what = if what == "field" { "key" } else { "value" };
    let error = Error::new(
        Code::Config,
        format!("{place}: this version of mcrun does not know the {what} `{given}`"),
    );
    let error = match known.as_slice() {
        [] => error,
        known => error.because(format!("known here: {}", known.join(", "))),
    };
    match effect::policy::nearest(given, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("take it out; {USUAL}")),
    }
}

fn usual_places() -> Vec<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    home.map(|home| home.join("mcrun/mcrun.toml"))
        .into_iter()
        .chain([PathBuf::from("/etc/mcrun/mcrun.toml")])
        .collect()
}
