//! Owns names of events and their patterns: `*` stands for one part between dots; alone, for every name.

use super::fields::{texts, wrong};

const LONGEST: usize = 128;
const MOST: usize = 64;

/// Whether `name` can be the name of an event.
pub(super) fn check_name(name: &str) -> effect::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    match name.len() {
        1..=LONGEST if name.chars().all(fits) => Ok(()),
        _ => Err(wrong(
            "name",
            format!(
                "an event has 1 to {LONGEST} letters, digits and `.`, `-`, `_`, `/`, `:`, such as `db.restored`"
            ),
        )),
    }
}

/// Patterns of which a name matches one.
#[derive(Debug, Clone)]
pub(super) struct Patterns(Vec<String>);

impl Patterns {
    pub(super) fn new(given: Vec<String>) -> effect::Result<Self> {
        texts("patterns", &given, (MOST, LONGEST))?;
        for pattern in &given {
            let has_partial = pattern.split('.').any(|part| part.contains('*') && part != "*");
            if has_partial || check_name(&pattern.replace('*', "x")).is_err() {
                let why =
                    format!("`{pattern}` is no pattern of names: `*` stands for one whole part between dots");
                return Err(wrong("patterns", why));
            }
        }
        Ok(Self(given))
    }

    pub(super) fn let_through(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (mut parts, mut names) = (pattern.split('.'), name.split('.'));
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if part == "*" || part == name => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_part() {
        let with = |pattern: &str| Patterns::new(vec![pattern.into()]).unwrap();
        assert!(with("container.*").let_through("container.exited"));
        assert!(!with("container.*").let_through("container.exited.twice"));
        assert!(!with("container.*").let_through("container"));
        assert!(with("*").let_through("a.b.c"));
        assert!(Patterns::new(Vec::new()).unwrap().let_through("a"));
        for none in ["", "cont*", "a b", "**"] {
            let error = Patterns::new(vec![none.into()]).unwrap_err();
            assert!(error.message.starts_with("`patterns`"), "{error}");
        }
    }
}
