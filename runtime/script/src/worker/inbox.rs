//! Owns the open requests and the order in which their outcomes reach the script: first the recorded history in recorded
//! order, while live requests are held back; then the host's answers as they come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{deadline, pipe};
use crate::Limits;
use crate::protocol::{
    Asked, Divergence, HistoryItem, Module, Outcome, Place, Recorded, ToHost, ToWorker, arguments_hash,
};

/// The host hears from a replay at least this often.
const BEAT: u64 = 50_000_000;

/// A request whose outcome the script does not have yet.
struct Open {
    scope: Rc<str>,
    counter: u64,
    name: String,
    /// Gone once the request has been sent.
    args: Option<String>,
    place: Place,
    /// The script no longer wants the outcome.
    given_up: bool,
}

/// Everything that is on its way between script and host.
pub(super) struct Inbox {
    exec: Duration,
    open: BTreeMap<u64, Open>,
    /// The request that is open in each scope, of which there is one at most: the prelude gives no scope to two branches,
    /// and a branch waits. Only while there is history.
    by_scope: HashMap<Rc<str>, u64>,
    last_id: u64,
    replaying: bool,
    history: VecDeque<HistoryItem>,
    history_ended: bool,
    replayed: u64,
    last_beat: u64,
    answers: VecDeque<(u64, Outcome)>,
    answered: u64,
    module: Option<Result<Module, effect::Error>>,
    modules: HashMap<(String, String), Rc<Module>>,
}

impl Inbox {
    pub(super) fn new(limits: &Limits, resumed: bool) -> Self {
        Self {
            exec: limits.exec,
            open: BTreeMap::new(),
            by_scope: HashMap::new(),
            last_id: 0,
            replaying: resumed,
            history: VecDeque::new(),
            history_ended: !resumed,
            replayed: 0,
            last_beat: 0,
            answers: VecDeque::new(),
            answered: 0,
            module: None,
            modules: HashMap::new(),
        }
    }

    /// How many effects the script has asked for.
    pub(super) fn asked(&self) -> u64 {
        self.last_id
    }

    /// Takes in a request of the script; its number.
    pub(super) fn request(
        &mut self,
        name: String,
        scope: &str,
        counter: u64,
        args: String,
        place: Place,
    ) -> u64 {
        let scope: Rc<str> = scope.into();
        self.last_id += 1;
        let id = self.last_id;
        let mut open = Open { scope, counter, name, args: Some(args), place, given_up: false };
        if self.replaying {
            self.by_scope.insert(open.scope.clone(), id);
        } else {
            send(id, &mut open);
        }
        self.open.insert(id, open);
        id
    }

