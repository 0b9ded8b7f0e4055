//! Owns following the routes of another mcrun.

use api::v1;
use effect::{Code, Result};
use tonic::Streaming;

use super::connect::unavailable;
use super::convert::{self, Misfit};
use super::{failure, version};
use crate::driver::Standing;
use crate::route::Key;

/// Something that became so on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A route that is there or has changed.
    Put(Box<Standing>),
    /// A route that is gone.
    Removed(Key),
    /// What was there at the beginning has been told.
    Synced,
}

/// What becomes so on the other side, one after the other.
#[derive(Debug)]
pub struct Watch {
    stream: Streaming<v1::WatchResponse>,
    place: String,
    theirs: String,
}

impl Watch {
    pub(super) fn new(stream: Streaming<v1::WatchResponse>, place: String, theirs: String) -> Self {
        Self { stream, place, theirs }
    }

    /// The next change. After an error it is over, and another one begins with what is there.
    ///
    /// # Errors
    /// As [`crate::Driver::list`].
    pub async fn next(&mut self) -> Result<Change> {
        let message = match self.stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Err(unavailable(&self.place, "it ended the watch")),
            Err(status) => {
                let told = failure::told(&status, &self.place, Some(&self.theirs));
                return Err(told.unwrap_or_else(|| unavailable(&self.place, status.message())));
            }
        };
        let misfit = |wrong| {
            let place = format!("the mcrun at {}", self.place);
            version::misfit(Code::ProxyAnswer, wrong, &place, Some(&self.theirs))
        };
        match message.change {
            Some(v1::watch_response::Change::Put(standing)) => {
                Ok(Change::Put(Box::new(convert::standing_from(standing).map_err(misfit)?)))
            }
            Some(v1::watch_response::Change::Removed(key)) => {
                Ok(Change::Removed(convert::key_from(key).map_err(misfit)?))
            }
            Some(v1::watch_response::Change::Synced(v1::Synced {})) => Ok(Change::Synced),
            None => Err(misfit(Misfit::Wrong("a change that is none of those known here".into()))),
        }
    }
}

impl From<Change> for v1::WatchResponse {
    fn from(change: Change) -> Self {
        let change = match change {
            Change::Put(standing) => v1::watch_response::Change::Put(convert::standing_to(&standing)),
            Change::Removed(key) => v1::watch_response::Change::Removed(convert::key_to(&key)),
            Change::Synced => v1::watch_response::Change::Synced(v1::Synced {}),
        };
        Self { change: Some(change) }
    }
}
