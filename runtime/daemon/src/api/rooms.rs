//! Owns what calls need of rooms that others fill in.

use async_trait::async_trait;
use effect::Result;

/// Reads the configuration again.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Keys that were changed and count only after a restart.
    ///
    /// # Errors
    /// Where the configuration is wrong; the one before stays.
    async fn reload(&self) -> Result<Vec<String>>;
}
