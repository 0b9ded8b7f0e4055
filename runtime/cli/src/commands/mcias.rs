//! Owns `mcias`: the first admin, the way back in, and looking. What changes accounts is a script of one line; only passwords and
//! keys, of which nothing may be written down, are changed here.

use std::path::Path;
use std::sync::Arc;

use effect::{Code, Error, Result, Timestamp};
use mcias::driver::{Planned, Question as Asked, Via, unknown};
use mcias::policy::moment;
use mcias::{Driver, Name};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::line::{Line, carry_out};
use crate::app::App;
use crate::arguments::How;
use crate::arguments::certs::Passphrase;
use crate::arguments::mcias::{AccountWanted, Mcias, NewAdmin, Question};
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::{passphrase, wiring};

pub(super) async fn mcias(app: &App, command: Mcias) -> Result<Exit> {
    match command {
        Mcias::Init(wanted) => init(app, &wanted).await,
        Mcias::Explain(question) => explain(app, &question).await,
        Mcias::RecoverAdmin(wanted) => recover(app, &wanted).await,
        Mcias::Set(wanted) => set(app, &wanted).await,
        Mcias::SetPassword { name, password } => set_password(app, &name, &password).await,
        Mcias::Disable { name, how } => {
            change(app, "disable", "mcias.accounts.disable", &name, json!({ "name": name }), &how).await
        }
        Mcias::Tokens { name, json } => tokens(app, &name, json).await,
        Mcias::Revoke { name, id, how } => {
            let params = json!({ "account": name, "id": id });
            change(app, "revoke", "mcias.tokens.revoke", &name, params, &how).await
        }
        Mcias::RotateKey => {
            wiring::identity(app).rotate_key().await?;
            render::out("a new key signs from now on; what the old one signed stays valid until it expires");
            Ok(Exit::Done)
        }
        Mcias::Passkeys { name, json } => passkeys(app, &name, json).await,
        Mcias::RemovePasskey { name, id } => {
            wiring::identity(app).remove_passkey(&name, &id).await?;
            render::out(format_args!("`{name}` has this passkey no more"));
            Ok(Exit::Done)
        }
        Mcias::ResetFactors { name } => {
            wiring::identity(app).reset_factors(&name).await?;
            render::out(format_args!("`{name}` has no second factors and no passkeys"));
            Ok(Exit::Done)
        }
        Mcias::Accounts { json } => accounts(app, json).await,
    }
}

async fn init(app: &App, wanted: &NewAdmin) -> Result<Exit> {
    let identity = wiring::identity(app);
    // Nobody types a password for nothing.
    if identity.has_admin().await? {
        return Err(Error::new(Code::FirstAdmin, "there is an admin already"));
    }
    let password = new_password(app, &wanted.password, &format!("Password of `{}`", wanted.name))?;
    let admin = identity.init(&wanted.name, &password).await?;
    render::out(format_args!("`{}` is the first admin, and may sign in to mcrun", admin.name));
    Ok(Exit::Done)
}

async fn recover(app: &App, wanted: &NewAdmin) -> Result<Exit> {
    let password = new_password(app, &wanted.password, &format!("New password of `{}`", wanted.name))?;
    let admin = wiring::identity(app).recover_admin(&wanted.name, &password).await?;
    render::out(format_args!(
        "`{}` is an active admin with this password; its second factors and tokens are gone",
        admin.name
    ));
    Ok(Exit::Done)
}

/// Changes something about an account by a script of one line.
async fn change(
    app: &App,
    operation: &str,
    effect: &str,
    account: &Name,
    params: Value,
    how: &How,
) -> Result<Exit> {
    let name = format!("mcias {operation} {account}");
    carry_out(app, Line { name: &name, effect, params, allow: vec!["mcias".into()] }, how).await
}

async fn set(app: &App, wanted: &AccountWanted) -> Result<Exit> {
    let found = driver(app)?.account(&wanted.name).await?;
    let kind = wanted.kind.or(found.map(|account| account.kind)).unwrap_or_default();
    let params = json!({
        "name": wanted.name,
        "type": kind,
        "email": wanted.email,
        "status": wanted.status,
        "roles": typed(&wanted.roles),
        "groups": typed(&wanted.groups),
        "tags": typed(&wanted.tags),
    });
    change(app, "set", "mcias.accounts.ensure", &wanted.name, params, &wanted.how).await
}

/// What was typed; where nothing was, what there is stays.
fn typed<T>(words: &[T]) -> Option<&[T]> {
    (!words.is_empty()).then_some(words)
}

