//! Owns everything that is asked of the service by HTTP: which host it is, which path does what, and what holds for every
//! request and every answer. Sockets, TLS, time-outs and sizes are the daemon's.

pub mod answer;
mod asked;
mod cookies;
mod external;
mod forms;
mod html;
mod limits;
mod onward;
mod origin;
mod pages;
mod passkeys;
mod pending;
mod proxies;
pub(crate) mod rest;
mod sso;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, Request, StatusCode};

pub use self::answer::{Answer, Answered, Refused};
pub use self::asked::{Asked, Form};
pub use self::cookies::{SESSION, forget_cookie, set_cookie};
pub use self::forms::Forms;
use self::limits::Limits;
use self::origin::Origin;
pub(crate) use self::origin::address;
pub(crate) use self::proxies::Proxies;
use crate::driver::Holder;
use crate::embedded::Embedded;
use crate::external::{External, States};
use crate::name::Name;
use crate::passkey::Relying;

/// The service that tokens for the service itself are for.
pub const OWN_SERVICE: &str = "mcias";
/// Octets of a body, whoever listens.
pub const LARGEST_BODY: usize = 64 << 10;
/// Octets of a path with its query.
const LONGEST_PATH: usize = 8 << 10;
/// For how long after a sign-in people may change how they sign in.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// For how long keys may be kept by whoever fetched them: a new one signs only after that.
const KEYS_KEPT: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// What answers.
pub struct Web {
    service: Arc<Embedded>,
    own: Name,
    origin: Origin,
    limits: Limits,
    proxies: Proxies,
    /// Sign-ins that wait for a second factor.
    pending: pending::Pending,
    /// Other issuers, and who is on the way to them.
    external: Option<External>,
    states: States,
    relying: Option<Relying>,
}

impl Web {
    /// The service behind its addresses.
    ///
    /// # Errors
    /// `MC-U002` where the settings do not say under which address it is reached, or list proxies that are none.
    pub fn new(service: Arc<Embedded>) -> Result<Self> {
        let origin = Origin::of(service.settings())?;
        let relying = Relying::of(origin.url()).ok();
        Ok(Self {
            own: OWN_SERVICE.parse()?,
            origin,
            limits: Limits::default(),
            proxies: Proxies::of(&service.settings().proxies)?,
            pending: pending::Pending::default(),
            external: None,
            states: States::default(),
            relying,
            service,
        })
    }

    /// With other issuers by whose word people sign in.
    #[must_use]
    pub fn with_external(self, external: External) -> Self {
        Self { external: Some(external), ..self }
    }

    /// The answer to a request of `peer`, whose body is there.
    pub async fn answer(&self, request: Request<Bytes>, peer: SocketAddr) -> Answer {
        let asked = Asked { request: &request, peer: self.proxies.client(peer.ip(), request.headers()) };
        let mut answer = match self.answered(&asked).await {
            Ok(answer) => answer,
            Err(refused) => refused.into_answer(),
        };
        if request.method() == Method::HEAD {
            *answer.body_mut() = Bytes::new();
        }
        answer::secured(answer)
    }

