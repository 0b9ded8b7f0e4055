//! Owns that whoever follows something goes on to do so only as long as he is let in: his token is looked at again, and the
//! gate is asked again where the rules have changed or his account has.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Error, Result, Timestamp};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::gate::Granted;
use super::{Api, Bearer, Caller, tokens};

/// How often it is looked. Between two changes that costs a look at what is kept in memory.
const BEAT: Duration = Duration::from_secs(1);
/// For how long somebody goes on whose token nobody could look at: as long as an answer about it may be kept.
const UNCERTAIN: Duration = Duration::from_secs(30);

/// The calls that follow something. A test walks through the descriptors, so that none is missing.
const FOLLOWING: [&str; 2] = ["/mcrun.v1.Events/WatchEvents", "/mcrun.v1.Runs/WatchRun"];

/// Whether what a call is answered with goes on.
pub(super) fn follows(call: &str) -> bool {
    FOLLOWING.contains(&call)
}

/// What somebody who follows may see, as of now.
#[derive(Debug, Clone)]
pub(super) struct Live(watch::Receiver<Granted>);

impl Live {
    /// Whether he may do this, too.
    pub(super) fn may(&self, action: &str, object: &str) -> bool {
        self.0.borrow().may(action, object)
    }
}

/// A token that a call presented.
pub(super) struct Presented {
    pub(super) text: Zeroizing<String>,
    pub(super) bearer: Bearer,
    /// Who calls besides: whom the token was presented by.
    pub(super) by: Caller,
}

/// A call that was let in and follows something.
pub(super) struct Following {
    api: Api,
    call: String,
    message: Bytes,
    caller: Caller,
    token: Option<Presented>,
    granted: watch::Sender<Granted>,
    /// When it was last known that the token is valid.
    seen: Timestamp,
}

impl Following {
    pub(super) fn new(
        api: Api,
        (call, message): (&str, Bytes),
        (caller, token): (Caller, Option<Presented>),
        granted: Granted,
    ) -> Self {
        let seen = api.rooms().journal.clock().now();
        let (call, granted) = (call.to_owned(), watch::Sender::new(granted));
        Self { api, call, message, caller, token, granted, seen }
    }

    /// What it may see.
    pub(super) fn live(&self) -> Live {
        Live(self.granted.subscribe())
    }

    /// Looks again and again, until there is a reason to end: what the call would be refused with if it came now.
    pub(super) async fn refused(mut self) -> Error {
        loop {
            tokio::time::sleep(BEAT.min(self.rest())).await;
            if let Err(error) = self.look().await {
                tracing::info!(call = self.call, caller = self.caller.shown(), %error, "what is followed ends");
                return error;
            }
        }
    }

    /// For how long the token is valid yet.
    fn rest(&self) -> Duration {
        let now = self.api.rooms().journal.clock().now();
        self.token.as_ref().map_or(Duration::MAX, |token| token.bearer.until.since(now))
    }

    async fn look(&mut self) -> Result<()> {
        let has_changed = self.look_at_token().await?;
        if has_changed || !Arc::ptr_eq(self.granted.borrow().policy(), &self.api.gate().policy()) {
            let granted = self.api.gate().pass(&self.caller, &self.call, Some(&self.message)).await?;
            self.granted.send_replace(granted);
        }
        Ok(())
    }

    /// Refuses a token that is not valid any more; whether its account has changed.
    async fn look_at_token(&mut self) -> Result<bool> {
        let Some(Presented { text, bearer, by }) = &mut self.token else { return Ok(false) };
        let now = self.api.rooms().journal.clock().now();
        let known = match self.api.bearer(text).await {
            Ok(Some(known)) if now < known.until => known,
            // For those who follow there is no leeway: they were let in long ago.
            Ok(_) => return Err(self.api.gate().refuse_token(by, &self.call)),
            // A peer that does not answer for a moment is no reason to send everybody away.
            Err(_) if now.since(self.seen) < UNCERTAIN => return Ok(false),
            Err(error) => return Err(error),
        };
        self.seen = now;
        if known == *bearer {
            return Ok(false);
        }
        self.caller = tokens::as_bearer(by, &known);
        *bearer = known;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_call_that_goes_on_is_looked_at_again() {
        let set = prost_types::FileDescriptorSet::decode(api::DESCRIPTORS).unwrap();
        let services = set.file.iter().flat_map(|file| &file.service);
        let mut described: Vec<String> = services
            // Routes are answered at a door of their own.
            .filter(|service| service.name() != "Routes")
            .flat_map(|service| {
                let following = service.method.iter().filter(|method| method.server_streaming());
                following.map(move |method| format!("/mcrun.v1.{}/{}", service.name(), method.name()))
            })
            .collect();
        described.sort();
        assert_eq!(described, FOLLOWING);
    }
}
