//! Owns the description of a container that mcrun did not make: the spec that means exactly what runs, with nothing in it
//! that the image says anyhow, what of it has to be a secret, and what no spec can say.

use effect::{Code, Error, Result};

use crate::diff::{self, Action, SecretTags};
use crate::driver::Driver;
use crate::images::reference::pinned;
use crate::observed::{ImageDefaults, Observed};
use crate::spec::{DEFAULT_STOP_TIMEOUT, Spec};

/// What a container is, in the words of a spec.
#[derive(Debug, Clone)]
pub struct Description {
    /// What means exactly this container.
    pub spec: Spec,
    /// Names of variables in `spec.env` whose values must not be written down.
    pub secret: Vec<String>,
    /// The image with its digest, as a roll-out records it.
    pub pinned: Option<String>,
    /// What goes with the container when it is replaced, because no spec says it.
    pub unsaid: Vec<String>,
    /// What else whoever takes it over should know.
    pub notes: Vec<String>,
}

/// Describes a container as it runs.
///
/// # Errors
/// `MC-C030` when it does not run, or is of a kind that no spec means exactly.
pub(crate) async fn describe(driver: &dyn Driver, live: &Observed) -> Result<Description> {
    if !live.is_up() {
        return Err(refusal(&live.name, &format!("it is {}", live.state.as_str()))
            .hint("only what runs can be compared with its definition: start it first"));
    }
    let mut notes = Vec::new();
    let image = image_of(driver, live, &mut notes).await?;
    let described = image.as_ref().map(|(name, defaults)| (name.as_str(), defaults));
    let mut spec = live.spec(described).map_err(|error| undescribed(live, error))?;
    let defaults = image.as_ref().map(|(_, defaults)| defaults);
    trim(&mut spec, defaults, driver.name());
    check_definable(&spec)?;
    check_words(&spec)?;
    let same = Observed { managed: true, service: Some(live.name.clone()), ..live.clone() };
    check_same(&spec, defaults, &same, driver)?;
    notes.extend(anonymous_volumes(live));
    notes.extend(unit_of(live));
    let secret = spec.env.iter().filter(|(name, value)| looks_secret(name, value));
    Ok(Description {
        secret: secret.map(|(name, _)| name.clone()).collect(),
        pinned: defaults
            .zip(spec.image.as_ref())
            .map(|(image, name)| pinned(name, &image.digests, &image.id)),
        unsaid: driver.unsaid(&live.name).await?,
        notes,
        spec,
    })
}

fn refusal(name: &str, why: &str) -> Error {
    Error::new(Code::NotAdopted, format!("the container `{name}` cannot be taken over: {why}"))
}

fn undescribed(live: &Observed, error: Error) -> Error {
    refusal(&live.name, &error.cause.unwrap_or(error.message)).hint(
        "make it again with a definition of mcrun, which replaces it: `adopt = true` in `containers.ensure`",
    )
}

/// The name of the image that it runs, and what that says. A name that means another image by now does not do.
async fn image_of(
    driver: &dyn Driver,
    live: &Observed,
    notes: &mut Vec<String>,
) -> Result<Option<(String, ImageDefaults)>> {
    let (Some(name), Some(id)) = (&live.image, &live.image_id) else { return Ok(None) };
    let bare = |id: &str| id.trim_start_matches("sha256:").to_owned();
    if let Some(image) = driver.image_defaults(name).await?
        && bare(&image.id) == bare(id)
    {
        return Ok(Some((name.clone(), image)));
    }
    let id = format!("sha256:{}", bare(id));
    let Some(image) = driver.image_defaults(&id).await? else {
        return Err(refusal(&live.name, &format!("its image `{name}` is not on this node any more")).hint(
            "`images.ensure` brings an image; what it means is needed to tell what the container adds",
        ));
    };
    notes.push(format!("`{name}` means another image by now: the definition names this one by its content"));
    Ok(Some((id, image)))
}

/// Takes out what means nothing beyond the defaults.
fn trim(spec: &mut Spec, image: Option<&ImageDefaults>, driver: &str) {
    let of_image = image.and_then(|image| image.stop_signal.as_deref()).unwrap_or("SIGTERM");
    if spec.stop_signal.as_deref().map(diff::normal::signal) == Some(diff::normal::signal(of_image)) {
        spec.stop_signal = None;
    }
    if spec.stop_timeout == Some(DEFAULT_STOP_TIMEOUT) {
        spec.stop_timeout = None;
    }
    // A podman that is not root's has another default.
    let takes_bridge = driver == "docker" || rustix::process::geteuid().is_root();
    if takes_bridge && spec.network.as_deref() == Some("bridge") {
        spec.network = None;
    }
    spec.service = None;
    spec.allow_latest = false;
}

/// What a spec can say and the definition of a service cannot.
fn check_definable(spec: &Spec) -> Result<()> {
    let beyond = [
        (spec.privileged == Some(true), "privileged"),
        (!spec.devices.is_empty(), "devices"),
        (!spec.cap_add.is_empty(), "cap_add"),
    ];
    match beyond.iter().find(|(is_used, _)| *is_used) {
        Some((_, field)) => Err(refusal(&spec.name, &format!("no definition of a service has `{field}`"))
            .hint("write a script with `containers.ensure { adopt = true, … }`, which replaces it")),
        None => Ok(()),
    }
}

