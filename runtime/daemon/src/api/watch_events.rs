//! Owns what callers that follow events are told.

use api::v1;
use futures_util::stream;
use peer::calls::Over;
use tokio::sync::OwnedSemaphorePermit;

use super::calls::Stream;
use super::patterns::Patterns;
use super::recheck::Live;
use super::{status, stopping};
use crate::feed::Hearing;

struct Following {
    hearing: Hearing,
    patterns: Patterns,
    live: Live,
    over: Option<Over>,
    _place: OwnedSemaphorePermit,
}

pub(super) fn follow(
    hearing: Hearing,
    (patterns, live): (Patterns, Live),
    over: Option<Over>,
    place: OwnedSemaphorePermit,
) -> Stream<v1::WatchEventsResponse> {
    let following = Following { hearing, patterns, live, over, _place: place };
    Box::pin(stream::unfold(Some(following), |following| async move {
        let mut following = following?;
        match following.next().await {
            Ok(event) => Some((Ok(event), Some(following))),
            Err(error) => Some((Err(status::of(&error)), None)),
        }
    }))
}

impl Following {
    async fn next(&mut self) -> effect::Result<v1::WatchEventsResponse> {
        loop {
            let over = async {
                match &mut self.over {
                    Some(over) => over.come().await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = self.hearing.next() => event?,
                () = over => return Err(stopping()),
            };
            if self.patterns.let_through(&event.name) && self.live.may("events.read", &event.name) {
                let journal::Event { id, name, data, at } = event;
                return Ok(v1::WatchEventsResponse { id, name, data, at: at.0 });
            }
        }
    }
}
