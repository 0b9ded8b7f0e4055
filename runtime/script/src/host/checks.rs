//! Owns what the host checks of a worker's words: counts, sizes and order. A worker that breaks one of these rules is
//! not a script gone wrong but a VM gone wrong, and is ended.

use std::collections::{HashMap, HashSet};

use crate::Limits;
use crate::protocol::Asked;

/// More open requests than any `parallel` of a sane script.
const MOST_OPEN: usize = 65_536;
const MOST_OPEN_BYTES: usize = 256 << 20;
const MOST_REQUIRES: u64 = 10_000;
const MOST_PLAN_ENDS: u64 = 100_000;
const LONGEST_SCOPE: usize = 4096;
const LONGEST_FILE: usize = 4096;

/// What the worker has said so far, as far as rules need it.
pub(super) struct Checks {
    argument: u64,
    names: HashSet<String>,
    last_id: u64,
    open: HashMap<u64, Asking>,
    open_bytes: usize,
    answered: u64,
    acknowledged: u64,
    replayed: u64,
    sent_history: u64,
    requests: u64,
    requires: u64,
    plan_ends: u64,
    output: u64,
}

/// A request that has not been answered.
struct Asking {
    size: usize,
    scope: String,
    counter: u64,
}

impl Checks {
    pub(super) fn new(limits: &Limits, effects: &[String]) -> Self {
        Self {
            argument: limits.argument,
            names: effects.iter().cloned().collect(),
            last_id: 0,
            open: HashMap::new(),
            open_bytes: 0,
            answered: 0,
            acknowledged: 0,
            replayed: 0,
            sent_history: 0,
            requests: 0,
            requires: 0,
            plan_ends: 0,
            output: 0,
        }
    }

    pub(super) fn request(&mut self, asked: &Asked) -> Result<(), String> {
        if asked.id <= self.last_id {
            return Err(format!("request {} came twice", asked.id));
        }
        if !self.names.contains(&asked.name) {
            return Err("a request for an effect that does not exist".to_owned());
        }
        if asked.args.get().len() as u64 > self.argument {
            return Err("arguments above the limit".to_owned());
        }
        if asked.scope.len() > LONGEST_SCOPE || asked.place.file.len() > LONGEST_FILE || asked.counter == 0 {
            return Err("an impossible identity".to_owned());
        }
        let size = asked.args.get().len();
        if self.open.len() >= MOST_OPEN || self.open_bytes + size > MOST_OPEN_BYTES {
            return Err("too many open requests".to_owned());
        }
        self.last_id = asked.id;
        let asking = Asking { size, scope: asked.scope.clone(), counter: asked.counter };
        self.open.insert(asked.id, asking);
        self.open_bytes += size;
        self.requests += 1;
        Ok(())
    }

    /// How many effects the run has asked for, replayed ones included.
    pub(super) fn effects(&self) -> u64 {
        self.requests + self.sent_history
    }

    pub(super) fn sent_history(&mut self, items: usize) {
        self.sent_history += items as u64;
    }

    /// Takes in `Cancel`; the identity of the effect that is meant, unless it has been answered meanwhile.
    pub(super) fn cancel(&self, id: u64) -> Result<Option<(&str, u64)>, String> {
        if id > self.last_id {
            return Err(format!("request {id} was cancelled before it was made"));
        }
        Ok(self.open.get(&id).map(|asking| (asking.scope.as_str(), asking.counter)))
    }

    pub(super) fn answer(&mut self, id: u64) {
        self.open_bytes -= self.open.remove(&id).map_or(0, |asking| asking.size);
        self.answered += 1;
    }

    /// Takes in `Blocked`; true when the worker now waits for us and nothing else.
    pub(super) fn blocked(&mut self, open: &[u64], answered: u64) -> Result<Blocked, String> {
        if answered > self.answered || answered < self.acknowledged {
            return Err("a wrong count of answers".to_owned());
        }
        let progressed = answered > self.acknowledged;
        self.acknowledged = answered;
        let waits = answered == self.answered
            && open.len() == self.open.len()
            && open.iter().all(|id| self.open.contains_key(id));
        Ok(match (waits, progressed) {
            (true, _) => Blocked::Waits,
            (false, true) => Blocked::Progressed,
            (false, false) => Blocked::Same,
        })
    }

    /// Takes in `Replayed`; true when it got further.
    pub(super) fn replayed(&mut self, count: u64) -> Result<bool, String> {
        if count > self.sent_history || count < self.replayed {
            return Err("a wrong count of replayed effects".to_owned());
        }
        let progressed = count > self.replayed;
        self.replayed = count;
        Ok(progressed)
    }

    /// Whether the worker has taken in all the history that was sent.
    pub(super) fn replayed_all(&self) -> bool {
        self.replayed == self.sent_history
    }

    pub(super) fn require(&mut self) -> Result<(), String> {
        self.requires += 1;
        if self.requires > MOST_REQUIRES { Err("too many modules".to_owned()) } else { Ok(()) }
    }

    pub(super) fn plan_end(&mut self) -> Result<(), String> {
        self.plan_ends += 1;
        if self.plan_ends > MOST_PLAN_ENDS { Err("too many ends of a plan".to_owned()) } else { Ok(()) }
    }

    /// Counts output; returns the total.
    pub(super) fn output(&mut self, bytes: usize) -> u64 {
        self.output += bytes as u64;
        self.output
    }
}

/// What a `Blocked` message means for the deadline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Every branch waits for an answer that has not been sent.
    Waits,
    /// An answer was taken in, others are still on the way.
    Progressed,
    /// Nothing new.
    Same,
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::Place;

    fn asked(id: u64) -> Asked {
        Asked {
            id,
            scope: String::new(),
            counter: id,
            name: "now".to_owned(),
            args: RawValue::from_string("{}".to_owned()).unwrap(),
            place: Place::default(),
        }
    }

    fn checks() -> Checks {
        Checks::new(&Limits { argument: 8, ..Limits::default() }, &["now".to_owned()])
    }

    #[test]
    fn a_request_that_comes_twice_is_refused() {
        let mut checks = checks();
        assert!(checks.request(&asked(1)).is_ok());
        assert!(checks.request(&asked(1)).is_err());
    }

    #[test]
    fn unknown_effects_and_large_arguments_are_refused() {
        let unknown = Asked { name: "later".to_owned(), ..asked(1) };
        assert!(checks().request(&unknown).is_err());
        let large = Asked { args: RawValue::from_string("{\"a\":12345}".to_owned()).unwrap(), ..asked(1) };
        assert!(checks().request(&large).is_err());
    }

    #[test]
    fn the_worker_waits_only_when_it_names_all_open_requests() {
        let mut checks = checks();
        checks.request(&asked(1)).unwrap();
        checks.request(&asked(2)).unwrap();
        assert_eq!(checks.blocked(&[1], 0).unwrap(), Blocked::Same);
        assert_eq!(checks.blocked(&[1, 2], 0).unwrap(), Blocked::Waits);
        checks.answer(1);
        assert_eq!(checks.blocked(&[2], 0).unwrap(), Blocked::Same);
        assert_eq!(checks.blocked(&[2], 1).unwrap(), Blocked::Waits);
        assert!(checks.blocked(&[2], 2).is_err());
    }
}
