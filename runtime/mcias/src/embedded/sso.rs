//! Owns the steps of single sign-on: a request becomes a code, a code becomes tokens once, a token becomes what its client
//! may learn. A code is recorded by its SHA-256, under the client that it is for, and the token that it gives is recorded in
//! the same change that uses it up: of two at once one gets a token, and whoever comes second takes it away again.

mod given;

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::constant_time;
use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Write};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use given::Leaving;

use super::Embedded;
use super::tokens::{Grant, Prepared, Standing, Wanted};
use crate::account::Account;
use crate::credentials::FirstFactor;
use crate::driver::{Holder, Issued, Via};
use crate::name::Name;
use crate::policy::Attempt;
use crate::random;
use crate::sso::{self, Client, Denial, Grounds, Kind, Pairs, Prompt, Request, Scopes};
use crate::store::{ACCOUNT, CODE, Row};
use crate::witness::{Event, Reason};

/// RFC 6749, section 4.1.2, allows ten minutes; a browser needs a second.
const LIFE: Duration = Duration::from_secs(60);
/// Codes of one client, and of one account among them, that wait to be redeemed.
const MOST_CODES: usize = 1000;
const MOST_OF_ACCOUNT: usize = 32;
const MOST_REMOVED: usize = 64;

/// A code as it is recorded.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    /// SHA-256 of the code.
    hash: String,
    client: Name,
    redirect_uri: String,
    account: Name,
    account_id: String,
    scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    challenge: String,
    /// The session in which it was asked for, and when that began.
    session: String,
    signed_in_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<FirstFactor>,
    has_second_factor: bool,
    /// Until when it can be redeemed; once it was, until when it is remembered.
    until: Timestamp,
    /// The token that it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gave: Option<String>,
}

impl Record {
    fn name(&self) -> String {
        name_of(&self.client, &self.hash)
    }
}

fn name_of(client: &Name, hash: &str) -> String {
    format!("{client}/{hash}")
}

fn hash_of(code: &str) -> String {
    random::encoded(&random::sha256(code.as_bytes()))
}

/// What becomes of an authorization request.
#[derive(Debug)]
pub enum Authorized {
    /// It is wrong in a way that forbids sending the browser anywhere: it is shown.
    Shown(Denial),
    /// The browser goes back to the client, with a code or with what is wrong.
    Back(String),
    /// Somebody has to sign in first; again, where they have.
    SignIn {
        /// For this client.
        client: Box<Client>,
        /// Whether also who is signed in.
        is_again: bool,
        /// Where the browser goes in the end.
        redirect_uri: String,
    },
}

/// What a client is given for a code.
pub struct Granted {
    /// For asking who somebody is, and for the client's service.
    pub access_token: Zeroizing<String>,
    /// Who signed in.
    pub id_token: Zeroizing<String>,
    /// How long both are valid, in seconds.
    pub expires_in: u64,
    /// What it may learn.
    pub scope: String,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Granted").field(&self.scope).finish()
    }
}

