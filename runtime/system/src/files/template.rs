//! Owns `files.template`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::units::Mode;
use effect::{Applied, Change, Code, Context, Declared, Ensure, Ensured, Error, Need, Result, Secret};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::object::Object;
use super::owner::Wish;
use super::store::{self, Wanted};
use super::write::{apply, observe};
use super::{diff, key, resolve, rewind};
use crate::World;
use crate::node::only_local;

/// Steps that rendering may take: a loop in a loop must come to an end.
const FUEL: u64 = 5_000_000;
/// The largest text that a template may become.
const LARGEST: usize = 16 << 20;

/// Makes a file have the content that a Jinja template renders to.
///
/// A value that the template uses and `values` does not have is an error. Otherwise as `files.write`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The path, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// The template's text: `port = {{ port }}`.
    template: String,
    /// The values that it may use, by name.
    #[serde(default)]
    values: Map<String, Value>,
    /// Secrets that it may use, by name.
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
    /// The permission bits, such as `"0640"`; a new file has `"0644"` unless given, one with secrets `"0600"`.
    mode: Option<Mode>,
    /// User and group, by number or name: `"850:850"`, `"mcq"`.
    owner: Option<Wish>,
    /// Whether missing folders above it are made.
    #[serde(default)]
    parents: bool,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Template {
    const NAME: &'static str = "files.template";
    const CAPABILITY: &'static str = "files:write:PATH";
    const EXAMPLE: &'static str = "files.template { path = \"app.toml\", template = \"port = {{ port }}\\n\", values = { port = 8080 } }";
    type World = World;
    type Output = Ensured<Object>;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

impl Template {
    async fn wanted(&self, world: &World, context: &Context) -> Result<Wanted> {
        let path = resolve(world.root(), &self.path)?;
        let mut secrets = BTreeMap::new();
        for (name, secret) in &self.secrets {
            let value = context.reveal(secret, &format!("files:{}", path.display())).await?;
            let text =
                std::str::from_utf8(&value).map_err(|_| failure(&self.path, "a secret is not UTF-8 text"))?;
            secrets.insert(name.as_str(), Zeroizing::new(text.to_owned()));
        }
        let content = self.render(&secrets)?;
        let new_mode = if secrets.is_empty() { Mode(0o644) } else { Mode(0o600) };
        let owner = store::owner(self.owner.as_ref())?;
        let (mode, parents, secret) = (self.mode, self.parents, !secrets.is_empty());
        Ok(Wanted { path, content: Some(content), mode, new_mode, owner, parents, secret })
    }

    fn render(&self, secrets: &BTreeMap<&str, Zeroizing<String>>) -> Result<Zeroizing<Vec<u8>>> {
        for value in self.values.values() {
            crate::secrets::refuse(value, "`files.template`: field `values`", "secrets go into `secrets`")?;
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Configuration is not HTML, whatever the file's ending.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let syntax =
            SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failure(&self.path, &error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        let plain = self
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), minijinja::Value::from(minijinja::value::Serde(value))));
        let hidden = secrets.iter().map(|(name, value)| (*name, minijinja::Value::from(value.as_str())));
        let values = minijinja::Value::from_pairs(plain.chain(hidden));
        let mut output = Zeroizing::new(Vec::new());
        environment
            .template_from_named_str(&self.path, &self.template)
            .and_then(|template| template.render_captured_to(values, Bounded(&mut output)).map(drop))
            // Only line and kind: the detailed form quotes values.
            .map_err(|error| failure(&self.path, &error.to_string()))?;
        Ok(output)
    }
}

/// Refuses to grow beyond [`LARGEST`].
struct Bounded<'a>(&'a mut Vec<u8>);

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(std::io::Error::other("the rendered text is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn failure(path: &str, cause: &str) -> Error {
    Error::new(Code::TemplateFailed, format!("the template of `{path}` cannot be rendered")).because(cause)
}

#[async_trait]
impl Ensure for Template {
    type State = Object;

    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        key(context, self.node.as_deref(), &self.path)
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        only_local(context, self.node.as_deref())?;
        observe(self.wanted(world, context).await?, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
    ) -> Result<Change<Object>> {
        self.wanted(world, context).await?.change(context, before)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Object>,
        change: &Change<Object>,
    ) -> Result<Applied<Object>> {
        apply(self.wanted(world, context).await?, context, before, change).await
    }

    async fn observe_whole(&self, world: &World, context: &Context) -> Result<Option<Object>> {
        rewind::observe(resolve(world.root(), &self.path)?, context).await
    }

    async fn rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Object>,
        earlier: Option<&Object>,
    ) -> Result<Change<Object>> {
        let mut change = rewind::compare(context, now, earlier)?;
        if self.secrets.is_empty() {
            change.diff = diff::between(context, now, change.after.as_ref());
        }
        Ok(change)
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
