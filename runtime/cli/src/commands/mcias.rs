//! Owns `mcias`: the first admin, the way back in, and looking. What changes accounts otherwise is a script.

use effect::{Code, Error, Result, Timestamp};
use mcias::Name;
use mcias::driver::{Driver as _, Planned, Question as Asked};
use mcias::policy::moment;
use zeroize::Zeroizing;

use crate::app::App;
use crate::arguments::certs::Passphrase;
use crate::arguments::mcias::{Mcias, NewAdmin, Question};
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::{passphrase, wiring};

pub(super) async fn mcias(app: &App, command: Mcias) -> Result<Exit> {
    match command {
        Mcias::Init(wanted) => init(app, &wanted).await,
        Mcias::Explain(question) => explain(app, &question).await,
        Mcias::RecoverAdmin(wanted) => recover(app, &wanted).await,
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
