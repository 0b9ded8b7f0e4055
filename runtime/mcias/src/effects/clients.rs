//! Owns `mcias.sso_clients.ensure`, `get`, `list` and `remove`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, FieldChange, Need, Read, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{World, check_node, field};
use crate::driver::{Feature, check_feature};
use crate::name::Name;
use crate::sso::{Client, Type};

fn client_key(context: &Context, id: &str) -> String {
    context.key("mcias", None, &format!("sso_clients/{}", id.to_ascii_lowercase()))
}

/// Makes sure that a service is a client of single sign-on, so that people sign in to it here.
///
/// `secret` of the result is its client secret: a secret that may go to containers of the client's own name (`ID`, `ID-…`), and to
/// where `tokens_to` of `[mcias]` lets it; handing it on takes `secrets:read:mcias.sso_clients/ID`. Only its SHA-256 is compared. A
/// higher `secret_version` makes another one, and the one before is worth nothing at once. PKCE is asked of every client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnsureClient {
    /// Its `client_id`.
    id: String,
    /// How it shows that it is the one: by its secret (`confidential`), or by PKCE alone (`public`), for programs that can
    /// keep nothing secret.
    #[serde(rename = "type", default)]
    kind: Type,
    /// The service that people sign in to, about which the login policy is asked; the id unless given. Another one takes
    /// `mcias:write:sso_clients/SERVICE` as well, and `mcias` itself has none.
    service: Option<String>,
    /// Where browsers may be sent back to: exactly these, letter by letter.
    redirect_uris: Vec<String>,
    /// Where browsers may be sent to after signing out: exactly these.
    #[serde(default)]
    logout_uris: Vec<String>,
    /// Counts its secrets: another number makes another secret. 1 unless given.
    secret_version: Option<u32>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// Makes sure that there is no such client of single sign-on. Its secret and its codes go with it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveClient {
    /// Its `client_id`.
    id: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for EnsureClient {
    const NAME: &'static str = "mcias.sso_clients.ensure";
    const CAPABILITY: &'static str = "mcias:write:sso_clients/ID";
    const EXAMPLE: &'static str = "local client = mcias.sso_clients.ensure { id = \"mcq\", redirect_uris = { \"https://mcq.example/callback\" } }\nprint(client.changed)";
    type World = World;
    type Output = Ensured<Client>;

    fn subject(&self) -> String {
        self.id.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        self.needed()
    }
}

impl Declared for RemoveClient {
    const NAME: &'static str = "mcias.sso_clients.remove";
    const CAPABILITY: &'static str = "mcias:write:sso_clients/ID";
    const EXAMPLE: &'static str = "mcias.sso_clients.remove { id = \"mcq\" }";
    type World = World;
    type Output = Ensured<Client>;

    fn subject(&self) -> String {
        self.id.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("mcias", format!("sso_clients/{}", self.id.parse::<Name>()?))])
    }
}

impl EnsureClient {
    /// Whoever signs in to a client hands it a token of its service, so that takes as much as being the client of that name.
    fn needed(&self) -> Result<Vec<Need>> {
        let client = self.wanted()?;
        let need = |name: &Name| Need::write("mcias", format!("sso_clients/{name}"));
        let foreign = (client.service != client.id).then(|| need(&client.service));
        Ok([need(&client.id)].into_iter().chain(foreign).collect())
    }

    fn wanted(&self) -> Result<Client> {
        let id: Name = self.id.parse()?;
        let service = self.service.as_deref().map(str::parse).transpose()?;
        let client = Client {
            service: service.unwrap_or_else(|| id.clone()),
            id,
            kind: self.kind,
            redirect_uris: self.redirect_uris.iter().cloned().collect(),
            logout_uris: self.logout_uris.iter().cloned().collect(),
            secret_version: self.secret_version.unwrap_or(1),
            secret: None,
        };
        client.check()?;
        Ok(client)
    }
}

fn differences(before: Option<&Client>, after: Option<&Client>) -> Vec<FieldChange> {
    let addresses = |addresses: &BTreeSet<String>| (!addresses.is_empty()).then(|| json!(addresses));
    let of = |read: &dyn Fn(&Client) -> Option<Value>| (before.and_then(read), after.and_then(read));
    let fields = [
        ("type", of(&|client| Some(json!(client.kind)))),
        ("service", of(&|client| Some(json!(client.service)))),
        ("redirect_uris", of(&|client| addresses(&client.redirect_uris))),
        ("logout_uris", of(&|client| addresses(&client.logout_uris))),
        ("secret_version", of(&|client| Some(json!(client.secret_version)))),
    ];
    fields.into_iter().filter_map(|(path, (before, after))| field(path, before, after)).collect()
}

fn change_of(before: Option<&Client>, after: Option<Client>) -> Change<Client> {
    let fields = differences(before, after.as_ref());
    match (before, after) {
        (None, None) => Change::none(None),
        (Some(before), Some(after)) if !after.differs(before) => Change::none(Some(before.clone())),
        (Some(_), None) => Change::to(Action::Remove, None, fields)
            .losing("the secret of a client does not come back: it gets another one"),
        (before, Some(after)) => {
            let action = if before.is_some() { Action::Update } else { Action::Create };
            let keeps =
                |before: &&Client| before.secret_version == after.secret_version && before.kind == after.kind;
            let secret = before.filter(keeps).and_then(|before| before.secret.clone());
            let is_unknown = secret.is_none() && after.kind == Type::Confidential;
            let is_lost = is_unknown && before.is_some();
            let mut change = Change::to(action, Some(Client { secret, ..after }), fields);
            change.unknown = if is_unknown { vec!["secret"] } else { Vec::new() };
            if is_lost { change.losing("the secret before is worth nothing afterwards") } else { change }
        }
    }
}

