//! Owns what is told over streams, as the command line hears it.

use api::v1;
use effect::Result;
use serde_json::Value;
use tonic::Streaming;

use super::Client;
use crate::api::convert;
use crate::runs::Told;

/// What is told of a run.
#[derive(Debug, Clone)]
pub enum Heard {
    /// The first word: where it stands.
    Standing(Box<v1::Run>),
    /// What happens. [`Told::End`] is not among it.
    Told(Told),
    /// The last word: where it has come to.
    End {
        /// The run.
        run: Box<v1::Run>,
        /// The exit code of its outcome.
        exit_code: u8,
        /// The error with its place and stack.
        trouble: Option<Value>,
    },
}

/// What happens in a run.
#[derive(Debug)]
pub struct Watch {
    pub(super) client: Client,
    pub(super) stream: Streaming<v1::WatchRunResponse>,
}

/// Events as they happen.
#[derive(Debug)]
pub struct Events {
    pub(super) client: Client,
    pub(super) stream: Streaming<v1::WatchEventsResponse>,
}

impl Watch {
    /// What is told next; none when nothing more will be.
    ///
    /// # Errors
    /// As [`Client::call`]: the run goes on without its watcher.
    pub async fn next(&mut self) -> Result<Option<Heard>> {
        use v1::watch_run_response::Told as Message;
        loop {
            let message = match self.stream.message().await {
                Ok(Some(message)) => message.told,
                Ok(None) => return Ok(None),
                Err(status) => return Err(self.client.failed(status).await),
            };
            // A newer daemon may tell what is not known here.
            let Some(message) = message else { continue };
            return Ok(Some(match message {
                Message::Standing(run) => Heard::Standing(Box::new(run)),
                Message::End(v1::RunEnd { run, exit_code, trouble }) => Heard::End {
                    run: Box::new(run.unwrap_or_default()),
                    exit_code: u8::try_from(exit_code).unwrap_or(u8::MAX),
                    trouble: trouble.and_then(|text| serde_json::from_str(&text).ok()),
                },
                other => match convert::heard(other) {
                    Some(told) => Heard::Told(told),
                    None => continue,
                },
            }));
        }
    }
}

impl Events {
    /// The next event; none when nothing more will be told.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn next(&mut self) -> Result<Option<v1::WatchEventsResponse>> {
        match self.stream.message().await {
            Ok(event) => Ok(event),
            Err(status) => Err(self.client.failed(status).await),
        }
    }
}
