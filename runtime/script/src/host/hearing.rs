//! Owns the host's hearing by itself: the words of a worker are cut into frames, parsed and checked as in a session, with
//! nobody behind them.

use super::checks::Checks;
use crate::Limits;
use crate::protocol::{self, PREFIX, ToHost};

/// Takes in the bytes that a worker might have written, up to the first that breaks a rule; how many frames made sense.
#[must_use]
pub fn hear(mut bytes: &[u8]) -> usize {
    let names = ["now", "containers.ensure"].map(str::to_owned);
    let mut checks = Checks::new(&Limits::default(), &names);
    let mut count = 0;
    while let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() {
        let Ok(length) = protocol::length(*prefix) else { break };
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        let Ok(word) = protocol::parse::<ToHost>(body) else { break };
        if take_in(&mut checks, word).is_err() {
            break;
        }
        count += 1;
        bytes = rest;
    }
    count
}

fn take_in(checks: &mut Checks, word: ToHost) -> Result<(), String> {
    match word {
        ToHost::Request(asked) => {
            checks.request(&asked)?;
            // What is asked for is answered now and then, so that later words meet both.
            if asked.id % 2 == 0 {
                checks.answer(asked.id);
            }
            Ok(())
        }
        ToHost::Cancel { id } => checks.cancel(id).map(drop),
        ToHost::Require { .. } => checks.require(),
        ToHost::Log(line) => {
            checks.output(line.message.len());
            Ok(())
        }
        ToHost::Progress(progress) => {
            checks.output(progress.value.get().len());
            Ok(())
        }
        ToHost::Blocked { open, answered } => checks.blocked(&open, answered).map(drop),
        ToHost::Replayed { count } => {
            checks.sent_history(1);
            checks.replayed(count).map(drop)
        }
        ToHost::PlanEnded(_) => checks.plan_end(),
        ToHost::Failed(failed) => {
            drop(super::session::failure(*failed));
            Ok(())
        }
        ToHost::Ready { .. }
        | ToHost::Described(_)
        | ToHost::Diverged(_)
        | ToHost::Limit { .. }
        | ToHost::Unconfined { .. }
        | ToHost::Panicked { .. }
        | ToHost::Done { .. } => Ok(()),
    }
}
