//! Owns signing in with the word of somebody else: GitHub (OAuth 2.0) or any OpenID provider. Whatever they say, only four facts
//! go further: the provider, its name for the person, an e-mail address, and whether it was verified. Whose account that is
//! is [`crate::embedded`]'s to say.

pub mod fuzz;
mod github;
mod keys;
mod locale;
mod oidc;
mod settings;
mod states;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use effect::{Code, Error, Result, Timestamp};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use peer::{Client, Limits, Question, Secrets};
use serde::de::DeserializeOwned;
use url::Url;
use zeroize::Zeroizing;

pub(crate) use locale::Locale;
pub use settings::{Provider, Sort};
pub(crate) use states::{COOKIE, Entry, States, new as new_state};

use crate::name::{Email, Name};

const KIND: peer::Kind = peer::Kind {
    name: "the provider",
    unavailable: Code::ExternalProvider,
    refused: Code::ExternalProvider,
    garbage: Code::ExternalProvider,
};
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(5), answer: Duration::from_secs(10), largest: 256 << 10 };
/// Where client secrets may go: what `to` of a secret lists.
const DESTINATION: &str = "mcias:external";
/// Longer names of people are none.
const LONGEST_SUBJECT: usize = 255;

/// What another issuer says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who says it.
    pub provider: Name,
    /// What it calls the person, always.
    pub subject: String,
    /// Their address, where it is verified; one that is not says nothing.
    pub verified_email: Option<Email>,
}

/// What goes wrong on the way, each with its own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The way back is none that began in this browser, or it was used or took too long.
    State,
    /// Whoever was asked said no.
    Denied,
    /// There is no code.
    NoCode,
    /// The code gave no token.
    Exchange,
    /// The profile cannot be read.
    Profile,
    /// The addresses cannot be read.
    Email,
    /// What says who it is is none, or is not meant for us.
    IdToken,
    /// Nobody here is known by that.
    Nobody,
    /// Somebody else is known by that.
    Taken,
    /// No account belongs to that, but one has the address.
    Address,
    /// An account would be made, and there are too many.
    Full,
}

impl Wrong {
    /// The word for it, as it does not change.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::State => "invalid_state",
            Self::Denied => "denied",
            Self::NoCode => "missing_code",
            Self::Exchange => "token_exchange",
            Self::Profile => "profile",
            Self::Email => "email",
            Self::IdToken => "id_token",
            Self::Nobody => "not_linked",
            Self::Taken => "linked_elsewhere",
            Self::Address => "address_known",
            Self::Full => "too_many_accounts",
        }
    }

    /// The same for whoever reads the page.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::State => {
                "This sign-in did not begin in this browser, was used before, or took too long. Begin again."
            }
            Self::Denied => "You said no over there, so nobody is signed in.",
            Self::NoCode => "The other side sent nothing to go on with. Begin again.",
            Self::Exchange => "The other side did not confirm the sign-in. Try again a little later.",
            Self::Profile => "The other side did not say who you are. Try again a little later.",
            Self::Email => "The other side did not say which addresses are yours. Try again a little later.",
            Self::IdToken => "What the other side sent is not meant for this service, so it was not taken.",
            Self::Nobody => {
                "No account here belongs to that one. Sign in as usual, and link it from your account."
            }
            Self::Taken => "That one is linked to another account already.",
            Self::Address => {
                "An account here has your address already. Sign in to it as usual, and link that one from your account."
            }
            Self::Full => "No more accounts are made here. Ask whoever runs this service for one.",
        }
    }
}

/// Where a browser goes, and what is kept until it comes back.
pub(crate) struct Begun {
    pub(crate) address: String,
    pub(crate) nonce: String,
    pub(crate) verifier: Zeroizing<String>,
}

/// Every provider that is configured.
pub struct External {
    providers: BTreeMap<Name, Connected>,
    secrets: Secrets,
}

struct Connected {
    name: Name,
    settings: Provider,
    client: Client,
    about: oidc::Known,
}

impl External {
    /// Those of the settings, whose secrets come from `secrets`. Nothing is connected before it is needed.
    #[must_use]
    pub fn new(settings: &BTreeMap<Name, Provider>, secrets: Arc<dyn effect::Secrets>) -> Self {
        let connected = |(name, settings): (&Name, &Provider)| {
            let client = Client::new(KIND, LIMITS, settings.ca.clone());
            let connected = Connected {
                name: name.clone(),
                settings: settings.clone(),
                client,
                about: oidc::Known::default(),
            };
            (name.clone(), connected)
        };
        let providers = settings.iter().map(connected).collect();
        Self { providers, secrets: Secrets::new(secrets, DESTINATION) }
    }

    /// Their names, and what their buttons say.
    pub fn titles(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.providers.iter().map(|(name, known)| (name, known.settings.title(name)))
    }

    /// The settings of one.
    #[must_use]
    pub fn settings(&self, name: &Name) -> Option<&Provider> {
        self.providers.get(name).map(|known| &known.settings)
    }

