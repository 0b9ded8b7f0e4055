//! Owns `registry.remove`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensure, Ensured, FieldChange, Need, Result};
use journal::{Expect, Write};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{SERVICE, Service, decode, rewind};
use crate::World;
use crate::node::only_local;
use crate::ports::check_service_name;

/// Makes the registry not have a service. Its releases stay as history.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The service.
    service: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for Remove {
    const NAME: &'static str = "registry.remove";
    const CAPABILITY: &'static str = "registry:write:SERVICE";
    const EXAMPLE: &'static str = "registry.remove { service = \"hello\" }";
    type World = World;
    type Output = Ensured<Service>;

    fn subject(&self) -> String {
        self.service.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        Ok(vec![Need::write("registry", &self.service)])
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone())
    }
}

impl Remove {
    fn node<'a>(&'a self, context: &'a Context) -> &'a str {
        self.node.as_deref().unwrap_or(&context.node)
    }
}

#[async_trait]
impl Ensure for Remove {
    type State = Service;
    const OWN_RECORDS: bool = true;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        context.key("registry", self.node.as_deref(), &self.service)
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Service>> {
        only_local(context, self.node.as_deref())?;
        let record = context.journal.record(SERVICE, self.node(context), &self.service).await?;
        record.map(|record| decode(&record.value)).transpose()
    }

    async fn change(&self, _: &World, _: &Context, before: Option<&Service>) -> Result<Change<Service>> {
        let Some(before) = before else { return Ok(Change::none(None)) };
        let field = FieldChange {
            path: "version".into(),
            before: before.version.as_ref().map(|version| json!(version)),
            after: None,
            replaces: false,
        };
        let fields = if before.version.is_some() { vec![field] } else { Vec::new() };
        Ok(Change::to(Action::Remove, None, fields))
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Service>,
        _: &Change<Service>,
    ) -> Result<Applied<Service>> {
        let write = Write {
            kind: SERVICE.to_owned(),
            node: self.node(context).to_owned(),
            name: self.service.clone(),
            value: None,
            expect: Expect::Any,
        };
        Ok(Applied::gone().writing(vec![write]))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Service>,
        earlier: Option<&Service>,
    ) -> Result<Change<Service>> {
        Ok(rewind::compare(now, earlier))
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        _: Option<&Service>,
        earlier: Option<&Service>,
        _: &Change<Service>,
    ) -> Result<Applied<Service>> {
        Ok(rewind::apply(self.node(context), &self.service, earlier))
    }
}
