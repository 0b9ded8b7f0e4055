//! Owns the answer to a name of ours that leads to one of others: what we know, and what they said of where it leads.

use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::{Message, ParsedRecord, ToName as _};
use domain::rdata::AllRecordData;

use super::query::{HEADER, rcode};

/// `begun` with the records of the answer `rest`, in at most `limit` octets: where they do not fit, the client is told to
/// come back over TCP.
pub(super) fn joined(begun: &[u8], rest: &[u8], limit: usize) -> Vec<u8> {
    let failed = || {
        let mut out = begun.to_vec();
        out[3] = out[3] & 0xF0 | rcode::SERVFAIL;
        out
    };
    let Ok(rest) = Message::from_octets(rest) else { return failed() };
    let Some((mut out, edns)) = without_edns(begun) else { return failed() };
    out[3] = out[3] & 0xF0 | rest.header().rcode().to_int();
    // Ours is only the way there.
    out[2] &= !0x04;
    let Ok(answers) = rest.answer() else { return failed() };
    let authorities = rest.authority().into_iter().flatten();
    for (section, records) in [
        (6, answers.filter_map(Result::ok).collect::<Vec<_>>()),
        (8, authorities.filter_map(Result::ok).filter(|record| record.rtype() == Rtype::SOA).collect()),
    ] {
        let mut count = u16::from_be_bytes([out[section], out[section + 1]]);
        for record in records {
            let Some(wire) = whole(&record) else { return failed() };
            out.extend(wire);
            count = count.saturating_add(1);
        }
        out[section..section + 2].copy_from_slice(&count.to_be_bytes());
    }
    if out.len() + edns.len() > limit {
        return truncated(begun);
    }
    out.extend_from_slice(&edns);
    out
}

/// The record with its names whole: what they pointed to is in another message.
fn whole(record: &ParsedRecord<'_, &[u8]>) -> Option<Vec<u8>> {
    let record = record.to_any_record::<AllRecordData<_, _>>().ok()?;
    let mut wire = record.owner().to_vec().into_octets();
    wire.extend(record.rtype().to_int().to_be_bytes());
    wire.extend(record.class().to_int().to_be_bytes());
    wire.extend(record.ttl().as_secs().to_be_bytes());
    let mut data = Vec::new();
    record.data().compose_rdata(&mut data).ok()?;
    wire.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    wire.extend(data);
    Some(wire)
}

/// An answer of ours without its last record, where that is for EDNS; and that record.
fn without_edns(message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const EDNS: usize = 11;
    let additional = u16::from_be_bytes([message[10], message[11]]);
    if additional == 0 {
        return Some((message.to_vec(), Vec::new()));
    }
    let at = message
        .len()
        .checked_sub(EDNS)
        .filter(|at| *at >= HEADER && message[*at..].starts_with(&[0, 0, 41]))?;
    Some((message[..at].to_vec(), message[at..].to_vec()))
}

/// The answer that says that it has no room.
fn truncated(begun: &[u8]) -> Vec<u8> {
    let mut out = begun.to_vec();
    out[2] |= 0x02;
    out
}
