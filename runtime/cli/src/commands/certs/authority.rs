//! Owns `certs ca`: the embedded authority as a whole.

use std::path::Path;

use certs::certificate::{armoured, to_pem};
use certs::embedded::{Authority, Passphrase, Standing};
use effect::{Code, Error, Result};
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::App;
use crate::arguments::certs::{Ca, Passphrase as Given};
use crate::exit::Exit;
use crate::{passphrase, render, wiring};

/// No export is larger, in bytes.
const LARGEST: u64 = 1 << 30;

pub(super) async fn authority(app: &App, command: Ca) -> Result<Exit> {
    let authority = wiring::authority(app);
    match command {
        Ca::Show { json } => show(app, &authority, json).await?,
        Ca::Init { passphrase } => init(app, &authority, &passphrase).await?,
        Ca::Bundle => {
            must_exist(&authority).await?;
            render::out(to_pem(&authority.trusted().await?).trim_end());
        }
        Ca::Crl { intermediate } => {
            must_exist(&authority).await?;
            let id = match intermediate {
                Some(id) => id,
                None => authority.standing().await?.active.id,
            };
            let list = authority.list_of_revoked(&id).await?;
            render::out(armoured("X509 CRL", &list.der).trim_end());
        }
        Ca::Rotate { root, passphrase, new_passphrase_file, plan } => {
            must_exist(&authority).await?;
            let standing = authority.standing().await?;
            if plan {
                tell_rotation(&standing, root);
                return Ok(Exit::Done);
            }
            let opens = opening(app, &standing, &passphrase)?;
            let made = if root {
                let next = match &new_passphrase_file {
                    Some(file) => Passphrase::Given(passphrase::from_file(file)?),
                    None => Passphrase::Kept,
                };
                authority.rotate_root(&opens, &next).await?
            } else {
                authority.rotate_intermediate(&opens).await?
            };
            render::note(format_args!("intermediate {} signs from now on", made.id));
            if root {
                render::note("a new root is there: give it to your peers with `mcrun certs ca bundle`");
            }
        }
        Ca::TakePassphrase => take_passphrase(&authority).await?,
        Ca::Export { file, passphrase, plan } => export(app, &authority, &file, &passphrase, plan).await?,
        Ca::Import { file, passphrase, plan } => import(app, &authority, &file, &passphrase, plan).await?,
    }
    Ok(Exit::Done)
}

async fn must_exist(authority: &Authority) -> Result<()> {
    if authority.exists().await? {
        return Ok(());
    }
    Err(Error::new(Code::AuthorityInvalid, "there is no authority yet")
        .hint("`mcrun certs ca init` makes it, and so does the first certificate"))
}

