//! Owns what is asked about each call before the rules of `[routes.api]` are: whether the policy of access lets it through.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use effect::{Code, Error, Result};

use crate::route::Key;

/// Whoever knows the policy, and who is at the other end of one connection.
#[async_trait]
pub trait Doorkeeper: Send + Sync {
    /// Lets a call through, `/mcrun.v1.Routes/AddRoute`, or refuses it. `message` is what it says, in its frame.
    ///
    /// # Errors
    /// Why it may not be made.
    async fn pass(&self, call: &str, message: &[u8]) -> Result<Arc<dyn Pass>>;
}

/// What a call was let through with.
pub trait Pass: Send + Sync {
    /// Whether whoever made it may look at this route.
    fn may_see(&self, key: &Key) -> bool;
}

/// A call that is asked about, and asked about again where it goes on.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) keeper: Arc<dyn Doorkeeper>,
    pub(super) call: String,
    pub(super) message: Bytes,
}

impl Entry {
    pub(super) async fn pass(&self) -> Result<Passed> {
        Ok(Passed(self.keeper.pass(&self.call, &self.message).await?))
    }
}

/// What this call was let through with. It goes along with the call.
#[derive(Clone)]
pub(super) struct Passed(pub(super) Arc<dyn Pass>);

impl std::fmt::Debug for Passed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Passed")
    }
}

/// The refusal of a call about which nobody was asked.
pub(super) fn not_asked() -> Error {
    Error::new(Code::ProxyRefused, "nobody has said who makes this call")
}