async fn set_password(app: &App, name: &Name, from: &Passphrase) -> Result<Exit> {
    let driver = driver(app)?;
    let account = driver.account(name).await?.ok_or_else(|| unknown(name))?;
    let password = new_password(app, from, &format!("New password of `{name}`"))?;
    driver.set_password(&account, &password).await?;
    let tokens = driver.tokens(name).await?;
    let sessions = tokens.into_iter().filter(|token| token.via != Via::Issue && !token.revoked);
    let ids: Vec<String> = sessions.map(|token| token.id).collect();
    driver.revoke(name, &ids).await?;
    render::out(format_args!("`{name}` has this password, and is signed out everywhere"));
    Ok(Exit::Done)
}

async fn tokens(app: &App, name: &Name, as_json: bool) -> Result<Exit> {
    let driver = driver(app)?;
    driver.account(name).await?.ok_or_else(|| unknown(name))?;
    let tokens = driver.tokens(name).await?;
    if as_json {
        render::json(&tokens);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["id", "service", "via", "client", "address", "made", "expires"]);
    for token in tokens {
        let expires = match token.revoked {
            true => "revoked".to_owned(),
            false => Timestamp(token.expires_at).to_string(),
        };
        table.row([
            token.id,
            token.service.to_string(),
            token.via.as_str().to_owned(),
            token.client.map(|client| client.to_string()).unwrap_or_default(),
            token.address.map(|address| address.to_string()).unwrap_or_default(),
            Timestamp(token.issued_at).to_string(),
            expires,
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

/// The driver of identity, as configured.
fn driver(app: &App) -> Result<Arc<dyn Driver>> {
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
    wiring::issuer(app, &secrets)
}

/// A password from a file, or typed twice.
fn new_password(app: &App, from: &Passphrase, question: &str) -> Result<Zeroizing<String>> {
    let missing = || {
        Error::new(Code::Usage, "there is no terminal to type a password at")
            .hint("name a file with `--passphrase-file`")
    };
    let password = passphrase::given(&app.global, from, question)?.ok_or_else(missing)?;
    if from.passphrase_file.is_none() {
        let again = passphrase::given(&app.global, from, "The same again")?.ok_or_else(missing)?;
        if *again != *password {
            return Err(Error::new(Code::Usage, "the two passwords differ"));
        }
    }
    Ok(password)
}

async fn explain(app: &App, question: &Question) -> Result<Exit> {
    let at = question.at.as_deref().map(moment).transpose();
    let at = at.map_err(|error| Error { code: Code::Usage, ..error })?;
    let asked = Asked {
        account: &question.name,
        service: &question.service,
        address: question.address,
        at,
        first: question.first_factor,
        planned: Planned::default(),
    };
    let said = wiring::identity(app).explain(&asked).await?;
    let exit = if said.allowed { Exit::Done } else { Exit::Failed };
    if question.json {
        render::json(&said);
        return Ok(exit);
    }
    let word = if said.allowed { "allowed" } else { "refused" };
    render::out(format_args!("{}: {}", render::styled(render::BOLD, word), said.because));
    for tried in &said.tried {
        render::out(format_args!("  {:>5} {}/{}: {}", tried.priority, tried.set, tried.rule, tried.why));
    }
    Ok(exit)
}

async fn passkeys(app: &App, name: &Name, as_json: bool) -> Result<Exit> {
    let passkeys = wiring::identity(app).passkeys(name).await?;
    if as_json {
        render::json(&passkeys);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["name", "made", "used", "id"]);
    for passkey in passkeys {
        let used = passkey.used.map_or_else(|| "never".to_owned(), |used| Timestamp(used).to_string());
        // What its owner calls it is text of anybody.
        let name = passkey.name.escape_debug().to_string();
        table.row([name, Timestamp(passkey.made).to_string(), used, passkey.id]);
    }
    table.print();
    Ok(Exit::Done)
}

async fn accounts(app: &App, as_json: bool) -> Result<Exit> {
    let identity = wiring::identity(app);
    let accounts = identity.accounts().await?;
    if as_json {
        render::json(&accounts);
        return Ok(Exit::Done);
    }
    let list = |words: Vec<&str>| words.join(" ");
    let mut table = Table::new(&["account", "type", "status", "roles", "groups", "factors", "tokens"]);
    for account in &accounts {
        let factors = identity.factors(&account.name).await?;
        let tokens = identity.tokens(&account.name).await?;
        table.row([
            account.name.to_string(),
            account.kind.as_str().to_owned(),
            account.status.as_str().to_owned(),
            list(account.roles.iter().map(|role| role.as_str()).collect()),
            list(account.groups.iter().map(Name::as_str).collect()),
            list(factors.iter().map(|factor| factor.as_str()).collect()),
            tokens.iter().filter(|token| !token.revoked).count().to_string(),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}