    async fn answered(&self, asked: &Asked<'_>) -> Answered {
        self.origin.check_host(asked)?;
        self.origin.check_source(asked)?;
        self.limits.admit(asked.peer, self.service.now())?;
        if asked.request.uri().path_and_query().is_some_and(|path| path.as_str().len() > LONGEST_PATH) {
            return Err(Refused::unknown());
        }
        if asked.request.body().len() > LARGEST_BODY {
            return Err(Refused::too_large());
        }
        let parts = asked.parts()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["v1", "health"] => {
                asked.only(&[Method::GET])?;
                answer::json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
            }
            [".well-known", "jwks.json"] => {
                asked.only(&[Method::GET])?;
                let mut answer = answer::json(StatusCode::OK, &self.service.key_set().await?)?;
                answer.headers_mut().insert(CACHE_CONTROL, KEYS_KEPT);
                Ok(answer)
            }
            [".well-known", "openid-configuration"] | ["sso", ..] | ["v1", "sso", ..] => {
                sso::answer(self, asked, &parts).await
            }
            ["" | "login" | "logout" | "account" | "style.css", ..] => {
                pages::answer(self, asked, &parts).await
            }
            ["external", rest @ ..] => external::answer(self, asked, rest).await,
            ["passkeys", rest @ ..] => self.passkeys(asked, rest).await,
            ["passkeys.js"] => Self::passkeys_script(asked),
            ["v1", rest @ ..] => rest::answer(self, asked, rest).await,
            _ => Err(Refused::unknown()),
        }
    }

    /// The party that passkeys are made for; an address without a name has none.
    pub(super) fn relying(&self) -> Result<&Relying, Refused> {
        let none = || Error::new(Code::Unsupported, "there are no passkeys under this address");
        Ok(self.relying.as_ref().ok_or_else(none)?)
    }

    /// The service itself.
    #[must_use]
    pub fn service(&self) -> &Arc<Embedded> {
        &self.service
    }

    /// The address under which it is reached, without a slash at its end: the issuer, and what pages lie beneath.
    #[must_use]
    pub fn url(&self) -> &str {
        self.origin.url()
    }

    /// Who asks, by the token in `Authorization`; nobody where there is none.
    ///
    /// # Errors
    /// 401 for a token that is not valid for the service itself.
    pub async fn bearer(&self, asked: &Asked<'_>) -> Result<Option<Arc<Holder>>, Refused> {
        let Some(token) = asked.bearer()? else { return Ok(None) };
        match self.service.validated(token, &self.own).await? {
            Ok(holder) => Ok(Some(holder)),
            Err(_) => Err(Refused::unauthenticated()),
        }
    }

    /// Who is signed in here, by the session's cookie; nobody where there is none or it is over. What changes something for
    /// them takes a form of [`Forms`] as well.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub async fn session(&self, asked: &Asked<'_>) -> Result<Option<Arc<Holder>>, Refused> {
        let Some(token) = asked.cookie(SESSION) else { return Ok(None) };
        Ok(self.service.validated(token, &self.own).await?.ok())
    }

    /// Whether a session began so lately that how its owner signs in may be changed in it: one that somebody else came by, or
    /// a browser that was left alone, must not take the account over.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub(super) async fn is_fresh(&self, holder: &Holder) -> Result<bool, Refused> {
        let (began, now) = (self.service.began(holder).await?, self.service.now());
        Ok(began.is_some_and(|began| began <= now && now < began.after(FRESH)))
    }

    /// What makes and checks forms.
    #[must_use]
    pub fn forms(&self) -> Forms<'_> {
        Forms::new(self.service.sealer())
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.code {
            Code::Argument | Code::IdentityName | Code::PasswordRefused | Code::LoginPolicy => {
                StatusCode::BAD_REQUEST
            }
            Code::AccountUnknown => StatusCode::NOT_FOUND,
            Code::AccountKind | Code::AccountChanged | Code::LastAdmin | Code::FirstAdmin => {
                StatusCode::CONFLICT
            }
            Code::LoginRefused | Code::TokenRefused | Code::SecondFactor => StatusCode::FORBIDDEN,
            Code::IdentityBusy => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Code::ExternalProvider => {
                tracing::warn!(target: "mcias", %error, "a provider of external sign-in fails");
                let words = "the other side does not answer; try again a little later";
                return Self::new(StatusCode::BAD_GATEWAY, error.code.as_str(), words);
            }
            _ => {
                // What is wrong within is for the log of whoever runs it.
                tracing::error!(target: "mcias", %error, "a request could not be answered");
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal.as_str(), "it failed");
            }
        };
        let refused = Self::new(status, error.code.as_str(), error.message);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => refused.after(Duration::from_secs(1)),
            _ => refused,
        }
    }
}
