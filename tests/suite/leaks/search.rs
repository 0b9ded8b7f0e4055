//! Owns what is searched for and how: a secret in every spelling, in bytes, in what a command shows, in a state directory.

use std::fs;

use crate::harness::{Place, Seen};

/// Letters of which every spelling is another: JSON, shells, web addresses and base64 all write them differently.
pub(super) const SECRET: &str = "pl4nt3d-\"q\\u0te&<7f>/+ =?%{end}";

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let number = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for place in 0..=chunk.len() {
            text.push(char::from(LETTERS[(number >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn percent(secret: &str, keeps: &str) -> String {
    let spelled = |byte: u8| match char::from(byte) {
        letter if letter.is_ascii_alphanumeric() || keeps.contains(letter) => letter.to_string(),
        _ => format!("%{byte:02X}"),
    };
    secret.bytes().map(spelled).collect()
}

/// Every way in which a secret may be spelt.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let json = serde_json::to_string(secret).unwrap();
    let twice = serde_json::to_string(&json).unwrap();
    let hex = |upper: bool| -> String {
        bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    let mut all = vec![
        ("plain", secret.to_owned()),
        ("JSON", json.trim_matches('"').to_owned()),
        ("JSON in JSON", twice[3..twice.len() - 3].to_owned()),
        ("Rust", format!("{secret:?}").trim_matches('"').to_owned()),
        ("hex", hex(false)),
        ("hex in capitals", hex(true)),
        ("web address", percent(secret, "-_.~")),
        ("web path", percent(secret, "-_.~/+=&")),
        ("form", percent(secret, "-_.*").replace("%20", "+")),
        ("reversed", secret.chars().rev().collect()),
        ("lower case", secret.to_lowercase()),
        ("upper case", secret.to_uppercase()),
        ("the start", secret[..10].to_owned()),
        ("the end", secret[secret.len() - 10..].to_owned()),
    ];
    // In a longer text, base64 may begin one or two bytes earlier; the ends belong to the neighbours.
    for before in 0..3 {
        let shifted = [vec![b'.'; before], bytes.to_vec()].concat();
        let text = base64(&shifted);
        let inner = &text[(before * 8).div_ceil(6)..text.len() - 4];
        all.push(("base64", inner.to_owned()));
        all.push(("base64 for addresses", inner.replace('+', "-").replace('/', "_")));
    }
    let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut all: Vec<(&str, Vec<u8>)> =
        all.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    all.push(("UTF-16", wide));
    all
}

/// Looks for a secret in bytes that stand in `place`.
#[track_caller]
pub(super) fn search_for(secret: &str, bytes: &[u8], place: &str) {
    for (name, spelling) in spellings(secret) {
        assert!(spelling.len() >= 8, "{name} is too short to be searched for");
        if let Some(at) = bytes.windows(spelling.len()).position(|window| window == spelling) {
            let around = String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())]);
            panic!("the secret, {name}, is in {place}:\n{around}");
        }
    }
}

/// Looks for the secret that is planted.
#[track_caller]
pub(super) fn search(bytes: &[u8], place: &str) {
    search_for(SECRET, bytes, place);
}

#[track_caller]
pub(super) fn search_seen(seen: &Seen, what: &str) {
    search(seen.stdout.as_bytes(), &format!("what `{what}` writes"));
    search(seen.stderr.as_bytes(), &format!("what `{what}` writes as errors"));
}

/// Looks for the secret that is planted in the whole state directory.
#[track_caller]
pub(super) fn search_state(place: &Place) {
    each_stored(place, search);
}

/// Everything in the state directory, and what SQLite and tar would give out of it.
#[track_caller]
pub(super) fn each_stored(place: &Place, search: impl Fn(&[u8], &str)) {
    let mut folders = vec![place.state()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            search(entry.file_name().as_encoded_bytes(), "the name of a file");
            // What a native service writes is its own, and kept as it is, like the logs of an engine.
            let is_output = entry
                .path()
                .parent()
                .and_then(|folder| folder.parent())
                .is_some_and(|above| above.ends_with("process"))
                && entry.file_name().to_string_lossy().starts_with("log");
            if is_output {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                looked += 1;
                search(&fs::read(entry.path()).unwrap(), &entry.path().display().to_string());
            }
        }
    }
    assert!(looked > 1, "there is a journal to look into");
    let journal = rusqlite::Connection::open(place.database()).unwrap();
    let tables: Vec<String> = journal
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    for table in tables {
        let mut rows = journal.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) =
                    row.get_ref(column).unwrap()
                {
                    search(bytes, &format!("the table {table}"));
                }
            }
        }
    }
}
