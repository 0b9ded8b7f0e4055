//! Owns the effects `certs.ssh.…`.

mod lists;
mod revoke;
mod sign;

use std::sync::Arc;

use effect::Registry;

use crate::ssh;

pub use lists::{Authorities, Revoked};
pub use revoke::Revoke;
pub use sign::Sign;

/// Registers `certs.ssh.sign`, `certs.ssh.revoke`, `certs.ssh.authorities` and `certs.ssh.revoked`.
pub fn register_ssh(registry: &mut Registry, world: &Arc<ssh::World>) {
    registry.act::<Sign>(world);
    registry.ensure::<Revoke>(world);
    registry.read::<Authorities>(world);
    registry.read::<Revoked>(world);
}