async fn put(
    world: &World,
    context: &Context,
    before: Option<&Client>,
    after: Option<&Client>,
) -> Result<Applied<Client>> {
    let put = world.driver(context).put_sso_client(before, after).await?;
    Ok(put.map_or_else(Applied::gone, Applied::to))
}

macro_rules! of_clients {
    ($effect:ident, $wanted:expr) => {
        #[async_trait]
        impl effect::Ensure for $effect {
            type State = Client;
            const UNDOABLE: bool = true;

            fn key(&self, context: &Context) -> String {
                client_key(context, &self.id)
            }

            async fn observe(&self, world: &World, context: &Context) -> Result<Option<Client>> {
                check_node(context, self.node.as_deref())?;
                let driver = world.driver(context);
                check_feature(&*driver, Feature::Sso)?;
                driver.sso_client(&self.id.parse()?).await
            }

            async fn change(
                &self,
                _: &World,
                _: &Context,
                before: Option<&Client>,
            ) -> Result<Change<Client>> {
                let wanted: fn(&Self) -> Result<Option<Client>> = $wanted;
                Ok(change_of(before, wanted(self)?))
            }

            async fn apply(
                &self,
                world: &World,
                context: &Context,
                before: Option<&Client>,
                change: &Change<Client>,
            ) -> Result<Applied<Client>> {
                put(world, context, before, change.after.as_ref()).await
            }

            async fn rewind(
                &self,
                _: &World,
                _: &Context,
                now: Option<&Client>,
                earlier: Option<&Client>,
            ) -> Result<Change<Client>> {
                Ok(change_of(now, earlier.cloned()))
            }

            async fn apply_rewind(
                &self,
                world: &World,
                context: &Context,
                now: Option<&Client>,
                earlier: Option<&Client>,
                _: &Change<Client>,
            ) -> Result<Applied<Client>> {
                put(world, context, now, earlier).await
            }
        }
    };
}

of_clients!(EnsureClient, |effect| effect.wanted().map(Some));
of_clients!(RemoveClient, |_| Ok(None));

/// Returns a client of single sign-on, or nothing where there is none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetClient {
    /// Its `client_id`.
    id: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for GetClient {
    const NAME: &'static str = "mcias.sso_clients.get";
    const CAPABILITY: &'static str = "mcias:read:sso_clients/ID";
    const EXAMPLE: &'static str =
        "local client = mcias.sso_clients.get { id = \"mcq\" }\nprint(client and client.service)";
    type World = World;
    type Output = Option<Client>;

    fn subject(&self) -> String {
        self.id.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("mcias", format!("sso_clients/{}", self.id.parse::<Name>()?))])
    }
}

#[async_trait]
impl Read for GetClient {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Client>> {
        check_node(context, self.node.as_deref())?;
        match context.overlay.get::<Client>(&client_key(context, &self.id)) {
            Some(planned) => Ok(planned),
            None => world.driver(context).sso_client(&self.id.parse()?).await,
        }
    }
}

/// Lists clients of single sign-on that the script may read, by id.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListClients {
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for ListClients {
    const NAME: &'static str = "mcias.sso_clients.list";
    const CAPABILITY: &'static str = "mcias:read:sso_clients/ID";
    const EXAMPLE: &'static str =
        "for _, client in mcias.sso_clients.list {} do\n    print(client.id, client.service)\nend";
    type World = World;
    type Output = Vec<Client>;

    fn subject(&self) -> String {
        String::new()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for ListClients {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Client>> {
        check_node(context, self.node.as_deref())?;
        let mut clients = world.driver(context).sso_clients().await?;
        for (planned_key, planned) in context.overlay.beneath::<Client>(&client_key(context, "")) {
            clients.retain(|client| client_key(context, client.id.as_str()) != planned_key);
            clients.extend(planned);
        }
        clients.sort_by(|one, other| one.id.cmp(&other.id));
        clients.retain(|client| {
            context.policy.allows(&Need::read("mcias", format!("sso_clients/{}", client.id)))
        });
        Ok(clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_another_service_take_a_capability_of_that_one() {
        let needed = |service: Option<&str>| {
            let wish =
                json!({ "id": "app", "service": service, "redirect_uris": ["https://app.example/cb"] });
            serde_json::from_value::<EnsureClient>(wish).unwrap().needed()
        };
        let need = |name: &str| Need::write("mcias", format!("sso_clients/{name}"));
        assert_eq!(needed(None).unwrap(), [need("app")]);
        assert_eq!(needed(Some("app")).unwrap(), [need("app")]);
        assert_eq!(needed(Some("mcrun")).unwrap(), [need("app"), need("mcrun")]);
        assert_eq!(needed(Some("mcias")).unwrap_err().code, effect::Code::SsoClient);
    }
}