/// Compares the container with what was found out of it, as a roll-out will.
fn check_same(
    spec: &Spec,
    image: Option<&ImageDefaults>,
    live: &Observed,
    driver: &dyn Driver,
) -> Result<()> {
    driver.check(spec)?;
    let found = diff::diff(spec, image, Some(live), &SecretTags::new(), driver.features())?;
    if found.action == Action::None {
        return Ok(());
    }
    let fields: Vec<&str> = found.fields.iter().map(|field| field.path.as_str()).collect();
    Err(refusal(&live.name, &format!("no definition means the same: {}", fields.join(", ")))
        .hint("replace it by one that mcrun makes: `adopt = true` in `containers.ensure`"))
}

/// Their data stays with the old container.
fn anonymous_volumes(live: &Observed) -> Option<String> {
    let is_anonymous = |text: &&String| {
        let source = text.split(':').next().unwrap_or_default();
        source.len() == 64 && source.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let targets: Vec<&str> =
        live.volumes.iter().filter(is_anonymous).filter_map(|text| text.split(':').nth(1)).collect();
    let told = || format!("volumes without a name do not follow to a replacement: {}", targets.join(", "));
    (!targets.is_empty()).then(told)
}

/// Two that start one container get into each other's way.
fn unit_of(live: &Observed) -> Option<String> {
    let unit = live.labels.get("PODMAN_SYSTEMD_UNIT")?;
    Some(format!("systemd's unit `{unit}` starts and stops it as well: take it out of that unit's hands"))
}

/// Words of a command line and labels have no place for secrets.
fn check_words(spec: &Spec) -> Result<()> {
    let words: Vec<&String> = [&spec.cmd, &spec.entrypoint].into_iter().flatten().flatten().collect();
    let option = words.iter().enumerate().find_map(|(at, word)| {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word.as_str(), words.get(at + 1).map(|next| next.as_str())),
        };
        let value = value.filter(|value| !value.starts_with('-'))?;
        (option.starts_with('-') && looks_secret(option, value)).then_some(option)
    });
    // A word may be a line of a shell.
    let assigns = |text: &str| {
        let mut parts = text.split_whitespace().filter_map(|part| part.split_once('='));
        parts.any(|(name, value)| looks_secret(name, value))
    };
    let hidden = words.iter().any(|word| is_secret_text(word) || assigns(word)).then_some("a word");
    if let Some(what) = option.or(hidden) {
        return Err(refusal(&spec.name, &format!("its command line has a secret in it: {what}"))
            .hint("give it to the program as a file or variable, and start the container anew"));
    }
    match spec.labels.iter().find(|(name, value)| looks_secret(name, value)) {
        Some((name, _)) => Err(refusal(&spec.name, &format!("its label `{name}` has a secret in it"))
            .hint("labels are read by everybody: start the container anew without it")),
        None => Ok(()),
    }
}

/// What the last word of a name says of its value.
const SECRET_WORDS: [&str; 12] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "KEY",
    "APIKEY",
    "CREDENTIALS",
    "CREDENTIAL",
    "DSN",
];

/// Whether a variable's value must not be written down. Rather one too many: what is taken for a secret is only kept apart.
fn looks_secret(name: &str, value: &str) -> bool {
    if value.is_empty() {
        return false;
    }
    let name = name.to_ascii_uppercase();
    let mut words =
        name.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let is_named = words.clone().any(|word| {
        SECRET_WORDS.contains(&word)
            || ["PASSWORD", "PASSWD", "PASS", "SECRET", "TOKEN"].iter().any(|known| word.ends_with(known))
    });
    // A key is often a file; what is called a password is none, unless its name says so.
    let may_be_path = words.clone().all(|word| {
        let is_said = |known: &&str| word.ends_with(*known);
        word == "KEY"
            || !["PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD", "SECRET", "TOKEN"].iter().any(is_said)
    });
    // The path of a file and a plain switch give nothing away.
    let is_place = words.next_back().is_some_and(|word| ["FILE", "PATH", "DIR"].contains(&word))
        || (may_be_path
            && value.starts_with('/')
            && !value.contains(char::is_whitespace)
            && value.len() < 128);
    let is_switch = ["true", "false", "yes", "no", "on", "off", "0", "1"].contains(&value);
    (is_named && !is_place && !is_switch) || is_secret_text(value)
}

/// A private key, or an address with a password in it.
fn is_secret_text(value: &str) -> bool {
    let has_password = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
    });
    has_password || (value.contains("-----BEGIN ") && value.contains("PRIVATE KEY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_must_not_be_written_down_are_told_by_name_and_form() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("api.token", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("--password", "x"),
            ("PGPASSWORD", "x"),
            ("DATABASE_URL", "postgres://app:pw@db/app"),
            ("CERT", "-----BEGIN EC PRIVATE KEY-----\nMHc"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("LOG_LEVEL", "debug"),
            ("DB_PASSWORD_FILE", "/run/secrets/db"),
            ("TLS_KEY", "/srv/tls/key.pem"),
            ("--tls-key", "/srv/sgard/certs/sgard.key"),
            ("SECRET_ROTATION", "true"),
            ("DATABASE_URL", "postgres://app@db/app"),
            ("KEYBOARD", "de"),
            ("DB_PASSWORD", ""),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }

    #[test]
    fn a_command_line_with_a_secret_is_refused_without_telling_it() {
        for words in [&["--db-password", "hunter2"][..], &["--token=hunter2"], &["http://a:hunter2@b/"]] {
            let cmd = words.iter().map(|word| (*word).to_owned()).collect();
            let error =
                check_words(&Spec { name: "web".into(), cmd: Some(cmd), ..Spec::default() }).unwrap_err();
            assert_eq!(error.code, Code::NotAdopted);
            assert!(!error.message.contains("hunter2"), "{error}");
        }
    }
}
