//! Owns the form of a corpus of scripts. A file holds many, each beneath its header:
//!
//! ```luau
//! --# name: EXPECTED setting=value …
//! «("x" .. ×1000)»§
//! ```
//!
//! `«text×N»` is the text N times, and `§` in it the number of the repetition: what is large stays readable.

use std::path::Path;

const HEADER: &str = "--# ";

/// One script.
#[derive(Debug)]
pub(crate) struct Case {
    /// `file/name`.
    pub(crate) name: String,
    /// What it ends with.
    pub(crate) expected: String,
    pub(crate) settings: Vec<String>,
    pub(crate) source: String,
}

/// Every script of the files in `folder`, in order; each has a name of its own.
pub(crate) fn read(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases: Vec<Case> = files.iter().flat_map(|file| read_file(file)).collect();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "two scripts of one name: {twice:?}");
    cases
}

/// The scripts of one file, in order.
pub(crate) fn read_file(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap();
    let stem = file.file_stem().unwrap().to_string_lossy();
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix(HEADER), cases.last_mut()) {
            (Some(header), _) => cases.push(begin(&stem, header)),
            (None, Some(case)) => {
                case.source.push_str(line);
                case.source.push('\n');
            }
            (None, None) => panic!("{} does not begin with a header", file.display()),
        }
    }
    for case in &mut cases {
        case.source = expanded(case.source.trim_end());
    }
    cases
}

fn begin(stem: &str, header: &str) -> Case {
    let (name, rest) =
        header.split_once(": ").unwrap_or_else(|| panic!("{stem}: `{header}` expects nothing"));
    let mut words = rest.split_whitespace().map(str::to_owned);
    Case {
        name: format!("{stem}/{name}"),
        expected: words.next().unwrap_or_else(|| panic!("{stem}: `{header}` expects nothing")),
        settings: words.collect(),
        source: String::new(),
    }
}

fn expanded(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some((plain, repeated)) = rest.split_once('«') {
        let (inner, after) = repeated.split_once('»').expect("every « has its »");
        let (text, count) = inner.rsplit_once('×').expect("a repetition has a count");
        out.push_str(plain);
        for number in 0..count.parse().expect("the count is a number") {
            out.push_str(&text.replace('§', &format!("{number}")));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
