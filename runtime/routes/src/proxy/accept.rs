//! Owns taking connections at a port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Proxy;

/// After accepting failed because of something that passes, such as descriptors that are used up.
const BREATH: Duration = Duration::from_millis(50);

impl Proxy {
    /// Serves the routes of `port` to the connections of `listener` until `over`. Runs on a thread of its own, in a
    /// `LocalSet`; connections that are open then go on there.
    ///
    /// # Errors
    /// Where nothing can be accepted at the socket any more.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        port: u16,
        mut over: watch::Receiver<bool>,
    ) -> io::Result<()> {
        loop {
            let next = async {
                let place = self.places.next().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => return Ok(()),
                next = next => next,
            };
            let Some(place) = place else { return Ok(()) };
            match accepted {
                Ok((stream, peer)) => {
                    let proxy = Arc::clone(&self);
                    tokio::task::spawn_local(async move { proxy.receive(stream, peer, port, place).await });
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    }
}

fn is_fatal(error: &io::Error) -> bool {
    let fatal = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|error| fatal.contains(&error))
}
