//! Owns what fuzzing calls: requests that anybody may send, as far as they are read before anybody has signed them, and
//! what signed ones say.

use super::account::{Change, Registration, Rollover};
use super::finalize::Finalization;
use super::jws::{Identity, Jws};
use super::order::{Wanted, identifier, lifetime, names};
use super::revoke::Revocation;
use crate::request::Request;

/// The body of a request; true where it could be one, whoever signed it.
///
/// # Panics
/// When something that was read cannot be told again.
#[must_use]
pub fn request(body: &[u8]) -> bool {
    let Ok(jws) = Jws::from_bytes(body) else { return false };
    if let Identity::Jwk(key) = &jws.identity {
        let again = super::jwk::Jwk::from_json(&key.to_json());
        assert_eq!(again.as_ref(), Ok(key), "a key reads back as it was");
        // Whether it holds does not matter, only that it is answered.
        let _ = jws.verify(key);
    }
    if let Ok(wanted) = jws.says::<Wanted>()
        && let Ok(names) = names(&wanted.identifiers)
    {
        names.as_slice().iter().for_each(|name| drop(identifier(name)));
        let _ = lifetime(wanted.not_before.as_deref(), wanted.not_after.as_deref(), effect::Timestamp(0));
    }
    let _ = jws.says::<Registration>();
    let _ = jws.says::<Change>();
    let _ = jws.says::<Finalization>();
    let _ = jws.says::<Revocation>();
    let _ = jws.says::<Rollover>();
    let _ = Jws::from_bytes(&jws.payload);
    true
}

/// A signing request; true where it is one that could be signed.
///
/// # Panics
/// When it is refused for another reason than its own.
#[must_use]
pub fn signing_request(der: &[u8]) -> bool {
    use effect::Code::{CertificateKey, CertificateRequest};
    match Request::from_der(der) {
        Ok(_) => true,
        Err(error) => {
            assert!([CertificateKey, CertificateRequest].contains(&error.code), "{error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds").join(target);
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.map(|file| std::fs::read(file).unwrap()).collect()
    }

    #[test]
    fn the_seeds_of_fuzzing_are_what_they_are_about() {
        for (target, read) in [("acme_request", request as fn(&[u8]) -> bool), ("csr", signing_request)] {
            let seeds = seeds(target);
            let good = seeds.iter().filter(|seed| read(seed)).count();
            assert!(good >= 3, "{target}: {good} of {}", seeds.len());
            for seed in &seeds {
                for at in 0..seed.len() {
                    let mut changed = seed.clone();
                    changed[at] = changed[at].wrapping_add(0x55);
                    let _ = read(&changed);
                    let _ = read(&seed[..at]);
                }
            }
        }
    }
}