impl Embedded {
    /// Decides on an authorization request of whoever `session` stands for.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn authorize(
        &self,
        query: &str,
        session: Option<&Holder>,
        address: Option<IpAddr>,
    ) -> Result<Authorized> {
        let shown = |kind, description| Ok(Authorized::Shown(Denial::new(kind, description)));
        let Some(pairs) = Pairs::parse(query) else {
            return shown(Kind::InvalidRequest, "the request is malformed, or says something twice");
        };
        let grounds = match Grounds::read(&pairs) {
            Ok(grounds) => grounds,
            Err(denial) => return Ok(Authorized::Shown(denial)),
        };
        let Some(client) = self.client(&grounds.client).await? else {
            return shown(Kind::InvalidClient, "there is no such client");
        };
        if !client.redirect_uris.contains(grounds.redirect_uri) {
            return shown(Kind::InvalidRequest, "redirect_uri is none that is registered for this client");
        }
        let request = match Request::read(&pairs) {
            Ok(request) => request,
            Err(denial) => return Ok(self.back(&grounds, Err(denial))),
        };
        let deny = |kind, description| Ok(self.back(&grounds, Err(Denial::new(kind, description))));
        let standing = match session {
            Some(holder) => self.standing(holder).await?.map(|standing| (holder, standing)),
            None => None,
        };
        let now = self.now();
        let is_fresh = |signed_in_at: i64| {
            let age = u64::try_from((now.0 - signed_in_at) / 1000).unwrap_or(0);
            request.max_age.is_none_or(|most| age <= most)
        };
        let again = |is_again| {
            if request.prompt == Some(Prompt::None) {
                return deny(Kind::LoginRequired, "nobody is signed in, or not recently enough");
            }
            Ok(Authorized::SignIn {
                client: Box::new(client.clone()),
                is_again,
                redirect_uri: grounds.redirect_uri.to_owned(),
            })
        };
        let Some((holder, standing)) = standing else { return again(false) };
        if request.prompt == Some(Prompt::Login) || !is_fresh(standing.issued_at) {
            return again(true);
        }
        let account: Option<Account> = self.account_named(&holder.account).await?;
        let Some(account) = account.filter(|account| account.id == holder.account_id) else {
            return again(false);
        };
        match self.admits(&account, &client, &standing, address).await? {
            Admission::Granted => {}
            Admission::SecondFactor => return again(true),
            Admission::Refused => {
                return deny(Kind::AccessDenied, "this account may not sign in to this service");
            }
        }
        let code = Zeroizing::new(random::token::<32>()?);
        let record = Record {
            hash: hash_of(&code),
            client: client.id.clone(),
            redirect_uri: grounds.redirect_uri.to_owned(),
            account: account.name.clone(),
            account_id: account.id.clone(),
            scope: request.scopes.text(),
            nonce: request.nonce.map(str::to_owned),
            challenge: request.challenge.to_owned(),
            session: holder.token.clone(),
            signed_in_at: standing.issued_at,
            first: standing.first,
            has_second_factor: standing.has_second_factor,
            until: now.after(LIFE),
            gave: None,
        };
        match self.keep_code(&record, now).await? {
            true => Ok(self.back(&grounds, Ok(&code))),
            false => deny(Kind::TemporarilyUnavailable, "too many codes wait to be redeemed"),
        }
    }

    /// The way back to a client, with a code or with what is wrong. RFC 9207: it says who answers, against mix-ups.
    fn back(&self, grounds: &Grounds<'_>, outcome: std::result::Result<&str, Denial>) -> Authorized {
        let denial = outcome.err();
        let parameters = [
            ("code", outcome.ok()),
            ("error", denial.map(|denial| denial.kind.as_str())),
            ("error_description", denial.map(|denial| denial.description)),
            ("state", grounds.state),
            ("iss", Some(self.settings.issuer())),
        ];
        Authorized::Back(sso::with_parameters(grounds.redirect_uri, &parameters))
    }

    /// Asks the login policy about the service of a client.
    async fn admits(
        &self,
        account: &Account,
        client: &Client,
        standing: &Standing,
        address: Option<IpAddr>,
    ) -> Result<Admission> {
        let tags = self.settings.tags(&client.service);
        let attempt = Attempt {
            account,
            service: &client.service,
            service_tags: &tags,
            address,
            at: self.now(),
            first: standing.first,
        };
        let policy = self.policy().await?;
        let decision = policy.decide(&attempt);
        let reason = if !decision.is_allowed || !account.is_active() {
            Reason::Policy
        } else if decision.needs_second_factor && !standing.has_second_factor {
            let credentials = self.credentials(account).await?;
            if credentials.is_some_and(|credentials| !credentials.factors().is_empty()) {
                return Ok(Admission::SecondFactor);
            }
            Reason::NoSecondFactor
        } else {
            return Ok(Admission::Granted);
        };
        self.tell(Event::Refused {
            name: account.name.to_string(),
            service: client.service.to_string(),
            address,
            reason,
            rule: decision.rule.map(ToString::to_string),
        })
        .await?;
        Ok(Admission::Refused)
    }

    /// Records a code. False where too many wait.
    async fn keep_code(&self, record: &Record, now: Timestamp) -> Result<bool> {
        let codes: Vec<Record> = self.store.beneath(CODE, &format!("{}/", record.client)).await?;
        let (over, waiting): (Vec<&Record>, Vec<&Record>) = codes.iter().partition(|code| code.until <= now);
        let of_account = waiting.iter().filter(|code| code.account_id == record.account_id).count();
        if waiting.len() >= MOST_CODES || of_account >= MOST_OF_ACCOUNT {
            return Ok(false);
        }
        let mut writes = vec![self.store.write(CODE, &record.name(), record, Expect::Absent)?];
        writes.extend(over.iter().take(MOST_REMOVED).map(|code| self.removal_of_code(code)));
        match self.store.commit(writes).await? {
            true => Ok(true),
            false => Err(Error::new(Code::Internal, "two codes are the same")),
        }
    }

    fn removal_of_code(&self, record: &Record) -> Write {
        self.store.removal(CODE, &record.name(), Expect::Any)
    }

    pub(super) async fn code_names(&self, prefix: &str) -> Result<Vec<String>> {
        let codes: Vec<Record> = self.store.beneath(CODE, prefix).await?;
        Ok(codes.iter().map(Record::name).collect())
    }

    /// Takes away codes that nobody can redeem or replay any more.
    pub(super) async fn sweep_codes(&self, now: Timestamp) -> Result<()> {
        let codes: Vec<Record> = self.store.all(CODE).await?;
        let over: Vec<&Record> = codes.iter().filter(|code| code.until <= now).collect();
        for some in over.chunks(MOST_REMOVED) {
            self.store.commit(some.iter().map(|code| self.removal_of_code(code)).collect()).await?;
        }
        Ok(())
    }

    /// The client that a request of its own comes from. `basic` is what its `Authorization` says.
    async fn asking_client(
        &self,
        pairs: &Pairs,
        basic: Option<(&str, &str)>,
    ) -> Result<std::result::Result<Client, Denial>> {
        let (id, secret) = match basic {
            // RFC 6749, section 2.3: one way at a time.
            Some(_) if pairs.get("client_secret").is_some() => {
                let description = "the client proves itself in two ways at once";
                return Ok(Err(Denial::new(Kind::InvalidRequest, description)));
            }
            Some((id, _)) if pairs.get("client_id").is_some_and(|other| other != id) => {
                return Ok(Err(Denial::new(Kind::InvalidRequest, "the request names two clients")));
            }
            Some((id, secret)) => (id, Some(secret)),
            None => (pairs.get("client_id").unwrap_or_default(), pairs.get("client_secret")),
        };
        let client = self.proven_client(id, secret).await?;
        Ok(client.ok_or(Denial::new(Kind::InvalidClient, "the client is unknown, or its secret is wrong")))
    }

    /// Gives tokens for a code.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn redeem_code(
        &self,
        pairs: &Pairs,
        basic: Option<(&str, &str)>,
        address: Option<IpAddr>,
    ) -> Result<std::result::Result<Granted, Denial>> {
        let client = match self.asking_client(pairs, basic).await? {
            Ok(client) => client,
            Err(denial) => return Ok(Err(denial)),
        };
        let denied = |kind, description| Ok(Err(Denial::new(kind, description)));
        match pairs.get("grant_type") {
            Some("authorization_code") => {}
            None => return denied(Kind::InvalidRequest, "grant_type is missing"),
            Some(_) => {
                return denied(Kind::UnsupportedGrantType, "the only grant_type is authorization_code");
            }
        }
        let (Some(code), Some(redirect_uri)) = (pairs.get("code"), pairs.get("redirect_uri")) else {
            return denied(Kind::InvalidRequest, "code or redirect_uri is missing");
        };
        let Some(verifier) = pairs.get("code_verifier").filter(|text| sso::is_verifier(text)) else {
            return denied(Kind::InvalidRequest, "code_verifier is missing or malformed");
        };
        let none =
            || denied(Kind::InvalidGrant, "the code is none of this client, or cannot be redeemed any more");
        let name = name_of(&client.id, &hash_of(code));
        let Some(row) = self.store.read::<Record>(CODE, &name).await? else { return none() };
        if row.value.gave.is_some() {
            self.take_back(&row.value, address).await?;
            return none();
        }
        let record = &row.value;
        let shown = random::encoded(&random::sha256(verifier.as_bytes()));
        let is_its_own =
            constant_time::verify_slices_are_equal(shown.as_bytes(), record.challenge.as_bytes()).is_ok();
        if self.now() >= record.until || record.redirect_uri != redirect_uri || !is_its_own {
            return none();
        }
        let account: Option<Row<Account>> = self.store.read(ACCOUNT, record.account.as_str()).await?;
        let account = account.map(|row| row.value);
        let is_it = |account: &Account| account.id == record.account_id && account.is_active();
        let Some(account) = account.filter(is_it) else { return none() };
        let Some(session) = self.lasting(&account, &record.session).await? else { return none() };
        match self.grant(&client, &account, (&row, session), address).await? {
            Some(granted) => Ok(Ok(granted)),
            None => {
                if let Some(found) = self.store.read::<Record>(CODE, &name).await? {
                    self.take_back(&found.value, address).await?;
                }
                none()
            }
        }
    }

    /// Uses a code up and records the token that it gives, or neither. Nothing where somebody was faster, or ended the session
    /// that the code is of.
    async fn grant(
        &self,
        client: &Client,
        account: &Account,
        (row, session): (&Row<Record>, Write),
        address: Option<IpAddr>,
    ) -> Result<Option<Granted>> {
        let record = &row.value;
        let lifetime = self.settings.lifetime(account.kind);
        let wanted = Wanted {
            account,
            service: &client.service,
            lifetime,
            id: random::token::<16>()?,
            via: Via::Sso,
            address,
            first: record.first,
            has_second_factor: record.has_second_factor,
            client: Some((
                &client.id,
                Grant { scope: record.scope.clone(), session: record.session.clone() },
            )),
        };
        let Prepared { issued, kid, mut writes } = self.prepare_token(&wanted).await?;
        let used = Record {
            gave: Some(issued.token.id.clone()),
            until: Timestamp(issued.token.expires_at),
            ..record.clone()
        };
        writes.push(self.store.write(CODE, &record.name(), &used, row.expected())?);
        writes.push(session);
        let id_token = self.id_token(client, account, record, &issued, &kid).await?;
        if !self.store.commit(writes).await? {
            return Ok(None);
        }
        self.tell(Event::SsoGranted {
            account: account.name.clone(),
            client: client.id.clone(),
            service: client.service.clone(),
            address,
            token: issued.token.id.clone(),
        })
        .await?;
        Ok(Some(Granted {
            access_token: issued.text,
            id_token,
            expires_in: lifetime.as_secs(),
            scope: record.scope.clone(),
        }))
    }

    async fn id_token(
        &self,
        client: &Client,
        account: &Account,
        record: &Record,
        issued: &Issued,
        kid: &str,
    ) -> Result<Zeroizing<String>> {
        let key = self.live.keys.named(&self.store, kid, self.now()).await?;
        let key = key.ok_or_else(|| Error::new(Code::Internal, "the key that signs is gone"))?;
        let about = sso::About {
            issuer: self.settings.issuer(),
            client: &client.id,
            account,
            scopes: &Scopes::parse(&record.scope),
            nonce: record.nonce.as_deref(),
            access_token: &issued.text,
            session: &record.session,
            issued_at: issued.token.issued_at / 1000,
            expires_at: issued.token.expires_at / 1000,
            signed_in_at: record.signed_in_at / 1000,
            first: record.first,
            has_second_factor: record.has_second_factor,
        };
        Ok(Zeroizing::new(sso::sign(&key.pair(&self.sealer)?, kid, &about)))
    }

    /// A code came again: somebody has it who should not, so what it gave is taken back (RFC 6749, section 4.1.2).
    async fn take_back(&self, record: &Record, address: Option<IpAddr>) -> Result<()> {
        let Some(gave) = &record.gave else { return Ok(()) };
        let (account, client) = (record.account.clone(), record.client.clone());
        self.tell(Event::SsoReplayed { account, client, address }).await?;
        match self.revoke_tokens(&record.account, std::slice::from_ref(gave)).await {
            Err(error) if error.code == Code::AccountUnknown => Ok(()),
            revoked => revoked,
        }
    }
}

/// What the login policy says of somebody who is signed in.
enum Admission {
    Granted,
    /// Only with the second factor that the account has and that was not asked for.
    SecondFactor,
    Refused,
}
