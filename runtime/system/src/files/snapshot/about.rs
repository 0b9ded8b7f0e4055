//! Owns what a snapshot says about itself: texts in the comments of its archive.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form that is written here.
pub(super) const FORMAT: u32 = 1;
/// No such text is longer.
const LONGEST: u64 = 64 * 1024;

/// At its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The form.
    pub(super) mcrun_snapshot: u32,
    /// Whose it is.
    pub(super) service: String,
    /// The folder that it was taken of.
    pub(super) source: String,
    /// The node that it was taken on.
    pub(super) node: String,
    /// When, in milliseconds since 1970.
    pub(super) taken: i64,
}

/// At its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// Files, folders and links, the folder itself included.
    pub(super) entries: u64,
    /// The bytes of all files.
    pub(super) bytes: u64,
    /// Sockets, pipes and devices, which are left out.
    pub(super) skipped: u64,
    /// Files that changed while they were packed.
    pub(super) changed: u64,
    /// The BLAKE3 hash of the archive up to here, in hexadecimal.
    pub(super) sum: String,
}

/// Writes one of them as a comment of the whole archive, which other programs pass over.
pub(super) fn write<W: Write>(builder: &mut tar::Builder<W>, text: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(text)?;
    let body = record(&text);
    let mut header = tar::Header::new_ustar();
    header.set_path("mcrun-snapshot")?;
    header.set_entry_type(tar::EntryType::XGlobalHeader);
    header.set_mode(0o600);
    header.set_size(body.len() as u64);
    header.set_cksum();
    builder.append(&header, body.as_bytes())
}

/// `LENGTH comment=TEXT` and a line end; the length counts itself.
fn record(text: &str) -> String {
    let rest = " comment=\n".len() + text.len();
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} comment={text}\n")
}

/// Reads one of them.
pub(super) fn read<T: DeserializeOwned>(entry: &mut impl Read, size: u64) -> io::Result<T> {
    let wrong = || io::Error::other("it says nothing about itself that is understood");
    if size > LONGEST {
        return Err(wrong());
    }
    let mut body = String::new();
    entry.take(LONGEST).read_to_string(&mut body)?;
    let (_, record) = body.split_once(' ').ok_or_else(wrong)?;
    let text = record.strip_prefix("comment=").and_then(|text| text.strip_suffix('\n')).ok_or_else(wrong)?;
    serde_json::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_comment_counts_itself() {
        for length in [0, 1, 80, 86, 87, 88, 89, 90, 986, 987, 988, 989] {
            let made = record(&"x".repeat(length));
            assert_eq!(made.split_once(' ').unwrap().0.parse::<usize>().unwrap(), made.len(), "{length}");
        }
    }
}