    /// Asks for the end of a request that the script no longer wants the outcome of. An outcome comes all the same.
    pub(super) fn cancel(&mut self, id: u64) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.given_up = true;
        // One that is still held back has perhaps been recorded.
        if open.args.is_none() {
            pipe::send(&ToHost::Cancel { id });
        }
    }

    /// Waits for the next outcome. Every branch is blocked when this is called.
    pub(super) fn receive(&mut self) -> (u64, Outcome) {
        let (id, outcome) = match self.next_recorded() {
            Some(recorded) => recorded,
            None => self.next_answer(),
        };
        let now = deadline::now();
        if self.replaying && now - self.last_beat >= BEAT {
            self.last_beat = now;
            pipe::send(&ToHost::Replayed { count: self.replayed });
            pipe::flush();
        }
        deadline::arm(self.exec, now);
        (id, outcome)
    }

    fn next_recorded(&mut self) -> Option<(u64, Outcome)> {
        while self.replaying {
            if let Some(item) = self.history.pop_front() {
                return Some(self.deliver(item));
            }
            if self.history_ended {
                self.go_live();
            } else {
                pipe::send(&ToHost::Replayed { count: self.replayed });
                pipe::flush();
                self.take(pipe::receive());
            }
        }
        None
    }

    fn go_live(&mut self) {
        self.replaying = false;
        self.by_scope = HashMap::new();
        for (id, open) in &mut self.open {
            send(*id, open);
        }
    }

    /// The open request that `item` answers; anything but an exact match is a divergence.
    fn deliver(&mut self, item: HistoryItem) -> (u64, Outcome) {
        let Some(id) = self.by_scope.remove(item.scope.as_str()) else {
            diverged(&item, self.open.values().next());
        };
        let open = self.open.remove(&id).expect("scopes name open requests");
        let args = open.args.as_ref().expect("held requests keep their arguments");
        if open.counter != item.counter || open.name != item.name || arguments_hash(args) != item.hash {
            diverged(&item, Some(&open));
        }
        self.replayed += 1;
        (id, item.outcome)
    }

    fn next_answer(&mut self) -> (u64, Outcome) {
        while let Some(frame) = pipe::arrived() {
            self.take(frame);
        }
        loop {
            if let Some((id, outcome)) = self.answers.pop_front() {
                assert!(self.open.remove(&id).is_some(), "the host answers what was asked");
                self.answered += 1;
                return (id, outcome);
            }
            pipe::send(&ToHost::Blocked {
                open: self.open.keys().copied().collect(),
                answered: self.answered,
            });
            pipe::flush();
            self.take(pipe::receive());
        }
    }

    fn take(&mut self, frame: ToWorker) {
        match frame {
            ToWorker::History(items) => self.history.extend(items),
            ToWorker::HistoryEnd => self.history_ended = true,
            ToWorker::Answer { id, outcome } => self.answers.push_back((id, outcome)),
            ToWorker::Module { outcome } => self.module = Some(outcome),
            ToWorker::Start(_) | ToWorker::Fork => pipe::exit(),
        }
    }

    /// The module that `path` means in `from`. The host answers at once, so the deadline runs on.
    pub(super) fn module(&mut self, from: String, path: String) -> Result<Rc<Module>, effect::Error> {
        let key = (from, path);
        if let Some(module) = self.modules.get(&key) {
            return Ok(module.clone());
        }
        pipe::send(&ToHost::Require { from: key.0.clone(), path: key.1.clone() });
        pipe::flush();
        let module = loop {
            self.take(pipe::receive());
            if let Some(outcome) = self.module.take() {
                break Rc::new(outcome?);
            }
        };
        self.modules.insert(key, module.clone());
        Ok(module)
    }

    /// The script has ended: whatever history is left was not asked for.
    pub(super) fn check_consumed(&mut self, failure: Option<(String, Place)>) {
        while self.replaying {
            if let Some(item) = self.history.pop_front() {
                ended_early(&item, failure);
            }
            if self.history_ended {
                return;
            }
            pipe::flush();
            self.take(pipe::receive());
        }
    }
}

fn send(id: u64, open: &mut Open) {
    if let Some(args) = open.args.take() {
        let args = RawValue::from_string(args).expect("the encoder writes JSON");
        pipe::send(&ToHost::Request(Asked {
            id,
            scope: open.scope.as_ref().to_owned(),
            counter: open.counter,
            name: open.name.clone(),
            args,
            place: open.place.clone(),
        }));
        if open.given_up {
            pipe::send(&ToHost::Cancel { id });
        }
    }
}

fn recorded(item: &HistoryItem) -> Recorded {
    Recorded {
        scope: item.scope.clone(),
        counter: item.counter,
        name: item.name.clone(),
        hash: item.hash.clone(),
    }
}

/// The script has come to its end, or failed, before it asked for `item`.
fn ended_early(item: &HistoryItem, failure: Option<(String, Place)>) -> ! {
    let (failure, place) = failure.unzip();
    let divergence = Divergence {
        recorded: Some(recorded(item)),
        requested: None,
        arguments: None,
        failure,
        place: place.unwrap_or_default(),
    };
    pipe::finish(&ToHost::Diverged(Box::new(divergence)))
}

fn diverged(item: &HistoryItem, open: Option<&Open>) -> ! {
    let recorded = recorded(item);
    let requested = open.map(|open| Recorded {
        scope: open.scope.as_ref().to_owned(),
        counter: open.counter,
        name: open.name.clone(),
        hash: open.args.as_deref().map(arguments_hash).unwrap_or_default(),
    });
    let arguments = open.and_then(|open| open.args.clone());
    let place = open.map(|open| open.place.clone()).unwrap_or_default();
    let divergence = Divergence { recorded: Some(recorded), requested, arguments, failure: None, place };
    pipe::finish(&ToHost::Diverged(Box::new(divergence)))
}
