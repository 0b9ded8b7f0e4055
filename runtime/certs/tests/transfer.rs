//! Owns the proof that exports are what the program `age` reads and writes, so that nobody needs mcrun to open one.

#![allow(clippy::unwrap_used, reason = "in tests and their helpers a panic is the failure")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use certs::transfer;

const PASSPHRASE: &str = "correct horse battery staple";

/// Runs `age` at a terminal, the only place where it takes a passphrase, and types the passphrase so many times as it is
/// asked for.
#[expect(clippy::disallowed_methods, reason = "the peer is started by the test")]
fn age(folder: &Path, words: &str, times: usize) {
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("age {words}"), "/dev/null"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` and `age` are installed: tests/install.sh");
    // Held until the end: `script` types the end of its input too, into whatever is asked then.
    let mut keys = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    for asked in 1..=times {
        while String::from_utf8_lossy(&shown).matches("passphrase").count() < asked {
            let mut piece = [0; 512];
            let read = screen.read(&mut piece).unwrap();
            assert!(read > 0, "age did not ask: {}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(&piece[..read]);
        }
        writeln!(keys, "{PASSPHRASE}").unwrap();
    }
    screen.read_to_end(&mut shown).unwrap();
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&shown));
}

#[test]
fn the_program_age_opens_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let plain: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    fs::write(folder.path().join("export.age"), transfer::seal(&plain, PASSPHRASE, Some(10)).unwrap())
        .unwrap();
    age(folder.path(), "--decrypt --output plain export.age", 1);
    assert!(fs::read(folder.path().join("plain")).unwrap() == plain);
}

#[test]
fn what_the_program_age_sealed_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plain"), "the root").unwrap();
    age(folder.path(), "--passphrase --armor --output export.age plain", 2);
    let sealed = fs::read_to_string(folder.path().join("export.age")).unwrap();
    assert_eq!(*transfer::open(&sealed, PASSPHRASE).unwrap(), b"the root");
    // Mail programs and editors end lines in their own way.
    assert_eq!(*transfer::open(&sealed.replace('\n', "\r\n"), PASSPHRASE).unwrap(), b"the root");
}

#[test]
fn a_file_for_a_key_is_no_export() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plain"), "the root").unwrap();
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    age(folder.path(), &format!("--recipient {recipient} --armor --output export.age plain"), 0);
    let sealed = fs::read_to_string(folder.path().join("export.age")).unwrap();
    let error = transfer::open(&sealed, PASSPHRASE).unwrap_err();
    assert_eq!(error.code.as_str(), "MC-E009");
    assert!(error.cause.unwrap().contains("for a key"));
}
