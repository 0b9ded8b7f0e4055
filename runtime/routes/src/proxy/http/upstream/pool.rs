//! Owns connections to back ends that wait for their next request. Each thread keeps its own.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use foldhash::HashMap;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::connect::{Place, Stream};
use crate::proxy::http::wire::Wire;

/// So many wait at most for one back end.
const MOST: usize = 64;
/// So long they do.
const KEPT_FOR: Duration = Duration::from_secs(45);
/// So often it is seen which have waited for too long.
const SWEEP: Duration = Duration::from_secs(15);

struct Waiting {
    wire: Wire<Stream>,
    since: Instant,
}

/// A connection over which many requests go at once.
struct Shared {
    sender: h2::client::SendRequest<Bytes>,
    used: Instant,
}

#[derive(Default)]
struct Pool {
    waiting: HashMap<Place, Vec<Waiting>>,
    shared: HashMap<Place, Shared>,
    is_swept: bool,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A connection to `place` that has waited for at most `longest` and that the back end has not closed.
pub(super) fn take(place: &Place, longest: Duration) -> Option<Wire<Stream>> {
    let now = Instant::now();
    loop {
        let next = POOL.with_borrow_mut(|pool| {
            let waiting = pool.waiting.get_mut(place)?;
            waiting.pop_if(|last| now - last.since <= longest.min(KEPT_FOR))
        })?;
        let mut wire = next.wire;
        if is_quiet(&mut wire.stream) {
            return Some(wire);
        }
    }
}

/// Whether the back end neither closed the connection nor sent what nobody asked for.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
}

/// Keeps a connection for the next request to `place`.
pub(super) fn give(place: Place, wire: Wire<Stream>) {
    POOL.with_borrow_mut(|pool| {
        let waiting = pool.waiting.entry(place).or_default();
        if waiting.len() < MOST {
            waiting.push(Waiting { wire, since: Instant::now() });
        }
        pool.sweep();
    });
}

/// The connection to `place` that requests share.
pub(super) fn shared(place: &Place) -> Option<h2::client::SendRequest<Bytes>> {
    POOL.with_borrow_mut(|pool| {
        let shared = pool.shared.get_mut(place)?;
        shared.used = Instant::now();
        Some(shared.sender.clone())
    })
}

/// Has requests to `place` share a connection.
pub(super) fn share(place: Place, sender: h2::client::SendRequest<Bytes>) {
    POOL.with_borrow_mut(|pool| {
        pool.shared.insert(place, Shared { sender, used: Instant::now() });
        pool.sweep();
    });
}

/// The connection to `place` takes no more requests.
pub(super) fn unshare(place: &Place) {
    POOL.with_borrow_mut(|pool| pool.shared.remove(place));
}

impl Pool {
    /// Sees to it that what has waited for too long is closed, also where no request comes any more.
    fn sweep(&mut self) {
        if !std::mem::replace(&mut self.is_swept, true) {
            tokio::task::spawn_local(Sweeping(Box::pin(sweep())));
        }
    }
}

async fn sweep() {
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = Instant::now();
        let is_empty = POOL.with_borrow_mut(|pool| {
            for waiting in pool.waiting.values_mut() {
                waiting.retain_mut(|one| now - one.since < KEPT_FOR && is_quiet(&mut one.wire.stream));
            }
            pool.waiting.retain(|_, waiting| !waiting.is_empty());
            pool.shared.retain(|_, shared| now - shared.used < KEPT_FOR);
            pool.waiting.is_empty() && pool.shared.is_empty()
        });
        if is_empty {
            return;
        }
    }
}

/// The task that sweeps; also where its runtime ends, the next one of the thread begins anew.
struct Sweeping(Pin<Box<dyn Future<Output = ()>>>);

impl Future for Sweeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        // The thread itself may be ending: then nothing is left to mark.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut() {
                pool.is_swept = false;
            }
        });
    }
}
