//! Owns what is said to the daemon while a run is followed: that it is to stop, and what a person has answered. Nobody waits
//! for the daemon's word meanwhile, so that one that hangs holds up neither what is told nor the next Ctrl-C.

use std::pin::Pin;
use std::time::Duration;

use effect::approval::Verdict;
use effect::{Code, Error};

use super::Following;

/// For the daemon to hear of an interrupt.
const HEARING: Duration = Duration::from_secs(5);

/// What is being said, and whether the daemon has heard it in time.
pub(super) type Saying = Pin<Box<dyn Future<Output = bool>>>;

impl Following<'_> {
    /// Ctrl-C: once stops the run at its next effect, twice at once. A third one does not wait for the daemon's word.
    pub(super) fn interrupt(&mut self) -> Saying {
        self.interrupts += 1;
        self.stopping.send_replace(true);
        let (client, run, is_hard) = (self.client.clone(), self.run, self.interrupts > 1);
        Box::pin(async move {
            let said = tokio::time::timeout(HEARING, client.interrupt(&run, is_hard)).await;
            if let Ok(Err(error)) = &said {
                // It has come to its end by itself, and that is told next.
                tracing::debug!(%error, "the run cannot be interrupted");
            }
            said.is_ok()
        })
    }

    pub(super) fn answer(&self, question: u64, verdict: Verdict) -> Option<Saying> {
        let granted = match verdict {
            Verdict::Granted => true,
            Verdict::Refused => false,
            Verdict::Stopped => return None,
        };
        let (client, run) = (self.client.clone(), self.run);
        Some(Box::pin(async move {
            if let Err(error) = client.answer(&run, question, granted).await {
                tracing::debug!(%error, "the answer is not wanted any more");
            }
            true
        }))
    }

    pub(super) fn silent(&self) -> Error {
        Error::new(Code::DaemonGone, "the daemon executes the run and does not hear that it is to stop")
            .because(format!("run {} stops, or goes on, when the daemon answers again", self.run))
            .hint(format!("look what hangs: `systemctl status mcrun`, then `mcrun show {}`", self.run))
    }
}
