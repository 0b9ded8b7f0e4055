//! Owns the answers to calls: each is decided by the rules, then made over a driver.

mod certificate;
mod page;
mod watching;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use api::v1;
use api::v1::routes_server::Routes;
use async_trait::async_trait;
use effect::{Code, Error, Result};
use tokio::sync::{Mutex, Semaphore, watch};
use tonic::{Request, Response, Status};

use super::convert::{self, Misfit};
use super::doorkeeper::{Entry, Passed, not_asked};
use super::listen::{Caller, Over};
use super::rules::{Grant, Rules};
use super::{failure, version};
use crate::driver::{Drained, Driver, Feature, Standing, check_feature, needed};
use crate::route::{Key, Route};

pub use certificate::{AUTO, Issuer};

/// Calls that change the same route wait for one another.
const LOCKS: usize = 32;
/// Callers that follow at once.
const MOST_WATCHES: usize = 64;
/// The longest drain that is waited for.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

/// Answers calls over a driver; cheap to copy.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    driver: Arc<dyn Driver>,
    rules: Rules,
    issuer: Option<Arc<dyn Issuer>>,
    node: String,
    locks: [Mutex<()>; LOCKS],
    /// Counts what was changed by calls, for those who follow.
    changes: watch::Sender<u64>,
    watches: Arc<Semaphore>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Server {
    /// Answers for the proxy of `node`, which `driver` drives, within `rules`. Without an issuer nobody may ask for `auto`.
    #[must_use]
    pub fn new(driver: Arc<dyn Driver>, rules: Rules, node: &str, issuer: Option<Arc<dyn Issuer>>) -> Self {
        Self(Arc::new(Inner {
            driver,
            rules,
            issuer,
            node: node.to_owned(),
            locks: std::array::from_fn(|_| Mutex::default()),
            changes: watch::Sender::new(0),
            watches: Arc::new(Semaphore::new(MOST_WATCHES)),
        }))
    }

    async fn lock(&self, key: &Key) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let at = hasher.finish() % LOCKS as u64;
        self.0.locks[at as usize].lock().await
    }

    /// Has whoever follows be told of what was changed by others than callers. It is found out by them all the same, a
    /// little later.
    pub fn has_changed(&self) {
        self.0.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn grant<T>(&self, request: &Request<T>) -> Result<Grant<'_>> {
        let extensions = request.extensions();
        self.0.rules.grant(extensions.get::<Caller>(), extensions.get::<Passed>())
    }

    /// Refuses a caller that `[routes.api]` does not name.
    pub(super) fn names(&self, caller: &Caller) -> Result<()> {
        self.0.rules.client(Some(caller)).map(drop)
    }

    /// The routes that the caller may see, as it may see them, sorted.
    async fn seen(&self, grant: &Grant<'_>) -> Result<Vec<Standing>> {
        let mut found = self.0.driver.list().await?;
        found.retain(|standing| grant.sees(&standing.route.hostname) && grant.may_see(&standing.route.key()));
        found.sort_by_cached_key(|standing| standing.route.key());
        Ok(found.into_iter().map(|standing| self.shown(standing)).collect())
    }

    /// A route that the caller may change.
    async fn standing(&self, grant: &Grant<'_>, key: &Key) -> Result<Option<Standing>> {
        grant.may_touch_any(&key.hostname)?;
        let found = self.0.driver.get(key).await?;
        if let Some(standing) = &found {
            grant.may_touch(&key.hostname, standing.route.service.as_deref())?;
        }
        Ok(found)
    }

    /// What the driver is to be given for `wanted`, which the caller may have.
    async fn admitted(&self, grant: &Grant<'_>, wanted: &Standing, is_for_good: bool) -> Result<Standing> {
        let route = &wanted.route;
        grant.check(route)?;
        route.check()?;
        let paused = wanted.paused.then_some(Feature::Pause);
        for feature in needed(route).into_iter().chain(paused) {
            check_feature(self.0.driver.as_ref(), feature)?;
        }
        self.check_claims(grant, route).await?;
        let mut standing = wanted.clone();
        standing.route.cert = self.certificate(grant, route, is_for_good).await?;
        Ok(standing)
    }

    /// Two services never share a host name at a port: whoever has it keeps it.
    async fn check_claims(&self, grant: &Grant<'_>, route: &Route) -> Result<()> {
        let key = route.key();
        for Standing { route: other, .. } in self.0.driver.list().await? {
            if other.key() == key {
                grant.may_touch(&key.hostname, other.service.as_deref())?;
            }
            let is_same_name = other.listen == route.listen && other.hostname == route.hostname;
            if is_same_name && other.service.is_some() && other.service != route.service {
                let owner = other.service.unwrap_or_default();
                let message =
                    format!("`{}:{}` belongs to the service `{owner}`", route.hostname, route.listen);
                return Err(Error::new(Code::RouteClaimed, message)
                    .hint("give the route another host name, or remove the route that has it"));
            }
        }
        Ok(())
    }

    async fn put(&self, grant: &Grant<'_>, wanted: Standing) -> Result<Standing> {
        let key = wanted.route.key();
        let _lock = self.lock(&key).await;
        let standing = self.admitted(grant, &wanted, true).await?;
        self.0.driver.put(&standing).await?;
        self.has_changed();
        Ok(wanted)
    }

    async fn remove(&self, grant: &Grant<'_>, key: &Key) -> Result<()> {
        let _lock = self.lock(key).await;
        if self.standing(grant, key).await?.is_some() {
            self.0.driver.remove(key).await?;
            self.has_changed();
        }
        Ok(())
    }

    async fn set_paused(&self, grant: &Grant<'_>, key: &Key, paused: bool) -> Result<Standing> {
        check_feature(self.0.driver.as_ref(), Feature::Pause)?;
        let _lock = self.lock(key).await;
        let mut standing = self.standing(grant, key).await?.ok_or_else(|| unknown(key))?;
        if standing.paused != paused {
            standing.paused = paused;
            self.0.driver.put(&standing).await?;
            self.has_changed();
        }
        Ok(self.shown(standing))
    }

    async fn drain(&self, grant: &Grant<'_>, message: v1::DrainRequest) -> Result<Drained> {
        check_feature(self.0.driver.as_ref(), Feature::Drain)?;
        let (key, backend) = (key(message.key)?, message.backend);
        let backend = backend.as_deref().map(convert::backend_from).transpose().map_err(plain)?;
        let within = convert::span_from("within", message.within).map_err(plain)?;
        let within = within.map_or(LONGEST_DRAIN, |span| span.0.min(LONGEST_DRAIN));
        self.standing(grant, &key).await?.ok_or_else(|| unknown(&key))?;
        self.0.driver.drain(&key, backend, within).await
    }
}

