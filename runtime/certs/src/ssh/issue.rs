//! Owns the signing of an order: recorded under a serial number and under the order's token before anybody gets it, so
//! that the same token has the same certificate.

use std::time::Duration;

use aws_lc_rs::rand;
use effect::{Code, Error, Result};
use journal::Expect;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate::{self, Window};
use super::key::{fingerprint, line};
use super::{Kind, Order, Store, authority, revocation};

/// The kind of the record by serial number.
const BY_SERIAL: &str = "ssh-certificate";
/// The kind of the record by token.
const BY_TOKEN: &str = "ssh-order";
/// How much clocks may differ.
const BACKDATED: Duration = Duration::from_secs(60);
/// Two serial numbers of 63 bits that clash are chance; many in a row are a broken source of randomness.
const ATTEMPTS: usize = 4;

/// A certificate that the authority signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signed {
    /// The certificate in one line, as in `id_ed25519-cert.pub`.
    pub certificate: String,
    /// Its serial number, decimal.
    pub serial: String,
    /// Whom it is for.
    pub kind: Kind,
    /// What servers write into their logs.
    pub key_id: String,
    /// The accounts, roles or host names that it is good for.
    pub principals: Vec<String>,
    /// From when on it is valid, in unix milliseconds.
    pub valid_after: i64,
    /// When it expires, in unix milliseconds.
    pub valid_before: i64,
    /// The public key that was signed, in one line.
    pub public_key: String,
    /// SHA-256 of that key, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// The public key of the authority that signed, in one line.
    pub authority: String,
    /// The run that asked for it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// The certificate that was signed for `token`, if one was.
///
/// # Errors
/// `MC-J007` where a record was damaged.
pub async fn of_token(store: &Store<'_>, token: &str) -> Result<Option<Signed>> {
    let Some(serial) = store.read::<String>(BY_TOKEN, token).await? else { return Ok(None) };
    let signed = of_serial(store, &serial).await?;
    // Both are written at once, so one without the other is damage.
    signed.map(Some).ok_or_else(|| Error::new(Code::JournalBroken, "a recorded SSH certificate is missing"))
}

/// The certificate with this serial number, if there is one.
///
/// # Errors
/// `MC-J007` where a record was damaged.
pub async fn of_serial(store: &Store<'_>, serial: &str) -> Result<Option<Signed>> {
    store.read(BY_SERIAL, serial).await
}

/// Every certificate that was signed.
///
/// # Errors
/// `MC-J007` where a record was damaged.
pub async fn all(store: &Store<'_>) -> Result<Vec<Signed>> {
    store.read_all(BY_SERIAL).await
}

/// Signs an order, or hands out again what was signed for its token.
///
/// # Errors
/// `MC-E032` where key or key id are revoked, `MC-E007` where the clock is behind.
pub async fn sign(store: &Store<'_>, order: &Order, token: &str) -> Result<Signed> {
    if let Some(signed) = of_token(store, token).await? {
        return Ok(signed);
    }
    revocation::check(store, &order.key, &order.key_id).await?;
    let authority = authority::signing(store, order.kind).await?;
    let key = authority.open(store)?;
    let window = window(store, order)?;
    for _ in 0..ATTEMPTS {
        let serial = serial()?;
        let signed = Signed {
            certificate: certificate::sign(order, serial, window, &authority.public, &key)?,
            serial: serial.to_string(),
            kind: order.kind,
            key_id: order.key_id.clone(),
            principals: order.principals.clone(),
            valid_after: millis(window.after),
            valid_before: millis(window.before),
            public_key: line(&order.key)?,
            fingerprint: fingerprint(&order.key),
            authority: authority.public.clone(),
            run: store.run.map(ToString::to_string),
        };
        let writes = vec![
            store.write(BY_SERIAL, &signed.serial, &signed, Expect::Absent)?,
            store.write(BY_TOKEN, token, &signed.serial, Expect::Absent)?,
        ];
        match store.journal.write(writes).await {
            Ok(()) => return Ok(signed),
            Err(journal::Error::Conflict { .. }) => {
                // Either the token was faster elsewhere, or the serial number is taken.
                if let Some(signed) = of_token(store, token).await? {
                    return Ok(signed);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::new(Code::Internal, "no serial number is free: this machine's randomness is broken"))
}

fn window(store: &Store<'_>, order: &Order) -> Result<Window> {
    let now = u64::try_from(store.now.0 / 1000)
        .map_err(|_| Error::new(Code::ClockBehind, "the clock shows a time before 1970"))?;
    Ok(Window { after: now.saturating_sub(BACKDATED.as_secs()), before: now + order.lifetime.as_secs() })
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

/// Random, so that two authorities never count alike; never 0, which stands for none; and small enough for those who
/// read it as a signed number.
fn serial() -> Result<u64> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Error::new(Code::Internal, "there is no randomness"))?;
    Ok((u64::from_be_bytes(bytes) >> 1).max(1))
}
