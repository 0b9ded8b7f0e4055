//! Owns `secrets`: the sealed store as its operator sees it. No value is taken from an argument or the environment, and
//! none is shown.

mod list;
mod value;

use std::path::Path;

use effect::{Code, Error, Result};
use system::secrets::sealed::{self, Opener, Put, Recipients};
use zeroize::Zeroizing;

use crate::app::App;
use crate::arguments::certs::Passphrase;
use crate::arguments::secrets::{From, Secrets, Value};
use crate::exit::Exit;
use crate::{passphrase, render};

/// No export is larger, in bytes.
const LARGEST: u64 = 64 << 20;

pub(super) async fn secrets(app: &App, command: Secrets) -> Result<Exit> {
    match command {
        Secrets::Set { name, to, value } => {
            let to = (!to.is_empty()).then_some(to);
            put(app, &name, to, &value, false).await?;
        }
        Secrets::Rotate { name, value } => put(app, &name, None, &value, true).await?,
        Secrets::List { json } => list::list(app, json).await?,
        Secrets::RotateKey => {
            let count = app.vault.rotate_key().await?;
            render::note(format_args!("{} sealed with a new key", render::count(count as u64, "version")));
        }
        Secrets::Rewrap { from } => {
            let from = settings(from);
            from.check()?;
            let count = app.vault.rewrap(&from).await?;
            render::note(format_args!("{} sealed anew", render::count(count as u64, "key")));
        }
        Secrets::Remove { name } => {
            super::services::confirm(app, &format!("Remove the secret `{name}` with every version?"))?;
            app.vault.remove(&name).await?;
        }
        Secrets::Export { file, to_age, passphrase } => export(app, &file, to_age, &passphrase).await?,
        Secrets::Import { file, identity, passphrase, replace } => {
            import(app, &file, identity.as_deref(), &passphrase, replace).await?;
        }
    }
    Ok(Exit::Done)
}

async fn put(app: &App, name: &str, to: Option<Vec<String>>, given: &Value, is_there: bool) -> Result<()> {
    // Before anybody types a value for nothing.
    sealed::check_name(name)?;
    if app.config.secrets.contains_key(name) {
        return Err(Error::new(Code::SecretTwice, format!("secret `{name}` is configured in mcrun.toml")));
    }
    let value = value::read(app, name, given)?;
    let by = crate::audit::user().to_string();
    let put = Put { to, by, keep: given.keep, is_there };
    let version = app.vault.put(name, &value, &put).await?;
    drop(value);
    render::note(format_args!("secret {name}@{version} is in force"));
    let behind = list::behind(app, name).await?;
    if !behind.is_empty() {
        render::note(format_args!(
            "{} with an older version until the next deploy: {}",
            render::count(behind.len() as u64, "place"),
            behind.join(", ")
        ));
    }
    let heads = app.vault.heads().await?;
    if heads.get(name).is_some_and(|head| head.to.is_empty()) {
        render::note(format_args!("it may go nowhere yet: `mcrun secrets set {name} --to PATTERN`"));
    }
    Ok(())
}

fn settings(from: From) -> sealed::Settings {
    sealed::Settings {
        key_file: from.from_key_file.map(absolute),
        passphrase_file: from.from_passphrase_file.map(absolute),
        credential: from.from_credential,
        keep: None,
    }
}

fn absolute(file: std::path::PathBuf) -> std::path::PathBuf {
    std::path::absolute(&file).unwrap_or(file)
}

async fn export(app: &App, file: &Path, to_age: Vec<String>, given: &Passphrase) -> Result<()> {
    let recipients = match to_age.is_empty() {
        false => Recipients::Keys(to_age),
        true => Recipients::Passphrase(required(app, given, "passphrase for the export")?),
    };
    let (text, count) = app.vault.export(recipients).await?;
    passphrase::write_new(file, text.as_bytes())?;
    render::note(format_args!("{} in {}", render::count(count as u64, "secret"), file.display()));
    Ok(())
}

async fn import(
    app: &App,
    file: &Path,
    identity: Option<&Path>,
    given: &Passphrase,
    replace: bool,
) -> Result<()> {
    let text = passphrase::read_bounded(file, LARGEST)?;
    let opener = match identity {
        Some(identity) => Opener::Identities(Zeroizing::new(passphrase::read_bounded(identity, 64 * 1024)?)),
        None => Opener::Passphrase(required(app, given, "passphrase of the export")?),
    };
    let by = crate::audit::user().to_string();
    let count = app.vault.import(text, opener, &by, replace).await?;
    render::note(format_args!("{} taken over", render::count(count as u64, "secret")));
    let twice = app.vault.heads().await?.into_keys().find(|name| app.config.secrets.contains_key(name));
    if let Some(name) = twice {
        render::note(format_args!("secret `{name}` is in mcrun.toml, too: take one of both away"));
    }
    Ok(())
}

fn required(app: &App, given: &Passphrase, question: &str) -> Result<Zeroizing<String>> {
    let passphrase = passphrase::given(&app.global, given, question)?;
    passphrase.filter(|passphrase| !passphrase.is_empty()).ok_or_else(|| {
        Error::new(Code::Usage, "there is no passphrase").hint("give it: `--passphrase-file FILE`")
    })
}
