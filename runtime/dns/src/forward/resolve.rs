//! Owns the way of a question that the cache does not answer: joined with others, asked along its routes, and kept.

use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Class, ExtendedErrorCode, Rcode};
use tokio::time::timeout;

use super::metrics::count;
use super::peer::now;
use super::question::{LONGEST_KEY, OwnedQuestion, Question, shown};
use super::reply::{self, Reply};
use super::request::Asking;
use super::routes::Route;
use super::stored::{Age, FAILURE_TTL, OFFLINE_TTL, Stored};
use super::trace::{Failure, Step, Steps};
use super::underway::{self, Lead, Outcome, Part};
use super::{Answer, Forwarder};

/// All routes of a name and its aliases together have this long.
const PATIENCE: Duration = Duration::from_secs(8);
/// Who asks has given up by then; this only guards against mistakes.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// Aliases that lead from one zone's upstreams to another's.
const MOST_FOLLOWED: usize = 8;
/// Seconds that an alias is kept whose end is missing without a word.
const UNENDED_TTL: u32 = 30;

/// Which answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// One from the cache will do.
    Any,
    /// One that is newer than the one in the cache.
    New,
}

impl Forwarder {
    pub(super) fn find(&self, question: &Question<'_>) -> Option<Arc<Stored>> {
        let mut buffer = [0; LONGEST_KEY];
        let key = question.key(&mut buffer).filter(|_| question.recursion_desired)?;
        self.cache.get(key)
    }

    fn keep(&self, question: &Question<'_>, stored: &Arc<Stored>) {
        let mut buffer = [0; LONGEST_KEY];
        if let Some(key) = question.key(&mut buffer).filter(|_| stored.keeps()) {
            self.cache.insert(key, Arc::clone(stored));
        }
    }

    /// The answer past its end, which is given at once for a while from now on, unless a new one came meanwhile.
    pub(super) fn renew(&self, question: &Question<'_>, stale: &Arc<Stored>) -> Arc<Stored> {
        let now = now();
        count(&self.counters.stale);
        if let Some(newer) = self.find(question).filter(|stored| matches!(stored.age(now), Age::Fresh(_))) {
            return newer;
        }
        let renewed = Arc::new(stale.renewed(now));
        self.keep(question, &renewed);
        renewed
    }

    /// One question to upstreams for all who ask the same.
    pub(super) async fn shared(self: &Arc<Self>, question: &OwnedQuestion, want: Want) -> Answer {
        let mut buffer = [0; LONGEST_KEY];
        let Some(key) = question.borrow().key(&mut buffer) else { return failed(&question.borrow()) };
        // Whoever leads may be gone with its thread: then the next one leads.
        for _ in 0..2 {
            let (waiting, joined) = match self.under_way.enter(key) {
                Part::Lead(lead, waiting) => {
                    tokio::spawn(Arc::clone(self).lead(question.clone(), want, lead));
                    (waiting, false)
                }
                Part::Join(waiting) => {
                    count(&self.counters.joined);
                    (waiting, true)
                }
                Part::Crowded => {
                    count(&self.counters.crowded);
                    let answer = failed(&question.borrow());
                    return Answer { steps: [Step::Crowded].into(), ..answer };
                }
            };
            let Ok(outcome) = timeout(JOIN_PATIENCE, underway::outcome(waiting)).await else { break };
            if let Some(outcome) = outcome {
                let mut steps = outcome.steps;
                if joined {
                    steps = [Step::Joined].into_iter().chain(steps.iter().cloned()).collect();
                }
                return Answer { stored: outcome.stored, steps };
            }
        }
        failed(&question.borrow())
    }

    async fn lead(self: Arc<Self>, question: OwnedQuestion, want: Want, lead: Lead) {
        let steps = Steps::default();
        let asked = question.borrow();
        // Somebody else's question may have ended between the look into the cache and this one.
        let found = self.find(&asked).filter(|_| want == Want::Any);
        let stored = match found.filter(|stored| matches!(stored.age(now()), Age::Fresh(_))) {
            Some(stored) => {
                steps.push(Step::Cached);
                stored
            }
            None => self.fetch(&question, &steps).await,
        };
        lead.end(Outcome { stored, steps: steps.take().into() });
    }

    /// Asks, and keeps what comes of it.
    async fn fetch(&self, question: &OwnedQuestion, steps: &Steps) -> Arc<Stored> {
        let asked = question.borrow();
        let asking = timeout(PATIENCE, self.ask(question, steps, 0)).await;
        let stored = match asking.unwrap_or(Err(Some(Failure::TimedOut))) {
            Ok(reply) => Arc::new(Stored::answer(reply, now(), self.stale_for)),
            Err(failure) => self.instead(&asked, failure, steps),
        };
        if stored.is_new() {
            self.keep(&asked, &stored);
        }
        stored
    }

