//! Owns which public keys are signed: plain ones that are strong enough, read from the form of `id_….pub`.

use effect::{Code, Error, Result};
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{HashAlg, PublicKey};

use super::unencodable;

/// A line of RSA with 8192 bits has 1,400 characters; comments are short.
const LONGEST: usize = 4096;
/// RSA below is weak (NIST SP 800-131A).
const SMALLEST_RSA: usize = 2048;
/// Verifying with larger ones costs servers more than it protects.
const LARGEST_RSA: usize = 8192;

/// Reads a public key as `ssh-keygen` writes it.
///
/// # Errors
/// `MC-E003` when it is none, is a certificate or a private key, or weak.
pub fn parse(text: &str) -> Result<PublicKey> {
    let refused = |why: &str| Error::new(Code::CertificateKey, format!("the public key is refused: {why}"));
    let text = text.trim();
    if text.len() > LONGEST {
        return Err(refused("it is longer than any key"));
    }
    if text.contains("PRIVATE KEY") {
        return Err(
            refused("it is a private key").hint("give the file that ends in `.pub`, and make a new key pair")
        );
    }
    if text.chars().any(char::is_control) {
        return Err(refused("it has several lines, or characters that cannot be printed"));
    }
    if text.split(' ').next().is_some_and(|kind| kind.contains("-cert-v0")) {
        return Err(refused("it is a certificate").hint("give the key itself, not what was signed before"));
    }
    let mut key = PublicKey::from_openssh(text).map_err(|_| {
        refused("it cannot be decoded").hint("give one line such as `ssh-ed25519 AAAA… comment`")
    })?;
    check(key.key_data()).map_err(|why| refused(&why).hint("make a key with `ssh-keygen -t ed25519`"))?;
    key.set_comment("");
    Ok(key)
}

fn check(key: &KeyData) -> Result<(), String> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            Ok(())
        }
        KeyData::Rsa(rsa) => check_rsa(rsa),
        KeyData::Dsa(_) => Err("DSA is weak".into()),
        _ => Err("its kind is none of Ed25519, ECDSA and RSA".into()),
    }
}

fn check_rsa(rsa: &RsaPublicKey) -> Result<(), String> {
    let modulus = rsa.n.as_positive_bytes().unwrap_or_default();
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(zeros);
    if bits < SMALLEST_RSA {
        return Err(format!("RSA with {bits} bits is weak"));
    }
    if bits > LARGEST_RSA {
        return Err(format!("RSA with {bits} bits is larger than {LARGEST_RSA}"));
    }
    // An even modulus is no product of two large primes; an exponent of 1 leaves everything as it is, even ones have no
    // inverse.
    let exponent = rsa.e.as_positive_bytes().unwrap_or_default();
    let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(modulus) || !is_odd(exponent) || exponent == [1] {
        return Err("it is no product of primes, or its exponent is not one that RSA can have".into());
    }
    Ok(())
}

/// The key in one line, without a comment.
///
/// # Errors
/// Only where the library fails.
pub fn line(key: &PublicKey) -> Result<String> {
    key.to_openssh().map(|text| text.trim_end().to_owned()).map_err(unencodable)
}

/// SHA-256 of the key as `ssh-keygen -l` shows it.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti foo@bar.com";

    #[test]
    fn a_key_is_kept_without_its_comment() {
        let key = parse(&format!("  {GOOD}\n")).unwrap();
        assert_eq!(line(&key).unwrap(), GOOD.rsplit_once(' ').unwrap().0);
        assert!(fingerprint(&key).starts_with("SHA256:"));
    }

    #[test]
    fn garbage_is_no_key() {
        let twice = format!("{GOOD}\n{GOOD}");
        let long = format!("{GOOD}{}", "a".repeat(LONGEST));
        let cut = &GOOD[..40];
        for text in [
            "",
            " ",
            "garbage",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 é",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
            cut,
            &twice,
            &long,
            "a\0b",
        ] {
            assert_eq!(parse(text).unwrap_err().code, Code::CertificateKey, "{text}");
        }
    }

    #[test]
    fn a_private_key_is_refused_without_repeating_it() {
        let error = parse("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n").unwrap_err();
        assert_eq!(error.code, Code::CertificateKey);
        assert!(!format!("{error:?}").contains("b3BlbnNz"));
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), String> {
        let number = |bytes: &[u8]| ssh_key::Mpint::from_positive_bytes(bytes).unwrap();
        check_rsa(&RsaPublicKey { n: number(modulus), e: number(exponent) })
    }

    #[test]
    fn rsa_is_neither_weak_nor_huge_nor_odd() {
        rsa(&[0xff; 256], &[1, 0, 1]).unwrap();
        let mut short = [0xff; 256];
        short[0] = 0x7f;
        for (modulus, exponent) in [
            (&[0xff; 128][..], &[1, 0, 1][..]),
            (&short, &[3]),
            (&[0xff; 1025], &[3]),
            (&[0xfe; 256], &[3]),
            (&[0xff; 256], &[1]),
            (&[0xff; 256], &[4]),
            (&[0xff; 256], &[]),
        ] {
            assert!(rsa(modulus, exponent).is_err());
        }
    }
}
