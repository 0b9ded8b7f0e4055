//! Owns OpenSSH's binary list of what is revoked (PROTOCOL.krl), which `RevokedKeys` of a server names.

use std::collections::{BTreeMap, BTreeSet};

use effect::{Result, Timestamp};
use ssh_encoding::Encode;
use ssh_key::PublicKey;

use super::unencodable;

/// `SSHKRL\n\0`.
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const VERSION: u32 = 1;
const CERTIFICATES: u8 = 1;
const EXPLICIT_KEYS: u8 = 2;
const SERIALS: u8 = 0x20;
const KEY_IDS: u8 = 0x23;

/// What is revoked, everything in order.
#[derive(Debug, Clone, Default)]
pub struct Revoked {
    /// Serial numbers by the authority that signed, given in one line. Every authority stands here, because key ids are
    /// revoked for each.
    pub authorities: BTreeMap<String, BTreeSet<u64>>,
    /// Key ids, of every authority.
    pub key_ids: BTreeSet<String>,
    /// Keys, each in one line.
    pub keys: BTreeSet<String>,
}

/// The list as it is at `now`, which also numbers it.
///
/// # Errors
/// Only where a recorded key cannot be read.
pub fn encode(revoked: &Revoked, now: Timestamp) -> Result<Vec<u8>> {
    let blob =
        |line: &String| PublicKey::from_openssh(line).and_then(|key| key.to_bytes()).map_err(unencodable);
    let authorities = revoked
        .authorities
        .iter()
        .map(|(line, serials)| Ok((blob(line)?, serials)))
        .collect::<Result<Vec<_>>>()?;
    // Readers refuse keys that are not in the order of their bytes, which is another than that of the lines.
    let keys = revoked.keys.iter().map(blob).collect::<Result<BTreeSet<_>>>()?;
    encode_all(&authorities, &revoked.key_ids, &keys, u64::try_from(now.0).unwrap_or(0)).map_err(unencodable)
}

fn encode_all(
    authorities: &[(Vec<u8>, &BTreeSet<u64>)],
    key_ids: &BTreeSet<String>,
    keys: &BTreeSet<Vec<u8>>,
    millis: u64,
) -> ssh_encoding::Result<Vec<u8>> {
    let mut krl = Vec::new();
    MAGIC.encode(&mut krl)?;
    VERSION.encode(&mut krl)?;
    // The number of the list, which grows; then when it was made, in seconds; flags, of which there are none.
    millis.encode(&mut krl)?;
    (millis / 1000).encode(&mut krl)?;
    0_u64.encode(&mut krl)?;
    // Reserved, and a comment.
    "".encode(&mut krl)?;
    "".encode(&mut krl)?;
    for (authority, serials) in authorities {
        if serials.is_empty() && key_ids.is_empty() {
            continue;
        }
        let mut section = Vec::new();
        authority.encode(&mut section)?;
        "".encode(&mut section)?;
        if !serials.is_empty() {
            let mut list = Vec::new();
            serials.iter().try_for_each(|serial| serial.encode(&mut list))?;
            push(&mut section, SERIALS, &list)?;
        }
        if !key_ids.is_empty() {
            let mut list = Vec::new();
            key_ids.iter().try_for_each(|key_id| key_id.encode(&mut list))?;
            push(&mut section, KEY_IDS, &list)?;
        }
        push(&mut krl, CERTIFICATES, &section)?;
    }
    if !keys.is_empty() {
        let mut section = Vec::new();
        keys.iter().try_for_each(|key| key.encode(&mut section))?;
        push(&mut krl, EXPLICIT_KEYS, &section)?;
    }
    Ok(krl)
}

fn push(into: &mut Vec<u8>, kind: u8, section: &[u8]) -> ssh_encoding::Result<()> {
    kind.encode(into)?;
    section.encode(into)
}
