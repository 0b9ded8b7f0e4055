//! Owns what mcrun.toml says of names: `[dns]`, and which driver performs the primitive.

use serde::Deserialize;

/// Which driver performs the primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Zones in the state directory, answered by the edge.
    #[default]
    Embedded,
    /// A server that takes updates as RFC 2136 has them.
    Rfc2136,
    /// A server that speaks as mcns does.
    Rest,
}
