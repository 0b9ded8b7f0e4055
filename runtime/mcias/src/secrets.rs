//! Owns tokens, and secrets of clients, on their way as secrets: a script that has one made gets a name for it, and only what
//! takes it sees it. Their names begin with `mcias.tokens/` and `mcias.sso_clients/`; all others are those of the operator's own
//! sources.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use effect::{Code, Error, Result, Secrets};
use zeroize::Zeroizing;

use crate::driver::Driver;
use crate::name::Name;
use crate::policy::is_like;

/// How the names of tokens begin.
const PREFIX: &str = "mcias.tokens/";
/// How the names of secrets of clients begin.
const CLIENTS: &str = "mcias.sso_clients/";
/// Where every token may go: back to who made it.
const HOME: &str = "mcias:";
/// Tokens that are masked in output: those that were seen last.
const MOST_MASKED: usize = 64;

/// The name of a token as a secret.
#[must_use]
pub fn name(account: &Name, id: &str) -> String {
    format!("{PREFIX}{account}/{id}")
}

/// The name of a client's secret as a secret.
#[must_use]
pub fn of_client(id: &Name) -> String {
    format!("{CLIENTS}{id}")
}

/// Tokens beside the secrets of the operator.
pub struct WithTokens {
    others: Arc<dyn Secrets>,
    identity: Arc<dyn Driver>,
    /// Where they may go beyond the containers of their account.
    more: Vec<String>,
    seen: Mutex<VecDeque<(String, Zeroizing<String>)>>,
}

impl WithTokens {
    /// Tokens of `identity`, which may also go where `more` says, and `others`.
    #[must_use]
    pub fn new(others: Arc<dyn Secrets>, identity: Arc<dyn Driver>, more: &[String]) -> Self {
        Self { others, identity, more: more.to_vec(), seen: Mutex::default() }
    }
}

/// A secret of ours, by its name.
enum Ours<'a> {
    Token(Name, &'a str),
    Client(Name),
}

impl<'a> Ours<'a> {
    /// Nothing for a secret of somebody else's.
    fn read(name: &'a str) -> Option<Result<Self>> {
        if let Some(id) = name.strip_prefix(CLIENTS) {
            return Some(id.parse().map(Self::Client));
        }
        let (account, id) = name.strip_prefix(PREFIX)?.split_once('/')?;
        Some(account.parse().map(|account| Self::Token(account, id)))
    }

    /// Whose containers may have it.
    fn owner(&self) -> &Name {
        match self {
            Self::Token(account, _) => account,
            Self::Client(client) => client,
        }
    }
}

impl WithTokens {
    /// One of ours, with its version where it has versions.
    async fn opened(&self, name: &str, ours: &Ours<'_>) -> Result<(Option<u32>, Zeroizing<Vec<u8>>)> {
        let opened = match ours {
            Ours::Token(account, id) => {
                let text = self.identity.handed_on(account, id).await;
                text.map(|text| (None, Zeroizing::new(text.as_bytes().to_vec())))
            }
            Ours::Client(id) => {
                self.identity.client_secret(id).await.map(|(version, secret)| (Some(version), secret))
            }
        };
        let (version, value) = opened.map_err(|error| {
            let message = format!("there is no secret `{}`", crate::name::shown(name));
            Error::new(Code::SecretUnknown, message).because(error)
        })?;
        let text = Zeroizing::new(String::from_utf8_lossy(&value).into_owned());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().all(|(_, known)| *known != text) {
            seen.push_back((name.to_owned(), text));
            if seen.len() > MOST_MASKED {
                seen.pop_front();
            }
        }
        Ok((version, value))
    }
}

#[async_trait]
impl Secrets for WithTokens {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        match Ours::read(name) {
            Some(ours) => Ok(self.opened(name, &ours?).await?.1),
            None => self.others.reveal(name).await,
        }
    }

    async fn current(&self, name: &str) -> Result<(Option<u32>, Zeroizing<Vec<u8>>)> {
        match Ours::read(name) {
            Some(ours) => self.opened(name, &ours?).await,
            None => self.others.current(name).await,
        }
    }

    async fn reveal_version(&self, name: &str, version: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
        match Ours::read(name) {
            Some(ours) => Ok(self.opened(name, &ours?).await?.1),
            None => self.others.reveal_version(name, version).await,
        }
    }

    async fn look(&self, name: &str) -> Result<()> {
        match Ours::read(name) {
            Some(_) => Ok(()),
            None => self.others.look(name).await,
        }
    }

    async fn used(&self, name: &str, version: Option<u32>, destination: &str) -> Result<()> {
        // Of tokens no versions are kept; that one was used is told all the same.
        let version = if Ours::read(name).is_some() { None } else { version };
        self.others.used(name, version, destination).await
    }

    fn may_go(&self, name: &str, destination: &str) -> Result<bool> {
        let Some(ours) = Ours::read(name) else { return self.others.may_go(name, destination) };
        let own = format!("containers:{}", ours?.owner());
        let is_own =
            destination == own || destination.strip_prefix(&own).is_some_and(|rest| rest.starts_with('-'));
        let is_home = destination.starts_with(HOME);
        Ok(is_own || is_home || self.more.iter().any(|pattern| is_like(pattern, destination)))
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut masked = self.others.mask(text);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, token) in seen.iter() {
            if masked.contains(token.as_str()) {
                masked = masked.replace(token.as_str(), &format!("secret({name})")).into();
            }
        }
        masked
    }
}