fn unknown(key: &Key) -> Error {
    Error::new(Code::RouteUnknown, format!("there is no route `{key}`"))
}

fn plain(wrong: Misfit) -> Error {
    misfit(wrong, None)
}

fn misfit(wrong: Misfit, theirs: Option<&str>) -> Error {
    let code = match wrong {
        Misfit::Unknown { .. } => Code::ProxyRefused,
        Misfit::Wrong(_) => Code::RouteTerms,
    };
    version::misfit(code, wrong, "the caller", theirs)
}

fn key(message: Option<v1::Key>) -> Result<Key> {
    let key = message.ok_or_else(|| Misfit::Wrong("`key`: it is missing".into()));
    key.and_then(convert::key_from).map_err(plain)
}

/// The route that a request is for, and whoever sent it may be newer than this.
fn wanted(theirs: Option<&str>, message: Option<v1::Standing>) -> Result<Standing> {
    let standing = message.ok_or_else(|| Misfit::Wrong("`standing`: it is missing".into()));
    standing.and_then(convert::standing_from).map_err(|wrong| misfit(wrong, theirs))
}

fn version_of<T>(request: &Request<T>) -> Option<String> {
    let text = request.metadata().get(api::VERSION)?.to_str().ok()?;
    Some(text.chars().take(40).collect())
}

fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(|error| failure::status(&error))
}

#[async_trait]
impl Routes for Server {
    type WatchStream = watching::Stream;

    async fn get_version(&self, request: Request<v1::GetVersionRequest>) -> Answer<v1::GetVersionResponse> {
        answer(self.grant(&request).map(|_| v1::GetVersionResponse {
            version: version::OURS.into(),
            node: self.0.node.clone(),
            driver: self.0.driver.name().into(),
            features: convert::features_to(self.0.driver.features()),
            obtains_certificates: self.0.issuer.is_some(),
        }))
    }

