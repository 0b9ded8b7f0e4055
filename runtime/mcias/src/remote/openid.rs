//! The driver that validates tokens of any provider of OpenID: its keys are found by discovery, and kept for a while. It makes
//! neither accounts nor tokens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Result, Timestamp};
use http::Method;
use journal::Clock;
use peer::{Limits, Question as Asked, host};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use super::ask::KIND;
use super::signature::Keys;
use super::{Provider, Valid, base};
use crate::account::{Account, Kind, Role};
use crate::driver::{Driver, Feature, Holder, Issued, Order, Question, Token, unsupported};
use crate::name::Name;
use crate::policy::{Explanation, RuleSet};
use crate::random;
use crate::token::Refusal;

/// Octets of a document of the provider.
const LARGEST: usize = 256 << 10;
/// Octets of a token: those of others say more than ours.
const LONGEST_TOKEN: usize = 16 << 10;
/// For how long keys are kept, and how soon they are looked for again when a token names another one.
const KEYS_KEPT: Duration = Duration::from_secs(3600);
const KEYS_REST: Duration = Duration::from_secs(60);
/// How much clocks may differ.
const LEEWAY: i64 = 10;

/// The way to a provider of OpenID.
pub struct OpenId {
    settings: Provider,
    clock: Arc<dyn Clock>,
    client: peer::Client,
    keys: Mutex<Option<(Arc<Keys>, Timestamp)>>,
    valid: Valid,
}

impl OpenId {
    /// The way by `settings`. Nothing is asked yet.
    #[must_use]
    pub fn new(settings: Provider, clock: Arc<dyn Clock>) -> Self {
        let patience = settings.timeout.0;
        let limits = Limits { connect: patience, answer: patience, largest: LARGEST };
        let client = peer::Client::new(KIND, limits, settings.ca.clone());
        Self { settings, clock, client, keys: Mutex::default(), valid: Valid::default() }
    }

    /// The keys of the provider; those that are kept, unless they are older than `oldest`.
    async fn keys(&self, oldest: Duration) -> Result<Arc<Keys>> {
        let now = self.clock.now();
        // One at a time: whoever waits finds what the first one has brought.
        let mut kept = self.keys.lock().await;
        if let Some((keys, at)) = &*kept
            && *at <= now
            && now.since(*at) < oldest
        {
            return Ok(keys.clone());
        }
        let keys = Arc::new(self.discover().await?);
        *kept = Some((keys.clone(), now));
        Ok(keys)
    }

    async fn discover(&self) -> Result<Keys> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let at = base(&format!("{issuer}/.well-known/openid-configuration"), "[drivers.openid] issuer")?;
        let said = self.document(&at).await?;
        let garbage = |why: &str| KIND.garbage(&host(&at), why);
        // Whoever answers for another issuer has no say about this one.
        if said.get("issuer").and_then(Value::as_str) != Some(self.settings.issuer.as_str()) {
            return Err(garbage("its discovery names another issuer")
                .hint("`issuer` under [drivers.openid] is written exactly as the provider writes it"));
        }
        let keys = said.get("jwks_uri").and_then(Value::as_str);
        let keys = keys.ok_or_else(|| garbage("its discovery names no keys"))?;
        let keys = base(keys, "jwks_uri").map_err(|_| garbage("its keys are not reached by HTTPS"))?;
        Keys::of(&self.document(&keys).await?).ok_or_else(|| garbage("its keys are none"))
    }

    async fn document(&self, url: &Url) -> Result<Value> {
        let answer = self.client.exchange(&Asked::new(Method::GET, url.clone())).await?;
        if !answer.status.is_success() {
            let why = format!("it answered with {}", answer.status);
            return Err(match answer.status.is_server_error() {
                true => KIND.unavailable(&host(url), why).retryable(),
                false => KIND.refused(&host(url), "to show its documents", why),
            });
        }
        serde_json::from_slice(&answer.body).map_err(|_| KIND.garbage(&host(url), "it is no JSON"))
    }

    fn holder(
        &self,
        token: &str,
        claims: &Map<String, Value>,
        service: &Name,
        now: Timestamp,
    ) -> Result<Holder, Refusal> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|time| time as i64);
        if text("iss") != Some(self.settings.issuer.as_str()) {
            return Err(Refusal::Issuer);
        }
        let audience = format!("{}{service}", self.settings.audience_prefix);
        let is_for_it = match claims.get("aud") {
            Some(Value::String(one)) => *one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(&audience)),
            _ => false,
        };
        if !is_for_it {
            return Err(Refusal::Audience);
        }
        let seconds = now.0 / 1000;
        let expires = time("exp").ok_or(Refusal::Malformed)?;
        if seconds >= expires.saturating_add(LEEWAY) {
            return Err(Refusal::Expired);
        }
        let begins = time("nbf").unwrap_or(i64::MIN).max(time("iat").unwrap_or(i64::MIN));
        if seconds.saturating_add(LEEWAY) < begins {
            return Err(Refusal::NotYetValid);
        }
        let subject = text("sub").ok_or(Refusal::Malformed)?;
        // Two people of a provider may differ in capitals alone, and a name here has none: folded, one would be the other.
        let exact = |text: &str| text.parse::<Name>().ok().filter(|name| name.as_str() == text);
        let account = text(&self.settings.account_claim).and_then(exact);
        let listed = |claim: &Option<String>| -> Vec<&str> {
            let listed = claim.as_ref().and_then(|claim| claims.get(claim));
            listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let roles = listed(&self.settings.roles_claim);
        Ok(Holder {
            // What is no name here could be taken for another one.
            account: account.ok_or(Refusal::AccountInactive)?,
            account_id: subject.to_owned(),
            kind: Kind::Human,
            roles: Role::ALL.into_iter().filter(|role| roles.contains(&role.as_str())).collect(),
            groups: listed(&self.settings.groups_claim).into_iter().filter_map(exact).collect(),
            service: service.clone(),
            token: text("jti").map_or_else(
                || random::encoded(&random::sha256(token.as_bytes())[..16]),
                |id| id.chars().take(64).collect(),
            ),
            expires_at: expires.saturating_mul(1000),
        })
    }

    fn lacks<T>(&self, feature: Feature) -> Result<T> {
        Err(unsupported(self.name(), feature))
    }
}