async fn show(app: &App, authority: &Authority, as_json: bool) -> Result<()> {
    must_exist(authority).await?;
    let standing = authority.standing().await?;
    let now = app.clock.now();
    if as_json {
        let roots = standing.roots.iter().map(|root| {
            json!({
                "id": root.id,
                "created": root.created.to_string(),
                "not_after": root.not_after.to_string(),
                "certificate": root.certificate,
            })
        });
        let intermediates = standing.intermediates.iter().map(|intermediate| {
            json!({
                "id": intermediate.id,
                "root": intermediate.root,
                "created": intermediate.created.to_string(),
                "not_after": intermediate.not_after.to_string(),
                "constraints": intermediate.constraints,
                "signs": intermediate.id == standing.active.id,
            })
        });
        render::json(&json!({
            "roots": roots.collect::<Vec<_>>(),
            "intermediates": intermediates.collect::<Vec<_>>(),
            "kept_passphrases": standing.kept.values().collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    for root in &standing.roots {
        let left = root.not_after.since(now).as_secs() / 86_400;
        render::out(format_args!("{} {}  {left} days left", render::styled(render::BOLD, "root"), root.id));
        for intermediate in standing.intermediates.iter().filter(|intermediate| intermediate.root == root.id)
        {
            let left = intermediate.not_after.since(now).as_secs() / 86_400;
            let signs = if intermediate.id == standing.active.id { "  signs" } else { "" };
            render::out(format_args!("  intermediate {}  {left} days left{signs}", intermediate.id));
            if !intermediate.constraints.is_empty() {
                render::out(format_args!("    only for {}", intermediate.constraints.join(", ")));
            }
        }
    }
    for path in standing.kept.values() {
        render::note(format_args!(
            "the passphrase of a root lies beside it, in {}: `mcrun certs ca take-passphrase` hands it to you",
            path.display()
        ));
    }
    Ok(())
}

async fn init(app: &App, authority: &Authority, given: &Given) -> Result<()> {
    if authority.exists().await? {
        return Err(Error::new(Code::AuthorityTransfer, "there is an authority here already")
            .hint("`mcrun certs ca show` shows it, `mcrun certs ca rotate` renews it"));
    }
    let with = match passphrase::given(
        &app.global,
        given,
        "passphrase of the new root (empty: one is made and kept)",
    )? {
        Some(text) if !text.is_empty() => Passphrase::Given(text),
        _ => Passphrase::Kept,
    };
    let id = authority.create(with).await?;
    render::note(format_args!("the authority is made; intermediate {id} signs"));
    render::note("peers trust it once they have its root: `mcrun certs ca bundle`");
    Ok(())
}

/// What opens the root that signed the active intermediate: what is kept, unless a person gives something.
fn opening(app: &App, standing: &Standing, given: &Given) -> Result<Passphrase> {
    if given.passphrase_file.is_none() && standing.kept.contains_key(&standing.active.root) {
        return Ok(Passphrase::Kept);
    }
    required(app, given, "passphrase of the root").map(Passphrase::Given)
}

fn required(app: &App, given: &Given, question: &str) -> Result<Zeroizing<String>> {
    passphrase::given(&app.global, given, question)?.filter(|text| !text.is_empty()).ok_or_else(|| {
        Error::new(Code::Usage, "a passphrase is needed").hint("give it: `--passphrase-file FILE`")
    })
}

fn tell_rotation(standing: &Standing, root: bool) {
    let active = &standing.active;
    render::out(format_args!("~ intermediate {} stops signing; what it signed stays valid", active.id));
    render::out("+ intermediate, which signs from then on");
    if root {
        render::out(format_args!("~ root {} certifies the new one and stays trusted", active.root));
        render::out("+ root, which peers have to be given");
    }
}

async fn take_passphrase(authority: &Authority) -> Result<()> {
    must_exist(authority).await?;
    let standing = authority.standing().await?;
    if standing.kept.is_empty() {
        render::note("no passphrase lies on this machine");
        return Ok(());
    }
    for (root, path) in &standing.kept {
        let text = passphrase::from_file(path)?;
        render::out(format_args!("root {root}: {}", text.as_str()));
        authority.take_passphrase(root)?;
    }
    render::note("write it down: without it no new intermediate can be made, and nobody can tell it again");
    Ok(())
}

async fn export(app: &App, authority: &Authority, file: &Path, given: &Given, plan: bool) -> Result<()> {
    must_exist(authority).await?;
    if plan {
        let standing = authority.standing().await?;
        render::out(format_args!(
            "+ {}: {}, {} and the record of what they signed, sealed with a passphrase",
            file.display(),
            render::count(standing.roots.len() as u64, "root"),
            render::count(standing.intermediates.len() as u64, "intermediate"),
        ));
        return Ok(());
    }
    let sealed = authority.export(required(app, given, "passphrase for the file")?).await?;
    passphrase::write_new(file, sealed.as_bytes())?;
    render::note(format_args!(
        "the authority is in {}, sealed; the roots within keep their own passphrases",
        file.display()
    ));
    Ok(())
}

async fn import(app: &App, authority: &Authority, file: &Path, given: &Given, plan: bool) -> Result<()> {
    let sealed = passphrase::read_bounded(file, LARGEST)?;
    if plan {
        let verb = if authority.exists().await? {
            "is refused: there is an authority here already"
        } else {
            "is taken over"
        };
        render::out(format_args!("the authority in {} {verb}", file.display()));
        return Ok(());
    }
    let imported = authority.import(sealed, required(app, given, "passphrase of the file")?).await?;
    render::note(format_args!(
        "taken over: {}, {}, {}",
        render::count(imported.roots, "root"),
        render::count(imported.intermediates, "intermediate"),
        render::count(imported.issued, "certificate"),
    ));
    Ok(())
}
