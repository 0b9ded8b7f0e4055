//! Forwarding as a client of the server sees it, with upstreams that answer, fail, lie, hang and forge.
//!
//! Time stands still unless nothing else can happen: a time-out of seconds costs none.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod answers;
mod day;
mod failures;
mod fake;
mod forgeries;
mod real;
mod routes;
mod stale;
mod streams;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use dns::forward::{Answer, Failure, Forwarder, Lookup, OwnedQuestion, Question, Settings, Step};
use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};
use domain::base::opt::ExtendedError;
use fake::{Fake, addresses, parse, types};
use tokio::time::{Instant, advance};

fn settings(resolvers: &[&Fake]) -> Settings {
    let mut settings = Settings::default();
    let mut upstreams = resolvers.iter().map(|fake| fake.address.to_string().parse().unwrap());
    settings.fallback = upstreams.by_ref().collect();
    settings
}

fn forwarder(resolvers: &[&Fake]) -> Arc<Forwarder> {
    Forwarder::new(&settings(resolvers)).unwrap()
}

fn question(name: &str) -> OwnedQuestion {
    OwnedQuestion::new(name, Rtype::A).unwrap()
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn written(answer: &Answer, question: &Question<'_>) -> Message<Vec<u8>> {
    let mut out = Vec::new();
    answer.write(question, now(), &mut out);
    parse(&out)
}

async fn resolve(forwarder: &Arc<Forwarder>, name: &str) -> Message<Vec<u8>> {
    let question = question(name);
    written(&forwarder.resolve(question.clone()).await, &question.borrow())
}

fn cached(forwarder: &Forwarder, name: &str) -> (Lookup, Option<Message<Vec<u8>>>) {
    let mut out = Vec::new();
    let lookup = forwarder.cached(&question(name).borrow(), now(), &mut out);
    (lookup, (!out.is_empty()).then(|| parse(&out)))
}

fn ede(message: &Message<Vec<u8>>) -> Option<u16> {
    let opt = message.opt()?;
    opt.opt().first::<ExtendedError<_>>().map(|error| error.code().to_int())
}

/// What each step asked came to.
fn outcomes(answer: &Answer) -> Vec<Result<Rcode, Failure>> {
    let asked = answer.trace().iter().filter_map(|step| match step {
        Step::Asked { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    asked.collect()
}
