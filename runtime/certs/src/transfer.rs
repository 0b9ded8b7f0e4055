//! Owns the form in which an authority leaves the machine and comes back: an age file under a passphrase, in ASCII
//! armour, which the program `age` opens as well (<https://c2sp.org/age>). What is in it is its caller's matter.

use std::io::Read as _;
use std::iter;

use age::armor::ArmoredReader;
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Identity, scrypt};
use effect::{Code, Error, Result};
use zeroize::Zeroizing;

/// What the program `age` uses: 2^18 rounds of scrypt take 256 MiB and about a second.
const WORK_FACTOR: u8 = 18;
/// A file says how much work opening it is. 2^20 rounds take 1 GiB and some seconds: four times what is usual; each
/// further step doubles both, and a hostile file would ask for all memory and for days.
const MOST_WORK: u8 = 20;
/// An authority with a hundred thousand records stays below; more could not be held twice in memory.
const LARGEST: usize = 128 << 20;

/// Seals `plain` under a passphrase. `work_factor` is the binary logarithm of scrypt's rounds, 18 unless said, 20 at
/// most. It computes for about a second: not for the thread of an event loop.
///
/// # Errors
/// `MC-A001` where the passphrase is empty or the work factor is none; `MC-E009` where `plain` is larger than an import
/// takes.
pub fn seal(plain: &[u8], passphrase: &str, work_factor: Option<u8>) -> Result<String> {
    if passphrase.is_empty() {
        return Err(Error::new(Code::Argument, "an export is not sealed with an empty passphrase"));
    }
    let work_factor = work_factor.unwrap_or(WORK_FACTOR);
    if !(1..=MOST_WORK).contains(&work_factor) {
        let message = format!("a work factor of {work_factor} is none: from 1 to {MOST_WORK}");
        return Err(Error::new(Code::Argument, message));
    }
    if plain.len() > LARGEST {
        let message =
            format!("an export has {} bytes, more than the {LARGEST} that can be imported", plain.len());
        return Err(Error::new(Code::AuthorityTransfer, message));
    }
    let mut recipient = scrypt::Recipient::new(secret(passphrase));
    recipient.set_work_factor(work_factor);
    age::encrypt_and_armor(&recipient, plain)
        .map_err(|error| Error::new(Code::Internal, "the export could not be sealed").because(error))
}

/// Opens what [`seal`] or `age --passphrase --armor` made. It computes for seconds at most: not for the thread of an
/// event loop.
///
/// # Errors
/// `MC-E006` where the passphrase is another one; `MC-E009` where the text is no export, was damaged, is for somebody's
/// key instead of a passphrase, or asks for more work or room than an export does.
pub fn open(sealed: &str, passphrase: &str) -> Result<Zeroizing<Vec<u8>>> {
    // Armour makes four bytes of three, and lines of 64.
    if sealed.len() > LARGEST / 2 * 3 {
        return Err(no_export().because(format!("it has {} bytes", sealed.len())));
    }
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed.as_bytes())).map_err(refused)?;
    if !decryptor.is_scrypt() {
        return Err(no_export().because("it is encrypted for a key, not under a passphrase"));
    }
    let mut identity = scrypt::Identity::new(secret(passphrase));
    identity.set_max_work_factor(MOST_WORK);
    let reader = decryptor.decrypt(iter::once(&identity as &dyn Identity)).map_err(refused)?;
    // Room for all of it beforehand: a vector that grows leaves copies of secrets behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let most = LARGEST as u64;
    reader.take(most + 1).read_to_end(&mut plain).map_err(|error| no_export().because(error))?;
    if plain.len() > LARGEST {
        return Err(no_export().because(format!("it holds more than {LARGEST} bytes")));
    }
    Ok(plain)
}

fn secret(passphrase: &str) -> SecretString {
    SecretString::from(passphrase.to_owned())
}

fn no_export() -> Error {
    Error::new(Code::AuthorityTransfer, "this is no export that can be opened")
}