    /// The address that a browser is sent to.
    ///
    /// # Errors
    /// `MC-W021` where the provider does not say where that is.
    pub(crate) async fn begin(
        &self,
        name: &Name,
        state: &str,
        callback: &str,
        locale: Option<&Locale>,
        now: Timestamp,
    ) -> Result<Option<Begun>> {
        let Some(known) = self.providers.get(name) else { return Ok(None) };
        let verifier = Zeroizing::new(crate::random::token::<32>()?);
        let nonce = crate::random::token::<16>()?;
        let challenge = crate::random::encoded(&crate::random::sha256(verifier.as_bytes()));
        let is_oidc = known.settings.kind == Sort::Oidc;
        let (endpoint, scope) = match known.settings.kind {
            Sort::Github => (known.settings.github_authorize(), "read:user user:email".to_owned()),
            Sort::Oidc => {
                let about = known.about(now).await?;
                (about.authorization_endpoint.clone(), "openid email".to_owned())
            }
        };
        let parameters = [
            ("response_type", Some("code")),
            ("client_id", Some(known.settings.client_id.as_str())),
            ("redirect_uri", Some(callback)),
            ("scope", Some(scope.as_str())),
            ("state", Some(state)),
            ("nonce", is_oidc.then_some(nonce.as_str())),
            ("ui_locales", locale.filter(|_| is_oidc).map(Locale::as_str)),
            ("code_challenge", Some(challenge.as_str())),
            ("code_challenge_method", Some("S256")),
        ];
        let address = crate::sso::with_parameters(&endpoint, &parameters);
        Ok(Some(Begun { address, nonce, verifier }))
    }

    /// What the provider says of whoever brings this code.
    ///
    /// # Errors
    /// What goes wrong, after its cause was logged.
    pub(crate) async fn facts(
        &self,
        entry: &Entry,
        code: &str,
        issuer: Option<&str>,
        callback: &str,
        now: Timestamp,
    ) -> Result<Facts, Wrong> {
        let known = self.providers.get(&entry.provider).ok_or(Wrong::State)?;
        let told = |wrong: Wrong| {
            move |error: Error| {
                tracing::warn!(target: "mcias", %error, "an external sign-in failed");
                wrong
            }
        };
        let secret =
            self.secrets.value(&known.settings.client_secret).await.map_err(told(Wrong::Exchange))?;
        let exchange = Exchange { code, callback, verifier: &entry.verifier, secret: &secret };
        match known.settings.kind {
            Sort::Github => github::facts(known, &exchange).await,
            Sort::Oidc => oidc::facts(known, &exchange, &entry.nonce, issuer, now).await,
        }
        .map_err(|(wrong, error)| told(wrong)(error))
    }
}

/// What a code is redeemed with.
struct Exchange<'a> {
    code: &'a str,
    callback: &'a str,
    verifier: &'a str,
    secret: &'a [u8],
}

/// What went wrong, for the page and for the log.
type Failed = (Wrong, Error);

/// The error of an answer that is none.
fn nonsense(what: &'static str) -> Error {
    Error::new(Code::ExternalProvider, format!("the provider's answer makes no sense: {what}"))
}

impl Connected {
    /// An answer in JSON.
    async fn ask<T: DeserializeOwned>(&self, question: &Question) -> Result<T> {
        let answer = self.client.exchange(question).await.map_err(|failure| failure.error)?;
        let place = self.client.place(&question.url);
        if answer.status != StatusCode::OK {
            return Err(KIND.refused(&place, "the question", answer.status));
        }
        // What serde says could repeat a token.
        serde_json::from_slice(&answer.body).map_err(|_| KIND.garbage(&place, "it is no such JSON"))
    }

    async fn read<T: DeserializeOwned>(&self, url: &str, bearer: Option<&str>) -> Result<T> {
        let mut question = Question::new(Method::GET, parsed(url)?);
        question.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = bearer {
            let text = Zeroizing::new(format!("Bearer {token}"));
            let mut header = HeaderValue::from_str(&text).map_err(|_| nonsense("the token is none"))?;
            header.set_sensitive(true);
            question.headers.insert(AUTHORIZATION, header);
        }
        self.ask(&question).await
    }

    /// Redeems a code.
    async fn redeem<T: DeserializeOwned>(&self, url: &str, exchange: &Exchange<'_>) -> Result<T> {
        let mut question = Question::new(Method::POST, parsed(url)?);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        question.headers.insert(CONTENT_TYPE, kind);
        question.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let secret = std::str::from_utf8(exchange.secret).map_err(|_| nonsense("the secret is no text"))?;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", exchange.code),
            ("redirect_uri", exchange.callback),
            ("client_id", self.settings.client_id.as_str()),
            ("client_secret", secret),
            ("code_verifier", exchange.verifier),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        question.body = Bytes::from(body);
        self.ask(&question).await
    }

    async fn about(&self, now: Timestamp) -> Result<Arc<oidc::About>> {
        self.about.get(self, now).await
    }
}

fn parsed(url: &str) -> Result<Url> {
    let url: Url = url.parse().map_err(|_| nonsense("an address is none"))?;
    // Whoever is on the way could read codes and say who somebody is.
    match url.scheme() == "https" || url.scheme() == "http" && peer::is_here(&url) {
        true => Ok(url),
        false => Err(nonsense("an address is neither https nor of this machine")),
    }
}

/// What a provider calls somebody, where it can be kept.
fn subject(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= LONGEST_SUBJECT && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}
