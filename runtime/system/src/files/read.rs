//! Owns `files.read`.

use async_trait::async_trait;
use effect::units::Size;
use effect::{Code, Context, Declared, Error, Need, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::object::{self, Object};
use super::{blocking, key, resolve};
use crate::World;
use crate::node::only_local;

/// Reads a text file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The path, absolute or relative to the script's folder. Links and `..` are refused.
    path: String,
    /// A larger file is an error.
    #[serde(default = "default_limit")]
    limit: Size,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_limit() -> Size {
    Size(1 << 20)
}

/// The content of a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// The text.
    pub content: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Declared for Read {
    const NAME: &'static str = "files.read";
    const CAPABILITY: &'static str = "files:read:PATH";
    const EXAMPLE: &'static str = "local hosts = files.read { path = \"/etc/hosts\" }\nprint(hosts.size)";
    type World = World;
    type Output = Content;

    fn subject(&self) -> String {
        self.path.clone()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("files", resolve(world.root(), &self.path)?.to_string_lossy())])
    }
}

#[async_trait]
impl effect::Read for Read {
    async fn read(&self, world: &World, context: &Context) -> Result<Content> {
        only_local(context, self.node.as_deref())?;
        let path = resolve(world.root(), &self.path)?;
        let missing = || {
            Error::new(Code::FileFailed, format!("there is no file `{}`", path.display()))
                .hint("`files.stat` tells whether a file exists")
        };
        let content = match context.overlay.get::<Object>(&key(context, self.node.as_deref(), &self.path)) {
            Some(None) => return Err(missing()),
            Some(Some(Object { content: Some(hidden), size, .. })) => {
                if size > self.limit.0 {
                    return Err(object::too_large(&path, self.limit.0));
                }
                context.sealer.open_hidden(&hidden)?
            }
            // Untouched by the plan, or touched in nothing but mode and owner.
            Some(Some(_)) | None => {
                let (path, limit) = (path.clone(), self.limit.0);
                let read = blocking(move || read_file(&path, limit)).await?;
                read.ok_or_else(missing)?
            }
        };
        let size = content.len() as u64;
        match std::str::from_utf8(&content) {
            Ok(text) => Ok(Content { content: text.to_owned(), size }),
            Err(error) => {
                let message = format!("`{}` is not UTF-8 text", path.display());
                Err(Error::new(Code::FileFailed, message).because(error))
            }
        }
    }
}

fn read_file(path: &std::path::Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>> {
    match object::look(path)? {
        None => Ok(None),
        Some((place, stat)) => match object::kind_of(&stat) {
            object::Kind::File => object::read_all(&place, limit).map(Some),
            other => Err(object::refuse_kind(path, other)),
        },
    }
}