/// The words of the library change with the locale, so the causes that matter are ours.
fn refused(error: DecryptError) -> Error {
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            Error::new(Code::AuthoritySealed, "the passphrase does not open this export")
                .hint("give the passphrase that it was exported with: without it nobody can open it")
        }
        DecryptError::ExcessiveWork { required, .. } => no_export()
            .because(format!(
                "opening it would take 2^{required} rounds of scrypt, more than the 2^{MOST_WORK} allowed"
            ))
            .hint("exports of mcrun take 2^18; this file was made elsewhere, or to do harm"),
        DecryptError::InvalidMac => no_export().because("its header was changed after it was sealed"),
        DecryptError::UnknownFormat => no_export().because("it is of an unknown version of age"),
        DecryptError::Io(error) => no_export().because(error),
        _ => no_export().because("it is not in the form of age"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Option<u8> = Some(2);

    #[test]
    fn what_was_sealed_is_opened() {
        for plain in [&b""[..], b"key", &[7; 70_000]] {
            let sealed = seal(plain, "correct horse", QUICK).unwrap();
            assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{sealed}");
            assert_eq!(*open(&sealed, "correct horse").unwrap(), plain);
        }
    }

    #[test]
    fn a_wrong_passphrase_is_told_apart_from_a_broken_file() {
        let sealed = seal(b"the root", "correct horse", QUICK).unwrap();
        for wrong in ["", "correct", "correct horse "] {
            let error = open(&sealed, wrong).unwrap_err();
            assert_eq!(error.code, Code::AuthoritySealed);
            assert!(!format!("{error:?}").contains("correct horse"), "{error:?}");
        }
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let sealed = seal(b"the root", "pass", QUICK).unwrap();
        let body = sealed.find('\n').unwrap() + 1..sealed.rfind("-----END").unwrap() - 1;
        // Each attempt measures how fast the machine is, so not all of them.
        for place in body.step_by(11) {
            let mut broken = sealed.clone().into_bytes();
            broken[place] = if broken[place] == b'A' { b'B' } else { b'A' };
            let broken = String::from_utf8(broken).unwrap();
            let error = open(&broken, "pass").unwrap_err();
            assert!(
                matches!(error.code, Code::AuthoritySealed | Code::AuthorityTransfer),
                "{place}: {error:?}"
            );
        }
    }

    #[test]
    fn what_is_no_export_is_refused() {
        let sealed = seal(b"the root", "pass", QUICK).unwrap();
        let cut = &sealed[..sealed.len() / 2];
        let twice = format!("{sealed}{sealed}");
        for text in [
            "",
            "garbage",
            "-----BEGIN AGE ENCRYPTED FILE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            cut,
            &twice,
        ] {
            assert_eq!(open(text, "pass").unwrap_err().code, Code::AuthorityTransfer, "{text}");
        }
    }

    #[test]
    fn an_export_is_not_sealed_carelessly() {
        assert_eq!(seal(b"key", "", QUICK).unwrap_err().code, Code::Argument);
        for none in [0, MOST_WORK + 1, 64, 255] {
            assert_eq!(seal(b"key", "pass", Some(none)).unwrap_err().code, Code::Argument);
        }
    }

    #[test]
    fn a_file_that_asks_for_too_much_work_is_refused_at_once() {
        // The header of a real file, with the work factor raised: its checksum is not looked at before the work is done.
        let sealed = seal(b"key", "pass", QUICK).unwrap();
        let mut binary = Vec::new();
        ArmoredReader::new(sealed.as_bytes()).read_to_end(&mut binary).unwrap();
        let text = String::from_utf8_lossy(&binary);
        let line = text.lines().nth(1).unwrap().to_owned();
        let raised = line.strip_suffix(" 2").map(|line| format!("{line} 30")).unwrap();
        let mut hostile = format!("age-encryption.org/v1\n{raised}\n").into_bytes();
        hostile.extend_from_slice(&binary["age-encryption.org/v1\n".len() + line.len() + 1..]);
        let hostile = crate::certificate::armoured("AGE ENCRYPTED FILE", &hostile);
        let error = open(&hostile, "pass").unwrap_err();
        assert_eq!(error.code, Code::AuthorityTransfer);
        assert!(error.cause.unwrap().contains("2^30"));
    }
}
