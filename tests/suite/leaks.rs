//! A secret is planted in every position in which one may be put or found, and searched for, in every spelling, in every byte
//! that mcrun shows or keeps: output, errors, panics, logs, plans, the journal and its log, blobs, the whole state directory.

mod errors;
mod identity;
mod planted;
mod processes;
mod search;
mod told;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use self::search::SECRET;
use crate::harness::Place;

/// Wherever a secret may go at all.
fn destinations(place: &Place, address: &str) -> Vec<String> {
    let here = place.path().canonicalize().unwrap();
    [
        "exec:/usr/bin/dash",
        "exec:/usr/bin/sleep",
        "exec:/usr/bin/echo",
        "containers:web",
        "images:127.0.0.1:1",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("http:{address}/**"), format!("files:{}/**", here.display())])
    .collect()
}

/// A place whose secret lies in the sealed store.
fn place_with_sealed(address: &str) -> Place {
    let place = Place::new();
    let to = destinations(&place, address);
    let to = to.iter().flat_map(|pattern| ["--to", pattern]);
    let words: Vec<&str> = ["set", "web/key"].into_iter().chain(to).collect();
    crate::sealed::set(&place, &words, format!("{SECRET}\n").as_bytes());
    place
}

/// A place whose secret is in a file.
fn place_with_secret(address: &str) -> Place {
    let place = Place::new();
    fs::write(place.at("secret"), format!("{SECRET}\n")).unwrap();
    fs::set_permissions(place.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let to = destinations(&place, address);
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[secrets.\"web/key\"]\nfile = \"{}\"\nto = {to:?}\n",
        place.at("secret")
    ));
    place
}
