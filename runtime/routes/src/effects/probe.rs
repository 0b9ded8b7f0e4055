//! Owns the look at back ends before requests are sent to them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use tokio::task::JoinSet;

use crate::probe;
use crate::route::{Backend, Route};

/// What looks whether a back end answers.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Looks once. The error says in a few words why it does not answer.
    async fn probe(&self, route: &Route, backend: Backend) -> Result<(), String>;
}

/// Looks at the back end itself.
pub struct Network;

#[async_trait]
impl Prober for Network {
    async fn probe(&self, route: &Route, backend: Backend) -> Result<(), String> {
        let answer = route.health.as_ref().map_or(Duration::ZERO, |health| health.timeout.0);
        probe::backend(route, backend, route.timeouts.connect.0 + answer).await
    }
}

/// Refuses a route none of whose back ends answers. One without back ends has nothing to ask.
///
/// # Errors
/// `MC-G020` naming each back end, and why it does not answer.
pub async fn at_least_one(prober: &Arc<dyn Prober>, route: &Route) -> Result<()> {
    if route.backends.is_empty() || route.redirect.is_some() || route.maintenance.is_some() {
        return Ok(());
    }
    let mut asked = JoinSet::new();
    for backend in route.backends.iter().copied() {
        let (prober, route) = (prober.clone(), route.clone());
        asked.spawn(async move { (backend, prober.probe(&route, backend).await) });
    }
    let mut failures = Vec::new();
    while let Some(ended) = asked.join_next().await {
        match ended {
            Ok((_, Ok(()))) => return Ok(()),
            Ok((backend, Err(why))) => failures.push(format!("{backend}: {why}")),
            Err(error) => return Err(Error::ended("a probe ended early", &error)),
        }
    }
    failures.sort();
    let message = format!("no back end of `{}` answers", route.key());
    Err(failures.into_iter().fold(Error::new(Code::BackendUnreachable, message).retryable(), Error::detail))
}
