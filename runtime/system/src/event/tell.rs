//! Owns `notify.event`: a run tells that something happened.

use async_trait::async_trait;
use effect::{Act, Code, Context, Declared, Error, Need, OnDoubt, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::check_name;
use crate::World;

/// No event carries more, in bytes.
const LARGEST: usize = 64 * 1024;

/// Tells that an event has happened, as `mcrun emit` does: playbooks start on it, and runs that wait for it go on.
///
/// After a kill it may be told a second time, rather than not at all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    /// The event's name, such as `"disk.filling"`.
    name: String,
    /// What is told with it.
    #[serde(default)]
    data: Map<String, Value>,
}

impl Declared for Tell {
    const NAME: &'static str = "notify.event";
    const CAPABILITY: &'static str = "notify:write:EVENT";
    const EXAMPLE: &'static str = "notify.event { name = \"db.restored\", data = { from = 7 } }";
    type World = World;
    type Output = ();

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        match check_name(&self.name) {
            Ok(()) => Ok(vec![Need::write("notify", &self.name)]),
            Err(reason) => Err(Error::new(Code::Argument, format!("`notify.event`: field `name` {reason}"))),
        }
    }
}

#[async_trait]
impl Act for Tell {
    fn on_doubt(&self) -> OnDoubt {
        OnDoubt::Redo
    }

    fn assume(&self) -> Option<Value> {
        Some(Value::Null)
    }

    fn admit(&self, _: &World, _: &Context) -> Result<()> {
        let size = serde_json::to_string(&self.data).map_or(usize::MAX, |text| text.len());
        if size <= LARGEST {
            return Ok(());
        }
        Err(Error::new(
            Code::TooLarge,
            format!("the event `{}` carries more than {LARGEST} bytes", self.name),
        ))
    }

    async fn act(&self, _: &World, context: &Context, _: &str) -> Result<()> {
        let data = Value::Object(self.data.clone()).to_string();
        Ok(context.journal.emit(&self.name, &data).await?)
    }
}
