//! Owns `.containerignore` and `.dockerignore`: which files of a folder are no part of a build's context.

use effect::{Code, Error, Result};
use globset::{GlobBuilder, GlobMatcher};

/// The names under which it is looked for, best first.
pub(super) const FILES: [&str; 2] = [".containerignore", ".dockerignore"];
pub(super) const LARGEST: u64 = 1 << 20;
const MOST_PATTERNS: usize = 10_000;

/// The rules of one folder; the last one that matches decides.
#[derive(Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

struct Rule {
    matcher: GlobMatcher,
    keeps: bool,
}

impl Ignore {
    pub(super) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &dyn std::fmt::Display| {
                Error::new(Code::Argument, format!("{name}:{}: `{line}` is not a pattern: {why}", index + 1))
            };
            if rules.len() == MOST_PATTERNS {
                return Err(wrong(&format!("there are more than {MOST_PATTERNS}")));
            }
            let (keeps, pattern) =
                line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim_start()));
            let pattern = cleaned(pattern);
            if pattern.is_empty() {
                continue;
            }
            // Braces are plain letters in these files.
            let pattern = pattern.replace('{', "[{]").replace('}', "[}]");
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            rules.push(Rule { matcher: glob.map_err(|cause| wrong(&cause))?.compile_matcher(), keeps });
        }
        Ok(Self { rules })
    }

    /// Whether the path, relative to the folder, is left out: itself or by a folder above it.
    pub(super) fn ignores(&self, path: &str) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            if rule.keeps == ignored && matches_or_above(&rule.matcher, path) {
                ignored = !rule.keeps;
            }
        }
        ignored
    }

    /// Whether something beneath an ignored folder may be kept all the same.
    pub(super) fn may_keep_beneath(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }
}

fn matches_or_above(matcher: &GlobMatcher, path: &str) -> bool {
    let above = path.match_indices('/').map(|(at, _)| &path[..at]);
    std::iter::once(path).chain(above).any(|path| matcher.is_match(path))
}

/// Without the slashes and dots that mean nothing.
fn cleaned(pattern: &str) -> String {
    let parts = pattern.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_decides() {
        let ignore =
            Ignore::parse("x", "# comment\n*.log\n/target/\n!keep.log\n**/secret*\ndocs\n!docs/kept.md\n")
                .unwrap();
        for path in ["a.log", "target", "target/debug/x", "secret", "a/b/secrets.txt", "docs", "docs/a.md"] {
            assert!(ignore.ignores(path), "{path}");
        }
        for path in ["keep.log", "a/b.log", "src/target.rs", "docs/kept.md", "Containerfile"] {
            assert!(!ignore.ignores(path), "{path}");
        }
        assert!(ignore.may_keep_beneath());
    }

    #[test]
    fn a_rule_that_is_none_names_its_line() {
        let error = Ignore::parse(".dockerignore", "a\n[x\n").err().unwrap();
        assert!(error.message.starts_with(".dockerignore:2: "), "{error}");
        assert!(Ignore::parse("x", "{a,b}\n").unwrap().ignores("{a,b}"));
    }
}
