//! Owns the last step of a sign-in: what was shown is used up, and the token that it gives recorded, in one change that expects
//! what proves who somebody is as it was when it was looked at. A kill leaves both or neither, and of two at once with the
//! same code one finds it used.

use effect::Result;
use journal::Write;

use super::Embedded;
use super::sign_in::{Known, Proven, SignIn};
use super::tokens::{Prepared, Wanted};
use crate::account::Account;
use crate::credentials::{Credentials, OneTime, Second};
use crate::driver::{Issued, Via};
use crate::random;
use crate::store::{CREDENTIALS, MOST_TRIES, contended};
use crate::witness::Reason;

/// What becomes of it.
pub(super) enum Entry {
    /// Somebody is in.
    In(Box<Issued>),
    /// What was shown is not right, or was used.
    Refused(Reason),
    /// What proves who they are was changed meanwhile. Nothing was used up.
    Meanwhile,
}

impl Embedded {
    /// Lets somebody in whose first factor is right and who is asked for no more than `second`.
    pub(super) async fn enter(
        &self,
        known: &Known<'_>,
        wish: &SignIn<'_>,
        second: Option<Second<'_>>,
    ) -> Result<Entry> {
        let used = match self.used_up(known, second).await? {
            Ok(used) => used,
            Err(reason) => return Ok(Entry::Refused(reason)),
        };
        let wanted = Wanted {
            account: &known.account,
            service: &known.service,
            lifetime: self.settings.lifetime(known.account.kind),
            id: random::token::<16>()?,
            via: Via::SignIn,
            address: wish.address,
            first: Some(wish.first.factor()),
            has_second_factor: second.is_some(),
            client: None,
        };
        let Prepared { issued, mut writes, .. } = self.prepare_token(&wanted).await?;
        writes.extend(used);
        Ok(match self.store.commit(writes).await? {
            true => Entry::In(Box::new(issued)),
            false => Entry::Meanwhile,
        })
    }

    /// What a sign-in changes of what proves who somebody is. Also where that is nothing it is expected as it was: whoever
    /// takes a password away and then ends all sessions is not to miss one.
    async fn used_up(
        &self,
        known: &Known<'_>,
        second: Option<Second<'_>>,
    ) -> Result<std::result::Result<Vec<Write>, Reason>> {
        let Some(found) = &known.credentials else { return Ok(Ok(Vec::new())) };
        let mut credentials = found.value.clone();
        let mut writes = Vec::new();
        if let Some(second) = second {
            match self.use_second(&mut credentials, second).await? {
                Ok(more) => writes.extend(more),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        match &known.first {
            Proven::Done => {}
            Proven::Outdated(password) => {
                let hash = self.live.hashes.hash(password).await?;
                credentials.password = Some(self.sealer.hide(hash.as_bytes()));
            }
            Proven::Passkey(asserted) => match self.use_passkey(&mut credentials, asserted).await? {
                Ok(more) => writes.extend(more),
                Err(refusal) => return Ok(Err(Reason::WrongPasskey(refusal))),
            },
        }
        let name = known.account.name.as_str();
        writes.push(self.store.write(CREDENTIALS, name, &credentials, found.expected())?);
        Ok(Ok(writes))
    }

    /// Uses a second factor up by itself, or says why not: for who is signed in and proves once more who they are.
    pub(super) async fn redeem(
        &self,
        account: &Account,
        second: Second<'_>,
    ) -> Result<std::result::Result<(), Reason>> {
        for _ in 0..MOST_TRIES {
            let (mut credentials, expect) = self.credentials_row(account).await?;
            let mut writes = match self.use_second(&mut credentials, second).await? {
                Ok(writes) => writes,
                Err(reason) => return Ok(Err(reason)),
            };
            writes.push(self.store.write(CREDENTIALS, account.name.as_str(), &credentials, expect)?);
            if self.store.commit(writes).await? {
                return Ok(Ok(()));
            }
        }
        Err(contended(&format!("what proves who `{}` is", account.name)))
    }

    /// Notes in `credentials` that a second factor was used, and gives what has to be written with them; or says why not.
    async fn use_second(
        &self,
        credentials: &mut Credentials,
        second: Second<'_>,
    ) -> Result<std::result::Result<Vec<Write>, Reason>> {
        let code = match second {
            Second::Totp(code) => OneTime::Totp(code),
            Second::Recovery(code) => OneTime::Recovery(code),
            Second::Passkey(shown) => {
                let used = match self.look_at_passkey(Some(credentials), shown).await? {
                    Ok(asserted) => self.use_passkey(credentials, &asserted).await?,
                    Err(refusal) => Err(refusal),
                };
                return Ok(used.map_err(Reason::WrongPasskey));
            }
        };
        match credentials.redeem(&self.sealer, code, self.now())? {
            true => Ok(Ok(Vec::new())),
            false => Ok(Err(Reason::WrongSecondFactor)),
        }
    }
}
