//! Owns the pages of `docs/errors`.

use std::collections::BTreeMap;

use effect::Code;

use super::{GENERATED, cell};

/// The rooms that the letters of the codes stand for.
const ROOMS: &[(&str, &str)] = &[
    ("S", "Scripts and their worker"),
    ("A", "Arguments"),
    ("P", "Policy and secrets"),
    ("J", "Journal, runs, state directory"),
    ("C", "Containers"),
    ("H", "Health and HTTP"),
    ("F", "Files"),
    ("X", "Programs"),
    ("N", "Ports"),
    ("R", "Registry and deploys"),
    ("B", "Undo and transactions"),
    ("K", "Type checks"),
    ("T", "Tests of scripts"),
    ("U", "Usage and configuration"),
    ("Z", "mcrun itself"),
];

/// The pages of `docs/errors` by their path in it: one for each code, and an index.
#[must_use]
pub(crate) fn error_pages() -> BTreeMap<String, String> {
    let mut pages: BTreeMap<String, String> =
        Code::ALL.iter().map(|code| (format!("{code}.md"), page(*code))).collect();
    pages.insert("index.md".to_owned(), index());
    pages
}

fn page(code: Code) -> String {
    format!(
        "{GENERATED}# {code}: {}\n\n{}\n\n## What to do\n\n{}\n",
        code.title(),
        code.meaning(),
        code.remedy()
    )
}

fn index() -> String {
    let mut text = format!(
        "{GENERATED}# Error codes\n\nA code keeps its meaning for ever. Its letter names the room it comes from.\n"
    );
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| code.as_str());
    let mut rooms: Vec<(&str, &str)> = ROOMS.to_vec();
    for letter in codes.iter().map(|code| letter(*code)) {
        if !rooms.iter().any(|(known, _)| *known == letter) {
            rooms.push((letter, letter));
        }
    }
    for (room, title) in rooms {
        let mut rows = codes.iter().filter(|code| letter(**code) == room).peekable();
        if rows.peek().is_none() {
            continue;
        }
        text.push_str(&format!("\n## {title}\n\n| code | |\n| --- | --- |\n"));
        for code in rows {
            text.push_str(&format!("| [{code}]({code}.md) | {} |\n", cell(code.title())));
        }
    }
    text
}

fn letter(code: Code) -> &'static str {
    code.as_str().get(3..4).unwrap_or_default()
}
