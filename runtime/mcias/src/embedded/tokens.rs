//! Owns tokens: making, validating, listing and revoking them, and the keys that sign them. A token is recorded by its id
//! and its SHA-256; the signature is deterministic, so one that a script handed on can be made again from its record.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use effect::{Code, Error, Result, Timestamp};
use journal::{Expect, Write};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Embedded;
use crate::account::{Account, Kind, Role};
use crate::credentials::FirstFactor;
use crate::driver::{Holder, Issued, Order, Token, Via, inactive};
use crate::name::Name;
use crate::policy::Attempt;
use crate::random;
use crate::store::{ACCOUNT, KEY, Row, TOKEN};
use crate::token::{self, Claims, Refusal};
use crate::witness::Event;

/// Tokens of one account at a time.
const MOST_TOKENS: usize = 256;
/// Expired ones that go with one that is made.
const MOST_REMOVED: usize = 64;
/// For how long an answer is kept: what other processes revoke is refused after that.
const KEPT: Duration = Duration::from_secs(30);
const MOST_KEPT: usize = 16_384;
/// A key goes when no token of its own is left, and not before whoever was about to sign with it has done so.
const KEY_REST: Duration = Duration::from_secs(3600);

/// A token as it is recorded.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    token: Token,
    account_id: String,
    /// SHA-256 of the token.
    hash: String,
    kid: String,
    issuer: String,
    kind: Kind,
    /// The roles at that time.
    roles: Vec<Role>,
    /// What was shown first for it, where somebody signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<FirstFactor>,
    /// Whether a second factor was given for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_second_factor: bool,
    /// What a client of single sign-on was granted with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<Grant>,
}

/// What a client of single sign-on was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// What it may learn.
    pub(super) scope: String,
    /// The session in which it was granted.
    pub(super) session: String,
}

impl Record {
    fn claims(&self) -> Claims {
        let (issued, expires) = (self.token.issued_at / 1000, self.token.expires_at / 1000);
        Claims {
            iss: self.issuer.clone(),
            sub: self.account_id.clone(),
            aud: self.token.service.clone(),
            iat: issued,
            nbf: issued,
            exp: expires,
            jti: self.token.id.clone(),
            name: self.token.account.clone(),
            account_type: self.kind,
            roles: self.roles.iter().copied().collect(),
            client_id: self.token.client.clone(),
            scope: self.grant.as_ref().map(|grant| grant.scope.clone()),
        }
    }
}

fn name_of(account_id: &str, id: &str) -> String {
    format!("{account_id}/{id}")
}

/// Answers that are kept, by SHA-256 of the token.
pub(super) struct Valid {
    answers: Cache<[u8; 32], Kept>,
}

#[derive(Clone)]
struct Kept {
    holder: Arc<Holder>,
    at: Timestamp,
    changes: u64,
}

impl Default for Valid {
    fn default() -> Self {
        Self { answers: Cache::new(MOST_KEPT) }
    }
}

/// What a token is made for.
pub(super) struct Wanted<'a> {
    pub(super) account: &'a Account,
    pub(super) service: &'a Name,
    pub(super) lifetime: Duration,
    pub(super) id: String,
    pub(super) via: Via,
    pub(super) address: Option<IpAddr>,
    pub(super) first: Option<FirstFactor>,
    pub(super) has_second_factor: bool,
    /// The client of single sign-on that gets it, and what it is granted.
    pub(super) client: Option<(&'a Name, Grant)>,
}

/// What else is recorded of a token.
pub(super) struct Standing {
    pub(super) issued_at: i64,
    pub(super) first: Option<FirstFactor>,
    pub(super) has_second_factor: bool,
    pub(super) grant: Option<Grant>,
    pub(super) client: Option<Name>,
}

/// A token that is there as soon as its changes are made.
pub(super) struct Prepared {
    pub(super) issued: Issued,
    pub(super) kid: String,
    pub(super) writes: Vec<Write>,
}

