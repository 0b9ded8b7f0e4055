//! Every error code is provoked by some test, wherever that test lives.

use std::fs;
use std::path::{Path, PathBuf};

use effect::Code;

/// Codes that no test of this machine can provoke, each with its reason.
const UNPROVOKED: &[(Code, &str)] = &[
    (Code::Internal, "it names mistakes that nobody knows of"),
    (Code::WorkerSandbox, "it takes a kernel without seccomp"),
    (Code::Confinement, "it takes a kernel without Landlock"),
];

fn files_beneath(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files_beneath(&path, found);
        } else if path
            .extension()
            .is_some_and(|kind| ["rs", "luau", "snap"].iter().any(|known| kind == *known))
        {
            found.push(path);
        }
    }
}

/// The part of a file that is tests: all of it beneath `tests`, otherwise what follows `#[cfg(test)]`.
fn tests_in(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("sources are text");
    let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    match text.split_once("#[cfg(test)]\nmod tests {") {
        _ if is_test => text,
        Some((_, tests)) => tests.to_owned(),
        None => String::new(),
    }
}

#[test]
fn every_code_is_provoked_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut files = Vec::new();
    for folder in ["runtime", "stdlib", "tests"] {
        files_beneath(&root.join(folder), &mut files);
    }
    files.retain(|path| !path.ends_with("suite/codes.rs"));
    let tests: String = files.iter().map(|path| tests_in(path)).collect();
    let mentions = |code: Code| {
        let variant = format!("Code::{code:?}");
        let rust = tests
            .match_indices(&variant)
            .any(|(at, _)| !tests[at + variant.len()..].starts_with(|next: char| next.is_alphanumeric()));
        rust || tests.contains(code.as_str())
    };
    let missing: Vec<String> = Code::ALL
        .iter()
        .filter(|code| !mentions(**code) && !UNPROVOKED.iter().any(|(unprovoked, _)| unprovoked == *code))
        .map(|code| format!("{code} {}", code.title()))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "codes that no test provokes");
}

#[test]
fn every_error_says_what_to_do() {
    for code in Code::ALL {
        let advice = effect::Error::new(*code, "it went wrong").advice();
        match code {
            // The message is the script's own.
            Code::Failed | Code::Uncaught => assert_eq!(advice, None),
            _ => {
                let advice = advice.unwrap_or_default();
                assert!(advice.len() > 20 && !advice.ends_with('.'), "{code}: `{advice}`");
            }
        }
    }
}

#[test]
fn every_code_is_explained() {
    let place = crate::harness::Place::new();
    for code in [Code::ImageMissing, Code::InDoubt] {
        let seen = place.ends(0, &["explain", code.as_str()]);
        assert!(seen.stdout.contains(code.title()), "{seen}");
    }
    place.ends(2, &["explain", "MC-X999"]).says(&["MC-U001"]);
}
