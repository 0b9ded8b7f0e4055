//! Owns the check that an effect is meant for this node.

use effect::{Code, Context, Error, Result};

/// Refuses a call for another machine.
pub(crate) fn only_local(context: &Context, node: Option<&str>) -> Result<()> {
    match node {
        Some(node) if node != context.node => {
            let message = format!("`{node}` is another node; this one is `{}`", context.node);
            Err(Error::new(Code::NodeUnknown, message).hint("leave `node` out, or run the script there"))
        }
        _ => Ok(()),
    }
}
