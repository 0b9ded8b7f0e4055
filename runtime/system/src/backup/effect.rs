//! Owns `registry.backup`.

use async_trait::async_trait;
use effect::units::Mode;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, FieldChange, Need, Result,
    Secret,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Taking, take};
use crate::World;
use crate::files::{Kind, Object, resolve, rewind};
use crate::node::only_local;

/// Where the passphrase of a backup goes, for `to` of its secret.
const DESTINATION: &str = "backup";

/// Takes a backup of mcrun's own state: registry, journal, authorities, zones, routes and the keys to what is sealed in
/// them, as one archive that `mcrun restore` puts back. Runs go on meanwhile.
///
/// The archive holds every key of this node, so it takes a capability of its own, `registry:backup`. Keep it where nobody
/// else reads it, or seal it with a passphrase. One that is there already is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The archive: absolute, or relative to the script's folder; links and `..` are refused. Only its owner may read it.
    to: String,
    /// What it is sealed with, in the form of age. Its `to` lists `"backup"`.
    passphrase: Option<Secret>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Backup {
    const NAME: &'static str = "registry.backup";
    const CAPABILITY: &'static str = "registry:backup:PATH";
    const EXAMPLE: &'static str = "registry.backup { to = \"mcrun.tar.zst\" }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.to.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let path = resolve(world.root(), &self.to)?.to_string_lossy().into_owned();
        Ok(vec![Need::extra("registry", "backup", path.clone()), Need::write("files", path)])
    }
}

#[async_trait]
impl Ensure for Backup {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        crate::files::key(context, self.node.as_deref(), &self.to)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        rewind::observe(resolve(world.root(), &self.to)?, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
    ) -> Result<Change<Object>> {
        if let Some(passphrase) = &self.passphrase {
            context.may_go(passphrase, DESTINATION)?;
        }
        let path = resolve(world.root(), &self.to)?;
        match before {
            Some(before) if before.kind == Kind::File => {
                Ok(Change::none(Some(Object { content: None, ..before.clone() })))
            }
            Some(_) => {
                let message = format!("`{}` is no file", path.display());
                Err(Error::new(Code::FileRefused, message).hint("name the archive, not its folder"))
            }
            None => {
                let sealed = self.passphrase.is_some();
                let field = FieldChange {
                    path: "content".into(),
                    before: None,
                    after: Some(json!(if sealed {
                        "mcrun's own state, sealed"
                    } else {
                        "mcrun's own state"
                    })),
                    replaces: false,
                };
                let mut change =
                    Change::to(Action::Create, Some(Object::new_file(&path, Mode(0o600))), vec![field]);
                change.unknown = vec!["size"];
                Ok(if sealed {
                    change
                } else {
                    change.note("it holds the keys of this node, and is not sealed")
                })
            }
        }
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        let missing = || Error::new(Code::Internal, "a backup's change has no outcome");
        let after = change.after.clone().ok_or_else(missing)?;
        let path = resolve(world.root(), &self.to)?;
        let passphrase = match &self.passphrase {
            Some(secret) => Some(text_of(&context.reveal(secret, DESTINATION).await?)?),
            None => None,
        };
        let taking = Taking {
            out: path,
            node: context.node.clone(),
            taken: context.now(),
            passphrase,
            parents: self.parents,
            token: crate::files::token(context),
        };
        let taken = take(&context.journal, taking).await?;
        Ok(Applied::to(Object { size: taken.size, ..after }))
    }

    async fn rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
    ) -> Result<Change<Object>> {
        rewind::compare(context, now, earlier)
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        rewind::apply(context, now, earlier, change).await
    }
}

/// What a restore reads of a passphrase's file.
const LONGEST_PASSPHRASE: usize = 1024;

/// A passphrase is text; the line end that its file has does not belong to it.
fn text_of(value: &[u8]) -> Result<Zeroizing<String>> {
    let text = std::str::from_utf8(value).map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Ok(text) if text.contains(['\n', '\r']) || text.len() > LONGEST_PASSPHRASE => Err(Error::new(
            Code::Argument,
            "field `passphrase`: it has more than one line, or more than 1024 bytes",
        )
        .hint("`mcrun restore` takes one line, and would not open it")),
        Ok(text) if !text.is_empty() => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(Error::new(Code::Argument, "`registry.backup`: the passphrase is empty or no text")),
    }
}
