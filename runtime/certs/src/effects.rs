//! Owns the effects of the primitive: the glue between the corridor and the drivers. Drivers stay free of it.

mod ensure;
mod inspect;
mod issue;
mod remove;
mod renew;
mod revoke;
pub mod ssh;
mod world;

use std::sync::Arc;

use effect::{Code, Context, Error, Registry, Result};

pub use ensure::Ensure;
pub use inspect::{Bundle, Get, List};
pub use remove::Remove;
pub use renew::Renew;
pub use revoke::{Revocation, Revoke};
pub use world::{Means, Parts, Proofs, World};

use crate::certificate::Certificate;

/// Adds every effect of the primitive.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Ensure>(world);
    registry.read::<Get>(world);
    registry.read::<List>(world);
    registry.act::<Renew>(world);
    registry.ensure::<Revoke>(world);
    registry.ensure::<Remove>(world);
    registry.read::<Bundle>(world);
}

/// The key of a certificate; only the local node is known to this version.
fn key(context: &Context, id: &str) -> String {
    context.key("certs", None, id)
}

/// One run at a time orders a certificate: its key and its files belong together.
fn lease(id: &str) -> Option<String> {
    Some(format!("certificate-{id}"))
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

/// The certificate as it stands, with what is amiss about its files.
async fn observe(world: &World, context: &Context, id: &str) -> Result<Option<Certificate>> {
    let Some(mut certificate) = crate::store::certificate(&context.journal, &context.node, id).await? else {
        return Ok(None);
    };
    certificate.revoked |= world.is_revoked(context, &certificate).await?;
    if let Some(placement) = &certificate.files {
        let key = world.key_of(context, &certificate)?;
        for wanted in placement.wanted(&certificate, &key) {
            if !world.files().is_right(context, &wanted).await? {
                certificate.amiss.push(wanted.path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(Some(certificate))
}

fn unknown(id: &str) -> Error {
    Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`"))
}
