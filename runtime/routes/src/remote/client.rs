//! Owns the driver that makes the calls: one connection that is opened anew when it broke, deadlines, and what the other
//! side can do.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::v1;
use api::v1::routes_client::RoutesClient;
use async_trait::async_trait;
use effect::{Code, Error, Result};
use tokio::sync::Mutex;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::connect::{Way, unavailable};
use super::convert::{self, Misfit};
use super::settings::Place;
use super::watch::Watch;
use super::{AUTO, Settings, failure, version};
use crate::driver::{Certificates, Drained, Driver, Feature, Figures, Standing, needed};
use crate::route::{Backend, Key};

/// An answer, in octets.
const LARGEST: usize = 4 << 20;
/// No proxy has more pages.
const MOST_PAGES: usize = 4096;
/// The longest drain of a route, which a change of it may take: an hour.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

/// For the other side to find that its own edge does not answer.
const EDGE: Duration = Duration::from_secs(20);

type Calls = RoutesClient<Way>;

/// A connection, and who is at its other end.
struct Link {
    way: Way,
    calls: Calls,
    /// Its version.
    version: String,
    features: Vec<Feature>,
    obtains: bool,
}

/// Drives the proxy of another mcrun.
pub struct Client {
    place: Place,
    /// How errors name it.
    shown: String,
    patience: Duration,
    certificates: Arc<dyn Certificates>,
    link: Mutex<Option<Arc<Link>>>,
    /// What the other side had when it was first asked.
    features: OnceLock<Vec<Feature>>,
}

impl Client {
    /// The driver, without a connection yet. A certificate that `settings` names by its id is looked up in `certificates`.
    ///
    /// # Errors
    /// `MC-U002` where the settings make no sense.
    pub fn new(settings: &Settings, certificates: Arc<dyn Certificates>) -> Result<Self> {
        let place = settings.place()?;
        let shown = match &place {
            Place::Socket(path) => path.display().to_string(),
            Place::Tls { address, .. } => address.to_string(),
        };
        Ok(Self {
            place,
            shown,
            patience: settings.timeout.0,
            certificates,
            link: Mutex::default(),
            features: OnceLock::new(),
        })
    }

    /// What changes on the other side, beginning with what is there.
    ///
    /// # Errors
    /// As [`Driver::list`].
    pub async fn watch(&self) -> Result<Watch> {
        let call = |mut calls: Calls| async move { calls.watch(request(v1::WatchRequest {})).await };
        let (stream, link) = self.call(self.patience, call).await?;
        Ok(Watch::new(stream, self.shown.clone(), link.version.clone()))
    }

    /// The connection there is, or a new one; whether it is new.
    async fn link(&self) -> Result<(Arc<Link>, bool)> {
        let mut known = self.link.lock().await;
        if let Some(link) = known.as_ref().filter(|link| !link.way.is_closed()) {
            return Ok((link.clone(), false));
        }
        let link = tokio::time::timeout(self.patience, self.open()).await;
        let link = Arc::new(link.unwrap_or_else(|_| Err(self.late(self.patience)))?);
        *known = Some(link.clone());
        Ok((link, true))
    }

    async fn open(&self) -> Result<Link> {
        let way = Way::open(&self.place, self.certificates.as_ref()).await?;
        // The other side is known by its certificate, not by what a request calls it.
        let origin = http::Uri::from_static("https://mcrun");
        let mut calls = RoutesClient::with_origin(way.clone(), origin).max_decoding_message_size(LARGEST);
        let there = match calls.get_version(request(v1::GetVersionRequest {})).await {
            Ok(there) => there.into_inner(),
            Err(status) => return Err(self.failed(&way, status, None).await),
        };
        let features = convert::features_from(&there.features);
        self.features.get_or_init(|| features.clone());
        let version = there.version.chars().take(40).collect();
        Ok(Link { way, calls, version, features, obtains: there.obtains_certificates })
    }

