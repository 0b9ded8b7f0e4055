//! Owns a file of countries (MaxMind's format, version 2.0) that knows one network.

use std::path::Path;

const METADATA: &[u8] = b"\xab\xcd\xefMaxMind.com";
const RECORD_BITS: u16 = 24;

/// Writes a file that has `country` for the addresses that begin with the octet `first`, and nothing else.
pub(crate) fn write(file: &Path, first: u8, country: &str) {
    let nodes: u32 = 8;
    let nothing = nodes;
    // Behind the tree come 16 octets, then what is found.
    let found = nodes + 16;
    let mut database = Vec::new();
    for bit in 0..nodes {
        let next = if bit + 1 == nodes { found } else { bit + 1 };
        let is_set = first & (0x80 >> bit) != 0;
        let (left, right) = if is_set { (nothing, next) } else { (next, nothing) };
        for record in [left, right] {
            database.extend(&record.to_be_bytes()[1..]);
        }
    }
    database.extend([0; 16]);
    map(&mut database, 1);
    text(&mut database, "country");
    map(&mut database, 1);
    text(&mut database, "iso_code");
    text(&mut database, country);

    database.extend(METADATA);
    map(&mut database, 9);
    for (name, value) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 4),
        ("record_size", RECORD_BITS),
    ] {
        text(&mut database, name);
        database.push(0xa2);
        database.extend(value.to_be_bytes());
    }
    text(&mut database, "node_count");
    database.push(0xc4);
    database.extend(nodes.to_be_bytes());
    text(&mut database, "build_epoch");
    database.extend([0x01, 0x02, 0x01]);
    text(&mut database, "database_type");
    text(&mut database, "GeoLite2-Country");
    text(&mut database, "description");
    map(&mut database, 0);
    text(&mut database, "languages");
    database.extend([0x00, 0x04]);
    std::fs::write(file, database).unwrap();
}

fn map(database: &mut Vec<u8>, entries: u8) {
    database.push(0xe0 | entries);
}

fn text(database: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29, "longer ones are written otherwise");
    database.push(0x40 | u8::try_from(text.len()).unwrap());
    database.extend(text.as_bytes());
}
