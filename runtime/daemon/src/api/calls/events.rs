//! Owns the calls about events.

use api::v1;
use api::v1::events_server::Events;
use async_trait::async_trait;
use tonic::Request;

use super::{Answer, Stream, answer, live};
use crate::api::fields::json;
use crate::api::patterns::{Patterns, check_name};
use crate::api::{Api, watch_events};

/// No more is told with an event: every run that waits for it keeps a copy.
const LONGEST_DATA: usize = 64 << 10;

#[async_trait]
impl Events for Api {
    type WatchEventsStream = Stream<v1::WatchEventsResponse>;

    async fn emit_event(&self, request: Request<v1::EmitEventRequest>) -> Answer<v1::EmitEventResponse> {
        let emitted = async {
            let v1::EmitEventRequest { name, data } = request.get_ref();
            check_name(name)?;
            let data = if data.is_empty() { "null" } else { data };
            let data = json("data", data, LONGEST_DATA)?;
            self.rooms().journal.emit(name, &data.to_string()).await?;
            Ok(v1::EmitEventResponse {})
        };
        answer(emitted.await)
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let watched = async {
            let (over, place) = (request.extensions().get().cloned(), self.place(&request));
            let live = live(&request)?;
            let v1::WatchEventsRequest { patterns, after } = request.into_inner();
            let (patterns, place) = (Patterns::new(patterns)?, place?);
            let hearing = self.rooms().feed.listen(after).await?;
            Ok(watch_events::follow(hearing, (patterns, live), over, place))
        };
        answer(watched.await)
    }
}