    /// Makes a call, over a new connection where the one there was is found broken: every call may be made twice.
    async fn call<T, F>(&self, patience: Duration, call: impl Fn(Calls) -> F) -> Result<(T, Arc<Link>)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            let (link, is_new) = self.link().await?;
            let answer = tokio::time::timeout(patience, call(link.calls.clone())).await;
            let status = match answer.map_err(|_| self.late(patience))? {
                Ok(answer) => return Ok((answer.into_inner(), link)),
                Err(status) => status,
            };
            let has_broken = failure::told(&status, &self.shown, None).is_none();
            if has_broken {
                self.forget(&link).await;
            }
            if !has_broken || is_new {
                return Err(self.failed(&link.way, status, Some(&link.version)).await);
            }
        }
    }

    async fn forget(&self, broken: &Arc<Link>) {
        let mut known = self.link.lock().await;
        if known.as_ref().is_some_and(|link| Arc::ptr_eq(link, broken)) {
            *known = None;
        }
    }

    async fn failed(&self, way: &Way, status: Status, theirs: Option<&str>) -> Error {
        match failure::told(&status, &self.shown, theirs) {
            Some(error) => error,
            None => way.reason(&status).await,
        }
    }

    fn late(&self, patience: Duration) -> Error {
        unavailable(&self.shown, format!("no answer within {patience:?}"))
    }

    fn misfit(&self, wrong: Misfit, link: &Link) -> Error {
        version::misfit(Code::ProxyAnswer, wrong, &self.place_of(), Some(&link.version))
    }

    fn place_of(&self) -> String {
        format!("the mcrun at {}", self.shown)
    }

    /// What came back of a route that was sent: less is what the other side does not know.
    fn same(&self, sent: &Standing, back: Option<v1::Standing>, link: &Link) -> Result<()> {
        let back = back.ok_or_else(|| Misfit::Wrong("it leaves the route out".into()));
        let back = back.and_then(convert::standing_from).map_err(|wrong| self.misfit(wrong, link))?;
        if back == *sent {
            return Ok(());
        }
        let message = format!("{} takes only a part of what `{}` says", self.place_of(), sent.route.key());
        Err(version::skew(Code::ProxyAnswer, message, &self.place_of(), Some(&link.version)))
    }

    /// Refuses what the other side said it cannot do.
    fn check(&self, standing: &Standing, link: &Link) -> Result<()> {
        let paused = standing.paused.then_some(Feature::Pause);
        let lacking =
            needed(&standing.route).into_iter().chain(paused).find(|one| !link.features.contains(one));
        let lacks = |what: &str| {
            let message = format!("{} does not have {what}", self.place_of());
            version::skew(Code::Unsupported, message, &self.place_of(), Some(&link.version))
        };
        match lacking {
            Some(feature) => Err(lacks(feature.describe())),
            None if standing.route.cert.as_deref() == Some(AUTO) && !link.obtains => {
                Err(lacks("a way to get certificates, which `auto` takes"))
            }
            None => Ok(()),
        }
    }

    /// How long a change of a route may take, its drain included.
    async fn patience_for(&self, key: &Key, after: Option<&Standing>) -> Result<Duration> {
        let before = self.get(key).await?;
        let drains = before.iter().chain(after).map(|standing| standing.route.drain.0);
        Ok(self.patience + EDGE + drains.max().unwrap_or_default().min(LONGEST_DRAIN))
    }
}

/// A request that says which version asks.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(api::VERSION, MetadataValue::from_static(version::OURS));
    request
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "remote"
    }

    /// Everything, before the other side is asked; [`Driver::admit`] refuses what it lacks.
    fn features(&self) -> &[Feature] {
        self.features.get().map_or(&Feature::ALL, Vec::as_slice)
    }

    async fn list(&self) -> Result<Vec<Standing>> {
        let mut found = Vec::new();
        let mut after = String::new();
        for _ in 0..MOST_PAGES {
            let from = &after;
            let call = |mut calls: Calls| async move {
                calls.list_routes(request(v1::ListRoutesRequest { after: from.clone() })).await
            };
            let (page, link) = self.call(self.patience, call).await?;
            for message in page.routes {
                found.push(convert::standing_from(message).map_err(|wrong| self.misfit(wrong, &link))?);
            }
            if page.next.is_empty() {
                found.sort_by_key(|standing| standing.route.key());
                return Ok(found);
            }
            after = page.next;
        }
        Err(Error::new(Code::ProxyAnswer, format!("{} lists routes without an end", self.place_of())))
    }

    async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        let call = |mut calls: Calls| async move {
            calls.get_route(request(v1::GetRouteRequest { key: Some(convert::key_to(key)) })).await
        };
        let (found, link) = self.call(self.patience, call).await?;
        found.standing.map(convert::standing_from).transpose().map_err(|wrong| self.misfit(wrong, &link))
    }

    async fn admit(&self, standing: &Standing) -> Result<()> {
        let (link, _) = self.link().await?;
        self.check(standing, &link)?;
        let call = |mut calls: Calls| async move {
            let standing = Some(convert::standing_to(standing));
            calls.check_route(request(v1::CheckRouteRequest { standing })).await
        };
        let (understood, link) = self.call(self.patience, call).await?;
        self.same(standing, understood.standing, &link)
    }

    async fn put(&self, standing: &Standing) -> Result<()> {
        // What would be understood in part is not begun.
        self.admit(standing).await?;
        let patience = self.patience_for(&standing.route.key(), Some(standing)).await?;
        let call = |mut calls: Calls| async move {
            let standing = Some(convert::standing_to(standing));
            calls.add_route(request(v1::AddRouteRequest { standing })).await
        };
        let (stands, link) = self.call(patience, call).await?;
        self.same(standing, stands.standing, &link)
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        let patience = self.patience_for(key, None).await?;
        let call = |mut calls: Calls| async move {
            calls.remove_route(request(v1::RemoveRouteRequest { key: Some(convert::key_to(key)) })).await
        };
        self.call(patience, call).await.map(drop)
    }

    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Drained> {
        let call = |mut calls: Calls| async move {
            let (key, backend) = (Some(convert::key_to(key)), backend.map(|backend| backend.to_string()));
            let within = convert::span_to(effect::units::Span(within));
            calls.drain(request(v1::DrainRequest { key, backend, within })).await
        };
        let patience = self.patience + within.min(LONGEST_DRAIN);
        let (v1::DrainResponse { ended, cut }, _) = self.call(patience, call).await?;
        Ok(Drained { ended, cut })
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        let mut found = Vec::new();
        let mut after = String::new();
        for _ in 0..MOST_PAGES {
            let from = &after;
            let call = |mut calls: Calls| async move {
                calls.get_figures(request(v1::GetFiguresRequest { after: from.clone() })).await
            };
            let (page, link) = self.call(self.patience, call).await?;
            for message in page.figures {
                found.push(convert::figures_from(message).map_err(|wrong| self.misfit(wrong, &link))?);
            }
            if page.next.is_empty() {
                return Ok(found);
            }
            after = page.next;
        }
        Err(Error::new(Code::ProxyAnswer, format!("{} lists figures without an end", self.place_of())))
    }
}
