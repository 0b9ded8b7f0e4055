//! Owns what goes on in the background whichever thread asked for it: probes, hard ends, looking after files.

use std::io;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A thread for what goes on in the background. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    handle: Handle,
    _over: oneshot::Sender<()>,
}

impl Keeper {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (over, is_over) = oneshot::channel::<()>();
        std::thread::Builder::new().name("routes-keeper".into()).spawn(move || {
            // Nothing is ever sent: that the other end is gone is what is waited for.
            let _ = runtime.block_on(is_over);
        })?;
        Ok(Self { handle, _over: over })
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.handle.spawn(task).abort_handle()
    }
}
