//! Owns the lists of revoked certificates (RFC 5280, section 5): one for each intermediate, made when something was
//! revoked or half of its time has passed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use effect::{Code, Error, Result, Timestamp};
use journal::Expect;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use serde_json::json;

use super::Authority;
use super::build::{Signer, moment, signing};
use super::ledger::{self, ANY_INTERMEDIATE, Entry, REVOKED, REVOKED_LAST};
use crate::driver::Reason;

/// How long a list may be used.
const VALID: Duration = Duration::from_secs(7 * 86_400);
/// How long a certificate stays listed after it has expired: whoever looks has a slower clock.
const LINGERS: Duration = Duration::from_secs(86_400);
/// The kind of the record with the number of an intermediate's last list.
const NUMBER: &str = "authority-crl";

/// A list of revoked certificates.
#[derive(Debug, Clone)]
pub struct List {
    /// The list in DER.
    pub der: Arc<[u8]>,
    /// Its number, which grows.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// When there will be another one at the latest.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub count: usize,
}

/// The lists that were made last, by intermediate.
pub(super) type Cache = BTreeMap<String, (String, List)>;

impl Authority {
    /// The list of the certificates of one intermediate that are revoked.
    ///
    /// # Errors
    /// `MC-E005` where there is no such intermediate.
    pub async fn list_of_revoked(&self, intermediate: &str) -> Result<List> {
        let now = self.clock.now();
        let last = self.journal.record(REVOKED_LAST, &self.node, ANY_INTERMEDIATE).await?;
        let mark = last.map(|record| record.value).unwrap_or_default();
        let known = self.lists.lock().unwrap_or_else(PoisonError::into_inner).get(intermediate).cloned();
        if let Some((of, list)) = known
            && of == mark
            && now >= list.this_update
            && now < list.this_update.after(VALID / 2)
        {
            return Ok(list);
        }
        let signer = self.signer_called(intermediate).await?;
        let revocations = self.journal.records(REVOKED, Some(&self.node)).await?;
        let entries = revocations
            .into_iter()
            .map(|record| Ok((record.name, ledger::decode::<Entry>(&record.value)?)))
            .collect::<Result<Vec<_>>>()?;
        let number = self.next_number(intermediate, now).await?;
        let of = intermediate.to_owned();
        let list = tokio::task::spawn_blocking(move || make(&signer, &of, entries, number, now))
            .await
            .map_err(|error| Error::ended("making a list of revoked certificates ended early", &error))??;
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(intermediate.to_owned(), (mark, list.clone()));
        Ok(list)
    }

    /// Numbers follow the clock, and go on growing where it was set back.
    async fn next_number(&self, intermediate: &str, now: Timestamp) -> Result<u64> {
        let recorded = self.journal.record(NUMBER, &self.node, intermediate).await?;
        let last: u64 = recorded.map_or(Ok(0), |record| ledger::decode(&record.value))?;
        let number = u64::try_from(now.0).unwrap_or(0).max(last + 1);
        self.journal
            .write(vec![self.write(NUMBER, intermediate, json!(number).to_string(), Expect::Any)])
            .await?;
        Ok(number)
    }
}

fn make(
    signer: &Signer,
    id: &str,
    entries: Vec<(String, Entry)>,
    number: u64,
    now: Timestamp,
) -> Result<List> {
    let counts = |entry: &Entry| entry.issuer == id && entry.not_after.after(LINGERS) > now;
    let revoked = entries
        .into_iter()
        .filter(|(_, entry)| counts(entry))
        .map(|(serial, entry)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&bytes(&serial)?),
                revocation_time: moment(entry.revoked.at)?,
                reason_code: reason(entry.revoked.reason),
                invalidity_date: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let count = revoked.len();
    let next_update = now.after(VALID);
    let params = CertificateRevocationListParams {
        this_update: moment(now)?,
        next_update: moment(next_update)?,
        crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let made = params.signed_by(&signer.issuer).map_err(signing)?;
    Ok(List { der: made.der().to_vec().into(), number, this_update: now, next_update, count })
}

fn bytes(serial: &str) -> Result<Vec<u8>> {
    let digit = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let padded = if serial.len().is_multiple_of(2) { serial.to_owned() } else { format!("0{serial}") };
    padded
        .as_bytes()
        .chunks(2)
        .map(digit)
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| Error::new(Code::JournalBroken, "a recorded serial number is none"))
}

/// RFC 5280, section 5.3.1: where no reason is given, none is written.
fn reason(reason: Reason) -> Option<RevocationReason> {
    match reason {
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
        Reason::Superseded => Some(RevocationReason::Superseded),
        Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        Reason::PrivilegeWithdrawn => Some(RevocationReason::PrivilegeWithdrawn),
    }
}