    /// What to answer when nobody did: what is at hand, however old, or that there is nothing.
    fn instead(&self, asked: &Question<'_>, failure: Option<Failure>, steps: &Steps) -> Arc<Stored> {
        let at_hand = self.find(asked).map(|stored| (stored.age(now()), stored));
        match at_hand {
            Some((Age::Fresh(_), stored)) => stored,
            Some((Age::Stale | Age::Renewed, stored)) => {
                steps.push(Step::Stale);
                self.renew(asked, &stored)
            }
            _ => {
                count(&self.counters.failures);
                let (rcode, ede) = verdict(failure.as_ref());
                let offline = ede == ExtendedErrorCode::NETWORK_ERROR;
                let lifetime = if offline { OFFLINE_TTL } else { FAILURE_TTL };
                Arc::new(Stored::failure(asked, rcode, Some(ede), now(), lifetime))
            }
        }
    }

    /// Asks along the routes of the name and of those that its aliases lead to.
    async fn ask(
        &self,
        question: &OwnedQuestion,
        steps: &Steps,
        followed: usize,
    ) -> Result<Reply, Option<Failure>> {
        let asked = question.borrow();
        let upstreams = match self.routes.of(&asked, steps) {
            Route::Ask(upstreams) => upstreams,
            Route::Here(reply) => return Ok(reply),
            Route::Nobody => return Err(None),
        };
        let mut reply = upstreams.ask(&Asking::of(&asked), steps).await.map_err(Some)?;
        let Some(target) = reply.dangling.as_deref().filter(|_| followed < MOST_FOLLOWED) else {
            return Ok(reply);
        };
        let next = question.renamed(target);
        let same = |route: &Route<'_>| matches!(route, Route::Ask(same) if std::ptr::eq(*same, upstreams));
        if same(&self.routes.of(&next.borrow(), &Steps::default())) {
            // They said all that they know, but not for how long there is no more.
            reply.ttl = reply.ttl.min(UNENDED_TTL);
            return Ok(reply);
        }
        steps.push(Step::Followed(shown(target)));
        let rest = Box::pin(self.ask(&next, steps, followed + 1)).await?;
        reply::join(&reply, &rest).map_err(|_| Some(Failure::Malformed("its alias cannot be followed")))
    }
}

/// What nobody is asked: without RD only our own names are answered, types above 127 except ANY are no data.
pub(super) fn refusal(question: &Question<'_>) -> Option<Stored> {
    let meta = matches!(question.rtype.to_int(), 0 | 41 | 128..=254);
    let rcode = match (question.recursion_desired, question.class == Class::IN, meta) {
        (true, true, false) => return None,
        (true, true, true) => Rcode::NOTIMP,
        _ => Rcode::REFUSED,
    };
    Some(Stored::failure(question, rcode, Some(ExtendedErrorCode::NOT_SUPPORTED), now(), FAILURE_TTL))
}

fn failed(question: &Question<'_>) -> Answer {
    let ede = Some(ExtendedErrorCode::NOT_READY);
    Answer::new(Arc::new(Stored::failure(question, Rcode::SERVFAIL, ede, now(), FAILURE_TTL)), Step::Nobody)
}

/// What the client is told: an upstream's own words where it has any.
fn verdict(failure: Option<&Failure>) -> (Rcode, ExtendedErrorCode) {
    match failure {
        None => (Rcode::REFUSED, ExtendedErrorCode::NOT_AUTHORITATIVE),
        Some(Failure::Refused { ede: Some(code), .. }) => {
            (Rcode::SERVFAIL, ExtendedErrorCode::from_int(*code))
        }
        Some(Failure::Refused { .. } | Failure::TimedOut | Failure::Overtaken | Failure::Busy) => {
            (Rcode::SERVFAIL, ExtendedErrorCode::NO_REACHABLE_AUTHORITY)
        }
        Some(Failure::Unreachable(_) | Failure::Untrusted(_) | Failure::Malformed(_)) => {
            (Rcode::SERVFAIL, ExtendedErrorCode::NETWORK_ERROR)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use domain::base::iana::Rtype;

    use super::*;
    use crate::forward::{Settings, special};

    #[tokio::test]
    async fn what_was_answered_between_two_looks_is_not_asked_for_again() {
        let forwarder = Forwarder::new(&Settings::default()).unwrap();
        let question = OwnedQuestion::new("www.example", Rtype::A).unwrap();
        let local = OwnedQuestion::new("localhost", Rtype::A).unwrap();
        let reply = special::answer(&local.borrow(), special::Kind::Localhost).unwrap();
        let stored = Arc::new(Stored::answer(reply, now(), Duration::ZERO));
        forwarder.keep(&question.borrow(), &stored);
        let answer = forwarder.shared(&question, Want::Any).await;
        assert_eq!((answer.rcode(), answer.trace()), (Rcode::NOERROR, &[Step::Cached][..]));
        assert_eq!(forwarder.counters.failures.load(Relaxed), 0);
        let newer = forwarder.shared(&question, Want::New).await;
        assert_eq!(newer.trace(), [Step::Nobody]);
    }
}
