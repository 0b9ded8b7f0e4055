//! Owns what is said where the two sides are of different versions.

use effect::{Code, Error};
use semver::Version;

/// This one.
pub const OURS: &str = env!("CARGO_PKG_VERSION");

/// No version is longer.
const LONGEST: usize = 40;

/// An error that names both versions and says which is to be brought up to date.
#[must_use]
pub fn skew(code: Code, message: String, place: &str, theirs: Option<&str>) -> Error {
    let shown: String =
        theirs.unwrap_or("of a version that it does not tell").chars().take(LONGEST).collect();
    let error = Error::new(code, message).because(format!("{place} is mcrun {shown}; this is mcrun {OURS}"));
    match (theirs.and_then(|text| Version::parse(text).ok()), Version::parse(OURS)) {
        (Some(theirs), Ok(ours)) if theirs > ours => {
            error.hint(format!("this side is the older one: bring mcrun up to date here, to {theirs}"))
        }
        (Some(theirs), Ok(ours)) if theirs < ours => {
            error.hint(format!("the other side is the older one: bring mcrun up to date there, to {ours}"))
        }
        _ => error.hint("have both sides run the same version of mcrun"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_side_is_named() {
        let told = |theirs| skew(Code::ApiVersion, "x".into(), "192.0.2.1:9443", theirs);
        let newer = told(Some("99.0.0"));
        assert!(newer.cause.as_ref().unwrap().contains("is mcrun 99.0.0"), "{newer}");
        assert!(newer.hint.unwrap().starts_with("this side is the older one"));
        assert!(told(Some("0.0.1")).hint.unwrap().starts_with("the other side is the older one"));
        assert!(told(None).hint.unwrap().contains("same version"));
    }
}
