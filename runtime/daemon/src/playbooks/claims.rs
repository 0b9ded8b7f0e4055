//! Owns which file a name belongs to where several claim it. Nothing here touches a disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What one file claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Claim {
    /// The name that its present text gives itself; none where that is broken.
    pub(super) wants: Option<String>,
    /// The name of its active version.
    pub(super) holds: Option<String>,
    /// Whether it is there no more, and holds that name only until another file has it.
    pub(super) is_missing: bool,
}

/// Who has which name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Given {
    /// The file of each name, and whether its present text counts, rather than the version that is active.
    pub(super) names: BTreeMap<String, (PathBuf, bool)>,
    /// Files whose present text wants the name of another, and that other.
    pub(super) refused: BTreeMap<PathBuf, (String, PathBuf)>,
}

/// Gives each name to one file: to the one that has it already if it still claims it, else to the first by its path. A
/// file that is broken or refused goes on holding the name of its active version while nobody else is given it; so does one
/// that is missing, which is first to lose it.
pub(super) fn give(claims: &BTreeMap<PathBuf, Claim>) -> Given {
    let mut given = Given::default();
    let has = |claim: &Claim, name: &str| claim.holds.as_deref() == Some(name);
    let broken = claims.iter().filter(|(_, claim)| !claim.is_missing);
    let broken = broken.filter_map(|(path, claim)| match (&claim.wants, &claim.holds) {
        (None, Some(holds)) => Some((path, holds)),
        _ => None,
    });
    for (path, name) in broken {
        given.names.entry(name.clone()).or_insert_with(|| (path.clone(), false));
    }
    // Those that have what they want come first.
    for keeps in [true, false] {
        for (path, claim) in claims {
            let Some(name) = claim.wants.as_ref().filter(|name| has(claim, name) == keeps) else { continue };
            if claim.is_missing {
                continue;
            }
            match given.names.get(name) {
                Some((other, _)) => {
                    given.refused.insert(path.clone(), (name.clone(), other.clone()));
                }
                None => {
                    given.names.insert(name.clone(), (path.clone(), true));
                }
            }
        }
    }
    let refused: Vec<&Path> = given.refused.keys().map(PathBuf::as_path).collect();
    let left: Vec<(PathBuf, String)> = refused
        .into_iter()
        .filter_map(|path| Some((path.to_owned(), claims.get(path)?.holds.clone()?)))
        .collect();
    for (path, name) in left {
        given.names.entry(name).or_insert((path, false));
    }
    for (path, claim) in claims.iter().filter(|(_, claim)| claim.is_missing) {
        if let Some(name) = &claim.holds {
            given.names.entry(name.clone()).or_insert_with(|| (path.clone(), false));
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(claims: &[(&str, Option<&str>, Option<&str>)]) -> (Vec<String>, Vec<String>) {
        let text = |text: &Option<&str>| text.map(str::to_owned);
        let claims = claims
            .iter()
            .map(|(path, holds, wants)| {
                let is_missing = path.starts_with('-');
                (PathBuf::from(path), Claim { holds: text(holds), wants: text(wants), is_missing })
            })
            .collect();
        let given = give(&claims);
        let names = given.names.iter().map(|(name, (path, is_new))| {
            format!("{name}={}{}", path.display(), if *is_new { "" } else { " as it was" })
        });
        let refused = given
            .refused
            .iter()
            .map(|(path, (name, other))| format!("{} wants {name} of {}", path.display(), other.display()));
        (names.collect(), refused.collect())
    }

    #[test]
    fn the_first_that_was_loaded_keeps_its_name() {
        let (names, refused) = given(&[("a", None, Some("x")), ("b", Some("x"), Some("x"))]);
        assert_eq!((names, refused), (vec!["x=b".to_owned()], vec!["a wants x of b".to_owned()]));
        let (names, refused) = given(&[("a", None, Some("x")), ("b", None, Some("x"))]);
        assert_eq!((names, refused), (vec!["x=a".to_owned()], vec!["b wants x of a".to_owned()]));
    }

    #[test]
    fn a_broken_file_keeps_the_name_of_its_active_version() {
        let (names, refused) = given(&[("a", None, Some("x")), ("b", Some("x"), None)]);
        assert_eq!((names, refused), (vec!["x=b as it was".to_owned()], vec!["a wants x of b".to_owned()]));
    }

    #[test]
    fn two_files_may_swap_their_names() {
        let (names, refused) = given(&[("a", Some("x"), Some("y")), ("b", Some("y"), Some("x"))]);
        assert_eq!((names, refused), (vec!["x=b".to_owned(), "y=a".to_owned()], Vec::new()));
    }

    #[test]
    fn one_that_is_refused_stays_what_it_was() {
        let (names, refused) = given(&[("a", Some("x"), Some("y")), ("b", Some("y"), Some("y"))]);
        assert_eq!(names, ["x=a as it was", "y=b"]);
        assert_eq!(refused, ["a wants y of b"]);
    }

    #[test]
    fn a_name_that_was_left_can_be_taken() {
        let (names, refused) = given(&[("a", Some("x"), Some("z")), ("b", None, Some("x"))]);
        assert_eq!((names, refused), (vec!["x=b".to_owned(), "z=a".to_owned()], Vec::new()));
    }
    #[test]
    fn one_that_is_missing_holds_its_name_until_another_has_it() {
        let (names, refused) = given(&[("-a", Some("x"), Some("x")), ("b", None, None)]);
        assert_eq!((names, refused), (vec!["x=-a as it was".to_owned()], Vec::new()));
        let (names, refused) = given(&[("-a", Some("x"), Some("x")), ("b", None, Some("x"))]);
        assert_eq!((names, refused), (vec!["x=b".to_owned()], Vec::new()));
        // Moved over another one.
        let (names, refused) = given(&[("-a", Some("x"), Some("x")), ("b", Some("y"), Some("x"))]);
        assert_eq!((names, refused), (vec!["x=b".to_owned()], Vec::new()));
    }
}
