//! Owns the effects of the primitive: the glue between the corridor and the drivers. Drivers stay free of it.
//!
//! Capabilities name what they are about: `accounts/NAME`, `roles/ROLE`, `tokens/NAME` (whose tokens), `policy/SET`,
//! `sso_clients/ID`.

mod account;
mod accounts;
mod clients;
mod disable;
mod inspect;
mod login;
mod policy;
mod roles;
mod tokens;
mod world;

use std::sync::Arc;

use effect::{Code, Context, Error, FieldChange, Need, Registry, Result};
use serde_json::Value;

pub use accounts::Ensure;
pub use clients::{EnsureClient, GetClient, ListClients, RemoveClient};
pub use disable::Disable;
pub use inspect::{Get, List};
pub use login::{LoginTest, Whoami};
pub use policy::EnsurePolicy;
pub use roles::{Grant, Revoke};
pub use tokens::{Issue, RevokeTokens, Validate};
pub use world::{Parts, World};

use crate::account::Role;

/// Adds every effect of the primitive.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Ensure>(world);
    registry.ensure::<Disable>(world);
    registry.read::<Get>(world);
    registry.read::<List>(world);
    registry.ensure::<Grant>(world);
    registry.ensure::<Revoke>(world);
    registry.act::<Issue>(world);
    registry.ensure::<RevokeTokens>(world);
    registry.read::<Validate>(world);
    registry.ensure::<EnsurePolicy>(world);
    registry.read::<LoginTest>(world);
    registry.read::<Whoami>(world);
    registry.ensure::<EnsureClient>(world);
    registry.read::<GetClient>(world);
    registry.read::<ListClients>(world);
    registry.ensure::<RemoveClient>(world);
}

fn check_node(context: &Context, node: Option<&str>) -> Result<()> {
    match node {
        Some(node) if node != context.node => Err(Error::new(
            Code::NodeUnknown,
            format!("`{node}` is another node; this one is `{}`", context.node),
        )
        .hint("leave `node` out, or run the script there")),
        _ => Ok(()),
    }
}

fn writes_role(role: Role) -> Need {
    Need::write("mcias", format!("roles/{}", role.as_str()))
}

fn no_outcome() -> Error {
    Error::new(Code::Internal, "a change of identity has no outcome")
}

fn field(path: &str, before: Option<Value>, after: Option<Value>) -> Option<FieldChange> {
    (before != after).then(|| FieldChange { path: path.into(), before, after, replaces: false })
}