#[async_trait]
impl Driver for OpenId {
    fn name(&self) -> &'static str {
        "openid"
    }

    fn features(&self) -> &[Feature] {
        &[]
    }

    async fn validate(&self, token: &str, service: &Name) -> Result<Result<Holder, Refusal>> {
        if token.len() > LONGEST_TOKEN {
            return Ok(Err(Refusal::Malformed));
        }
        let (key, now) = (Valid::key(token, service), self.clock.now());
        if let Some(holder) = self.valid.get(&key, now) {
            return Ok(Ok(holder));
        }
        let mut claims = self.keys(KEYS_KEPT).await?.verify(token);
        if claims.as_ref().is_err_and(|refusal| *refusal == Refusal::UnknownKey) {
            // The provider may have a new key. Whoever makes names up has it asked once a minute.
            claims = self.keys(KEYS_REST).await?.verify(token);
        }
        Ok(match claims.and_then(|claims| self.holder(token, &claims, service, now)) {
            Ok(holder) => {
                self.valid.put(key, &holder, now);
                Ok(holder)
            }
            Err(refusal) => Err(refusal),
        })
    }

    async fn account(&self, _: &Name) -> Result<Option<Account>> {
        self.lacks(Feature::Accounts)
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        self.lacks(Feature::Accounts)
    }

    async fn put(&self, _: Option<&Account>, _: Option<&Account>) -> Result<()> {
        self.lacks(Feature::Accounts)
    }

    async fn set_password(&self, _: &Account, _: &str) -> Result<()> {
        self.lacks(Feature::Accounts)
    }

    async fn issue(&self, _: &Order<'_>) -> Result<Issued> {
        self.lacks(Feature::Tokens)
    }

    async fn handed_on(&self, _: &Name, _: &str) -> Result<Zeroizing<String>> {
        self.lacks(Feature::Tokens)
    }

    async fn tokens(&self, _: &Name) -> Result<Vec<Token>> {
        self.lacks(Feature::Tokens)
    }

    async fn revoke(&self, _: &Name, _: &[String]) -> Result<()> {
        self.lacks(Feature::Tokens)
    }

    async fn rules(&self, _: &Name) -> Result<Option<RuleSet>> {
        self.lacks(Feature::Policy)
    }

    async fn put_rules(&self, _: Option<&RuleSet>, _: Option<&RuleSet>) -> Result<()> {
        self.lacks(Feature::Policy)
    }

    async fn explain(&self, _: &Question<'_>) -> Result<Explanation> {
        self.lacks(Feature::Policy)
    }
}
