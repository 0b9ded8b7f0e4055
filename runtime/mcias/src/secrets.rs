//! Owns tokens on their way as secrets: a script that has a token made gets a name for it, and only what takes the token
//! sees it. Their names begin with `mcias.tokens/`; all others are those of the operator's own sources.

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
/// Where every token may go: back to who made it.
const HOME: &str = "mcias:";
/// Tokens that are masked in output: those that were seen last.
const MOST_MASKED: usize = 64;

/// The name of a token as a secret.
#[must_use]
pub fn name(account: &Name, id: &str) -> String {
    format!("{PREFIX}{account}/{id}")
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

fn parts(name: &str) -> Option<Result<(Name, &str)>> {
    let (account, id) = name.strip_prefix(PREFIX)?.split_once('/')?;
    Some(account.parse().map(|account| (account, id)))
}

#[async_trait]
impl Secrets for WithTokens {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        let Some(parts) = parts(name) else { return self.others.reveal(name).await };
        let (account, id) = parts?;
        let text = self.identity.handed_on(&account, id).await.map_err(|error| {
            let unknown =
                Error::new(Code::SecretUnknown, format!("there is no secret `{}`", crate::name::shown(name)));
            unknown.because(error)
        })?;
        let value = Zeroizing::new(text.as_bytes().to_vec());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().all(|(known, _)| known != name) {
            seen.push_back((name.to_owned(), text));
            if seen.len() > MOST_MASKED {
                seen.pop_front();
            }
        }
        Ok(value)
    }

    async fn current(&self, name: &str) -> Result<(Option<u32>, Zeroizing<Vec<u8>>)> {
        match parts(name) {
            Some(_) => Ok((None, self.reveal(name).await?)),
            None => self.others.current(name).await,
        }
    }

    async fn reveal_version(&self, name: &str, version: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
        match parts(name) {
            Some(_) => self.reveal(name).await,
            None => self.others.reveal_version(name, version).await,
        }
    }

    async fn look(&self, name: &str) -> Result<()> {
        match parts(name) {
            Some(_) => Ok(()),
            None => self.others.look(name).await,
        }
    }

    async fn used(&self, name: &str, version: Option<u32>, destination: &str) -> Result<()> {
        match parts(name) {
            Some(_) => Ok(()),
            None => self.others.used(name, version, destination).await,
        }
    }

    fn may_go(&self, name: &str, destination: &str) -> Result<bool> {
        let Some(parts) = parts(name) else { return self.others.may_go(name, destination) };
        let (account, _) = parts?;
        let own = format!("containers:{account}");
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