    async fn check_route(&self, request: Request<v1::CheckRouteRequest>) -> Answer<v1::CheckRouteResponse> {
        let checked = async {
            let grant = self.grant(&request)?;
            let wanted = wanted(version_of(&request).as_deref(), request.get_ref().standing.clone())?;
            let standing = self.admitted(&grant, &wanted, false).await?;
            self.0.driver.admit(&standing).await?;
            Ok(v1::CheckRouteResponse { standing: Some(convert::standing_to(&wanted)) })
        };
        answer(checked.await)
    }

    async fn add_route(&self, request: Request<v1::AddRouteRequest>) -> Answer<v1::AddRouteResponse> {
        let added = async {
            let grant = self.grant(&request)?;
            let wanted = wanted(version_of(&request).as_deref(), request.get_ref().standing.clone())?;
            let stands = self.put(&grant, wanted).await?;
            Ok(v1::AddRouteResponse { standing: Some(convert::standing_to(&stands)) })
        };
        answer(added.await)
    }

    async fn remove_route(
        &self,
        request: Request<v1::RemoveRouteRequest>,
    ) -> Answer<v1::RemoveRouteResponse> {
        let removed = async {
            let grant = self.grant(&request)?;
            self.remove(&grant, &key(request.get_ref().key.clone())?).await?;
            Ok(v1::RemoveRouteResponse {})
        };
        answer(removed.await)
    }

    async fn list_routes(&self, request: Request<v1::ListRoutesRequest>) -> Answer<v1::ListRoutesResponse> {
        let listed = async {
            let grant = self.grant(&request)?;
            let found = self.seen(&grant).await?;
            let found = found.iter().map(|standing| (standing.route.key(), convert::standing_to(standing)));
            let (routes, next) = page::of(found, &request.get_ref().after)?;
            Ok(v1::ListRoutesResponse { routes, next })
        };
        answer(listed.await)
    }

    async fn get_route(&self, request: Request<v1::GetRouteRequest>) -> Answer<v1::GetRouteResponse> {
        let found = async {
            let grant = self.grant(&request)?;
            let key = key(request.get_ref().key.clone())?;
            grant.may_touch_any(&key.hostname)?;
            let found = self.0.driver.get(&key).await?.map(|standing| self.shown(standing));
            Ok(v1::GetRouteResponse { standing: found.as_ref().map(convert::standing_to) })
        };
        answer(found.await)
    }

    async fn set_paused(&self, request: Request<v1::SetPausedRequest>) -> Answer<v1::SetPausedResponse> {
        let set = async {
            let grant = self.grant(&request)?;
            let v1::SetPausedRequest { key: name, paused } = request.get_ref();
            let standing = Server::set_paused(self, &grant, &key(name.clone())?, *paused).await?;
            Ok(v1::SetPausedResponse { standing: Some(convert::standing_to(&standing)) })
        };
        answer(set.await)
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        let drained = async {
            let grant = self.grant(&request)?;
            let Drained { ended, cut } = Server::drain(self, &grant, request.get_ref().clone()).await?;
            Ok(v1::DrainResponse { ended, cut })
        };
        answer(drained.await)
    }

    async fn get_figures(&self, request: Request<v1::GetFiguresRequest>) -> Answer<v1::GetFiguresResponse> {
        let told = async {
            let grant = self.grant(&request)?;
            check_feature(self.0.driver.as_ref(), Feature::Figures)?;
            let named = self.0.driver.figures().await?.into_iter();
            // Figures of what is no route are nobody's.
            let mut named: Vec<_> =
                named.filter_map(|figures| Some((figures.route.parse::<Key>().ok()?, figures))).collect();
            named.retain(|(key, _)| grant.sees(&key.hostname) && grant.may_see(key));
            named.sort_by(|(one, _), (other, _)| one.cmp(other));
            let named = named.iter().map(|(key, figures)| (key.clone(), convert::figures_to(figures)));
            let (figures, next) = page::of(named, &request.get_ref().after)?;
            Ok(v1::GetFiguresResponse { figures, next })
        };
        answer(told.await)
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let begun = async {
            self.grant(&request)?;
            let place = self.0.watches.clone().try_acquire_owned().map_err(|_| {
                let message = format!("{MOST_WATCHES} callers follow already");
                Error::new(Code::ProxyRefused, message).retryable()
            })?;
            let caller = request.extensions().get::<Caller>().cloned();
            let entry = request.extensions().get::<Entry>().cloned().ok_or_else(not_asked)?;
            let over = request.extensions().get::<Over>().cloned();
            Ok(watching::follow(self.clone(), (caller, entry), over, place))
        };
        answer(begun.await)
    }
}
