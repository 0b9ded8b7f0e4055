//! The pure functions that read texts: TOML, JSON, versions, patterns, base64.

/// The names by the first byte of the input; the rest is the texts, separated by NUL.
const NAMES: [&str; 9] = [
    "toml.decode",
    "toml.places",
    "json.decode",
    "regex.find_all",
    "regex.split",
    "semver.parse",
    "semver.satisfies",
    "base64.decode",
    "semver.compare",
];
/// What a pattern may cost grows with the text, and is bounded by the worker's deadline, which is not here.
const LONGEST: usize = 4096;

/// A text given to a pure function.
///
/// # Panics
/// When an error has no code, or one of mcrun's own mistakes.
pub fn pure(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    if rest.len() > LONGEST {
        return;
    }
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let takes = if name.starts_with("regex") || matches!(name, "semver.satisfies" | "semver.compare") {
        2
    } else {
        1
    };
    let texts: Vec<&[u8]> = rest.splitn(takes, |byte| *byte == 0).collect();
    if texts.len() < takes {
        return;
    }
    if let Some(code) = script::fuzz::call_pure(name, &texts) {
        let known = ["MC-D001", "MC-D002", "MC-S017", "MC-A001"];
        assert!(known.contains(&code.as_str()), "{name}: {code}");
    }
}
