//! Owns the time between the end of the conversation and the end of the run: effects that still run may come to their
//! end and be recorded, and one of them may have the better reason for the run's end.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::session::{Event, Task};
use super::{Effects, Ended, Interrupt, Reply};

/// What running effects get when the run has ended already. What is cut off then is in doubt, which a resumption
/// settles.
const GRACE: Duration = Duration::from_millis(500);

/// What the effects came back with that were still open.
struct Drain<'a, S> {
    tasks: FuturesUnordered<Task<'a, S>>,
    /// The first effect that stopped the run for a reason of its own.
    stop: Option<S>,
    /// The first that only waited and gave up because it was asked to.
    given_up: Option<S>,
    /// Some effect has ended and is recorded.
    answered: bool,
}

/// Lets the effects that still run come to their end; a hard interrupt does not wait. What the run ends with then.
pub(super) async fn drain<'a, E: Effects>(
    tasks: FuturesUnordered<Task<'a, E::Stop>>,
    effects: &E,
    ended: Ended<E::Stop>,
    interrupt: &mut watch::Receiver<Interrupt>,
) -> Ended<E::Stop> {
    let mut drain = Drain { tasks, stop: None, given_up: None, answered: false };
    while let Some(reply) = drain.at_once() {
        drain.stop = drain.stop.or(reply);
    }
    if !drain.tasks.is_empty() {
        effects.stopping();
        // What stops in this moment does so because it was asked to.
        while let Some(reply) = drain.at_once() {
            drain.given_up = drain.given_up.or(reply);
        }
        let patience = patience(&ended);
        tokio::select! {
            () = drain.rest() => {}
            () = hard(interrupt) => {}
            () = patience => {}
        }
    }
    drain.conclude(ended)
}

/// Over when what still runs is not worth waiting for any longer.
fn patience<S>(ended: &Ended<S>) -> impl Future<Output = ()> + use<S> {
    let limited = !matches!(ended, Ended::Done { .. } | Ended::Stopped(_) | Ended::Interrupted);
    async move {
        if limited {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending().await
        }
    }
}

async fn hard(interrupt: &mut watch::Receiver<Interrupt>) {
    if interrupt.wait_for(|asked| *asked == Interrupt::Hard).await.is_err() {
        std::future::pending().await
    }
}

impl<S> Drain<'_, S> {
    /// Takes in an event that is there already; the stop that it carries, if it does.
    fn at_once(&mut self) -> Option<Option<S>> {
        let event = self.tasks.next().now_or_never()??;
        Some(self.take(event))
    }

    async fn rest(&mut self) {
        while let Some(event) = self.tasks.next().await {
            let stop = self.take(event);
            self.stop = self.stop.take().or(stop);
        }
    }

    fn take(&mut self, event: Event<S>) -> Option<S> {
        match event {
            Event::Replied { reply: Reply::Stop(stop), .. } => return Some(stop),
            Event::Replied { reply: Reply::Answer(_), .. } => self.answered = true,
            Event::NotStarted | Event::Module(_) | Event::History(_) => {}
        }
        None
    }

    fn conclude(self, ended: Ended<S>) -> Ended<S> {
        let only_waited = self.tasks.is_empty() && !self.answered;
        match (ended, self.stop, self.given_up) {
            (Ended::Done { .. } | Ended::Failed(_) | Ended::Interrupted, Some(stop), _) => {
                Ended::Stopped(stop)
            }
            (Ended::Interrupted, None, Some(stop)) if only_waited => Ended::Stopped(stop),
            (ended, ..) => ended,
        }
    }
}