impl Embedded {
    /// Says whom a token stands for, or why it is refused.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn validated(&self, token: &str, service: &Name) -> Result<Result<Arc<Holder>, Refusal>> {
        if token.len() > token::LONGEST {
            return Ok(Err(Refusal::Malformed));
        }
        let (now, hash) = (self.now(), random::sha256(token.as_bytes()));
        // Counted before anything is read: a change that comes after makes the answer an old one.
        let changes = self.live.changes();
        if let Some(kept) = self.live.valid.answers.get(&hash)
            && kept.changes == changes
            && kept.at <= now
            && now < kept.at.after(KEPT)
        {
            return Ok(self.still_valid(&kept.holder, service, now).map(|()| kept.holder));
        }
        match self.checked(token, &hash, service, now).await? {
            Err(refusal) => Ok(Err(refusal)),
            Ok(holder) => {
                let holder = Arc::new(holder);
                let kept = Kept { holder: holder.clone(), at: now, changes };
                self.live.valid.answers.insert(hash, kept);
                Ok(Ok(holder))
            }
        }
    }

    fn still_valid(&self, holder: &Holder, service: &Name, now: Timestamp) -> Result<(), Refusal> {
        if &holder.service != service {
            return Err(Refusal::Audience);
        }
        let until = Timestamp(holder.expires_at).after(self.settings.leeway.0);
        if now < until { Ok(()) } else { Err(Refusal::Expired) }
    }

    async fn checked(
        &self,
        text: &str,
        hash: &[u8; 32],
        service: &Name,
        now: Timestamp,
    ) -> Result<Result<Holder, Refusal>> {
        let parsed = match token::parse(text) {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(key) = self.live.keys.named(&self.store, &parsed.kid, now).await? else {
            return Ok(Err(Refusal::UnknownKey));
        };
        let claims = match parsed.verify(key.public()) {
            Ok(claims) => claims,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = self.claimed(&claims, service, now) {
            return Ok(Err(refusal));
        }
        let name = name_of(&claims.sub, &claims.jti);
        let look = self.store.both((TOKEN, &name), (ACCOUNT, claims.name.as_str()));
        let (record, account): (Option<Record>, Option<Account>) = look.await?;
        let Some(record) = record.filter(|record| record.hash == random::encoded(hash)) else {
            return Ok(Err(Refusal::Unknown));
        };
        if record.token.revoked {
            return Ok(Err(Refusal::Revoked));
        }
        let account = account.filter(|account| account.id == claims.sub && account.is_active());
        let Some(account) = account else { return Ok(Err(Refusal::AccountInactive)) };
        Ok(Ok(Holder {
            account: account.name,
            account_id: account.id,
            kind: account.kind,
            roles: account.roles.into_iter().collect(),
            groups: account.groups.into_iter().collect(),
            service: claims.aud,
            token: claims.jti,
            expires_at: record.token.expires_at,
        }))
    }

    fn claimed(&self, claims: &Claims, service: &Name, now: Timestamp) -> Result<(), Refusal> {
        let (now, leeway) = (now.0 / 1000, i64::try_from(self.settings.leeway.0.as_secs()).unwrap_or(0));
        if claims.iss != self.settings.issuer() {
            return Err(Refusal::Issuer);
        }
        if &claims.aud != service {
            return Err(Refusal::Audience);
        }
        if now >= claims.exp.saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        if now.saturating_add(leeway) < claims.nbf.max(claims.iat) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }

    pub(super) async fn issue_ordered(&self, order: &Order<'_>) -> Result<Issued> {
        let account = order.account;
        if let Some(error) = inactive(account) {
            return Err(error);
        }
        let longest = self.settings.lifetime(account.kind);
        let lifetime = order.lifetime.unwrap_or(longest);
        if lifetime > longest || lifetime < Duration::from_secs(1) {
            let message = format!(
                "`lifetime`: a token of a {} account lives from 1 s to {} s",
                account.kind.as_str(),
                longest.as_secs()
            );
            return Err(Error::new(Code::Argument, message));
        }
        self.admit(account, order.service).await?;
        let wanted = Wanted {
            account,
            service: order.service,
            lifetime,
            id: order.id.to_owned(),
            via: Via::Issue,
            address: None,
            first: None,
            has_second_factor: false,
            client: None,
        };
        let issued = self.make_token(wanted).await?;
        let (account, service) = (account.name.clone(), order.service.clone());
        self.tell(Event::TokenIssued { account, service, token: issued.token.id.clone() }).await?;
        Ok(issued)
    }

    /// Asks the login policy, without an address.
    async fn admit(&self, account: &Account, service: &Name) -> Result<()> {
        let tags = self.settings.tags(service);
        let attempt =
            Attempt { account, service, service_tags: &tags, address: None, at: self.now(), first: None };
        let policy = self.policy().await?;
        let decision = policy.decide(&attempt);
        if decision.is_allowed && !decision.needs_second_factor {
            return Ok(());
        }
        let because = match decision.needs_second_factor {
            true => {
                "the rule that lets it in asks for a second factor, which only who signs in can give".into()
            }
            false => policy.explain(&attempt).because,
        };
        let message = format!("the login policy has no token of `{service}` made for `{}`", account.name);
        Err(Error::new(Code::LoginRefused, message).because(because))
    }

    /// Makes a token, or the same once more where one with this id was made before.
    pub(super) async fn make_token(&self, wanted: Wanted<'_>) -> Result<Issued> {
        let name = name_of(&wanted.account.id, &wanted.id);
        if let Some(found) = self.store.read::<Record>(TOKEN, &name).await? {
            return self.made_before(found.value, &wanted).await;
        }
        let prepared = self.prepare_token(&wanted).await?;
        if self.store.commit(prepared.writes).await? {
            return Ok(prepared.issued);
        }
        match self.store.read::<Record>(TOKEN, &name).await? {
            Some(found) => self.made_before(found.value, &wanted).await,
            None => Err(crate::store::contended("a token")),
        }
    }

    /// Signs a token, and says what has to be recorded before it is one.
    pub(super) async fn prepare_token(&self, wanted: &Wanted<'_>) -> Result<Prepared> {
        let (account, now) = (wanted.account, self.now());
        let tokens: Vec<Record> = self.store.beneath(TOKEN, &format!("{}/", account.id)).await?;
        let expired = tokens.iter().filter(|record| self.is_over(record, now));
        let removals: Vec<Write> =
            expired.take(MOST_REMOVED).map(|record| self.removal_of(record, Expect::Any)).collect();
        if tokens.len() - removals.len() >= MOST_TOKENS {
            let message = format!("`{}` has {MOST_TOKENS} tokens that have not expired", account.name);
            return Err(Error::new(Code::IdentityBusy, message).retryable());
        }
        let life = self.settings.key_lifetime.0;
        let key = self.live.keys.signing(&self.store, &self.sealer, now, life).await?;
        // Tokens count in seconds.
        let issued = now.0 - now.0.rem_euclid(1000);
        let mut record = Record {
            token: Token {
                id: wanted.id.clone(),
                account: account.name.clone(),
                service: wanted.service.clone(),
                issued_at: issued,
                expires_at: Timestamp(issued).after(wanted.lifetime).0,
                via: wanted.via,
                address: wanted.address,
                client: wanted.client.as_ref().map(|(client, _)| (*client).clone()),
                revoked: false,
            },
            account_id: account.id.clone(),
            hash: String::new(),
            kid: key.kid.clone(),
            issuer: self.settings.issuer().to_owned(),
            kind: account.kind,
            roles: account.roles.iter().copied().collect(),
            first: wanted.first,
            has_second_factor: wanted.has_second_factor,
            grant: wanted.client.as_ref().map(|(_, grant)| grant.clone()),
        };
        let text = token::sign(&key.pair(&self.sealer)?, &key.kid, &record.claims());
        record.hash = random::encoded(&random::sha256(text.as_bytes()));
        let mut writes =
            vec![self.store.write(TOKEN, &name_of(&account.id, &wanted.id), &record, Expect::Absent)?];
        writes.extend(removals);
        Ok(Prepared { issued: Issued { text, token: record.token }, kid: key.kid, writes })
    }

    async fn made_before(&self, record: Record, wanted: &Wanted<'_>) -> Result<Issued> {
        if record.token.revoked || &record.token.service != wanted.service {
            return Err(Error::new(
                Code::TokenRefused,
                "a token with this id was made before and is another one",
            ));
        }
        Ok(Issued { text: self.text_of(&record).await?, token: record.token })
    }

    /// The token of a record, made again.
    async fn text_of(&self, record: &Record) -> Result<Zeroizing<String>> {
        let gone = || Error::new(Code::TokenRefused, "the key that signed the token is gone");
        let key = self.live.keys.named(&self.store, &record.kid, self.now()).await?.ok_or_else(gone)?;
        let text = token::sign(&key.pair(&self.sealer)?, &key.kid, &record.claims());
        match random::encoded(&random::sha256(text.as_bytes())) == record.hash {
            true => Ok(text),
            false => Err(Error::new(Code::JournalBroken, "the record of a token is damaged")),
        }
    }

    pub(super) async fn made_again(&self, account: &Name, id: &str) -> Result<Zeroizing<String>> {
        let refused = |why: Refusal| {
            Error::new(
                Code::TokenRefused,
                format!("the token `{}` of `{account}` is refused", crate::name::shown(id)),
            )
            .because(why.describe())
        };
        let account = self.account_named(account).await?.ok_or_else(|| refused(Refusal::AccountInactive))?;
        let record: Option<_> = self.store.read::<Record>(TOKEN, &name_of(&account.id, id)).await?;
        let record = record.map(|row| row.value).filter(|record| record.token.via == Via::Issue);
        let record = record.ok_or_else(|| refused(Refusal::Unknown))?;
        if record.token.revoked {
            return Err(refused(Refusal::Revoked));
        }
        if self.now().0 >= record.token.expires_at {
            return Err(refused(Refusal::Expired));
        }
        self.text_of(&record).await
    }

    pub(super) async fn tokens_of(&self, name: &Name) -> Result<Vec<Token>> {
        let Some(account) = self.account_named(name).await? else { return Ok(Vec::new()) };
        let records: Vec<Record> = self.store.beneath(TOKEN, &format!("{}/", account.id)).await?;
        let now = self.now();
        let live = records.into_iter().filter(|record| now.0 < record.token.expires_at);
        let mut tokens: Vec<Token> = live.map(|record| record.token).collect();
        tokens.sort_by(|one, other| (one.issued_at, &one.id).cmp(&(other.issued_at, &other.id)));
        Ok(tokens)
    }

    /// Revokes tokens, and with a session whatever clients of single sign-on were given in it.
    pub(super) async fn revoke_tokens(&self, name: &Name, ids: &[String]) -> Result<()> {
        let account = self.known_account(name).await?;
        // First of all the sessions themselves: nothing is granted in them from then on, so what is found after that is all.
        self.revoke_each(&account, ids).await?;
        let records: Vec<Record> = self.store.beneath(TOKEN, &format!("{}/", account.id)).await?;
        let is_of_them =
            |record: &Record| record.grant.as_ref().is_some_and(|grant| ids.contains(&grant.session));
        let granted: Vec<String> =
            records.into_iter().filter(is_of_them).map(|record| record.token.id).collect();
        self.revoke_each(&account, &granted).await
    }

    async fn revoke_each(&self, account: &Account, ids: &[String]) -> Result<()> {
        for id in ids {
            let record_name = name_of(&account.id, id);
            let Some(found) = self.store.read::<Record>(TOKEN, &record_name).await? else { continue };
            if found.value.token.revoked {
                continue;
            }
            let expect = found.expected();
            let mut record = found.value;
            record.token.revoked = true;
            // Nobody changes a token but to revoke it or to take it away.
            self.store.commit(vec![self.store.write(TOKEN, &record_name, &record, expect)?]).await?;
            self.forget_answers();
            self.tell(Event::TokenRevoked { account: account.name.clone(), token: id.clone() }).await?;
        }
        Ok(())
    }

    /// What else is recorded of a token: whether a second factor was given, and what a client was granted.
    pub(super) async fn standing(&self, holder: &Holder) -> Result<Option<Standing>> {
        let found = self.store.read::<Record>(TOKEN, &name_of(&holder.account_id, &holder.token)).await?;
        Ok(found.map(|row| row.value).map(|record| Standing {
            issued_at: record.token.issued_at,
            first: record.first,
            has_second_factor: record.has_second_factor,
            grant: record.grant,
            client: record.token.client,
        }))
    }

    /// What goes with changes that rest on a session: it expects that nobody ends it meanwhile. Nothing where it is over.
    pub(super) async fn lasting(&self, account: &Account, session: &str) -> Result<Option<Write>> {
        let name = name_of(&account.id, session);
        let found: Option<Row<Record>> = self.store.read(TOKEN, &name).await?;
        let lasts = |row: &Row<Record>| !row.value.token.revoked && self.now().0 < row.value.token.expires_at;
        Ok(found.filter(lasts).map(|row| self.store.unchanged(TOKEN, &name, &row)))
    }

    /// Whose token this is and for which service, as far as its own words go and our record bears them out.
    pub(super) async fn holder_of(&self, text: &str) -> Result<Result<Arc<Holder>, Refusal>> {
        match token::parse(text) {
            Ok(parsed) => {
                let service = parsed.service().clone();
                self.validated(text, &service).await
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Ends a session, and what clients of single sign-on were given in it.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn end_session(&self, account: &Name, session: &str) -> Result<()> {
        match self.revoke_tokens(account, &[session.to_owned()]).await {
            Err(error) if error.code == Code::AccountUnknown => Ok(()),
            revoked => revoked,
        }
    }

    /// What takes every token of an account away.
    pub(super) async fn removals_of_tokens(&self, account: &Account) -> Result<Vec<Write>> {
        let tokens: Vec<Record> = self.store.beneath(TOKEN, &format!("{}/", account.id)).await?;
        Ok(tokens.iter().map(|record| self.removal_of(record, Expect::Any)).collect())
    }

    fn removal_of(&self, record: &Record, expect: Expect) -> Write {
        self.store.removal(TOKEN, &name_of(&record.account_id, &record.token.id), expect)
    }

    fn is_over(&self, record: &Record, now: Timestamp) -> bool {
        now >= Timestamp(record.token.expires_at).after(self.settings.leeway.0)
    }

    /// The public keys, as services fetch them (RFC 7517).
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn key_set(&self) -> Result<Value> {
        self.live.keys.set(&self.store, self.now()).await
    }

    /// Puts a new key in the place of the one that signs; what the old one signed stays valid.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    pub async fn rotate_key(&self) -> Result<()> {
        let key = self.live.keys.rotate(&self.store, &self.sealer, self.now()).await?;
        self.tell(Event::KeyRotated { kid: key.kid }).await
    }

    /// Takes away tokens that have expired, keys of which no token is left, and what passkeys left. Gives how many tokens
    /// went.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn sweep(&self) -> Result<usize> {
        let now = self.now();
        let records: Vec<Record> = self.store.all(TOKEN).await?;
        let (over, live): (Vec<&Record>, Vec<&Record>) =
            records.iter().partition(|record| self.is_over(record, now));
        for some in over.chunks(MOST_REMOVED) {
            let removals = some.iter().map(|record| self.removal_of(record, Expect::Any)).collect();
            self.store.commit(removals).await?;
        }
        let keys = self.live.keys.look(&self.store, now).await?;
        for (at, key) in keys.iter().enumerate() {
            let successor = keys.get(at + 1).map(|next| next.made.after(KEY_REST));
            let is_needed = live.iter().any(|record| record.kid == key.kid);
            if successor.is_some_and(|rested| rested <= now) && !is_needed {
                self.store.commit(vec![self.store.removal(KEY, &key.kid, Expect::Any)]).await?;
            }
        }
        self.live.keys.look(&self.store, now).await?;
        self.sweep_codes(now).await?;
        self.sweep_passkeys().await?;
        Ok(over.len())
    }
}
