//! Owns what is said where the two sides are of different versions.

use effect::{Code, Error};
pub(super) use peer::calls::{OURS, skew};

use super::convert::Misfit;

/// What came from a peer that calls itself `theirs` is more than this version understands.
pub(super) fn misfit(code: Code, wrong: Misfit, place: &str, theirs: Option<&str>) -> Error {
    match wrong {
        Misfit::Unknown { field, value } => skew(
            code,
            format!("{place} says {value} for `{field}`, which mcrun {OURS} here does not know"),
            place,
            theirs,
        ),
        Misfit::Wrong(why) => Error::new(code, format!("{place} says what is no route: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_side_is_named() {
        let told = |theirs| {
            let wrong = Misfit::Unknown { field: "mode", value: 9 };
            misfit(Code::ProxyAnswer, wrong, "192.0.2.1:9443", theirs)
        };
        let newer = told(Some("99.0.0"));
        assert!(newer.message.contains("9 for `mode`") && newer.message.contains(OURS), "{newer}");
        assert!(newer.cause.as_ref().unwrap().contains("is mcrun 99.0.0"), "{newer}");
        assert!(newer.hint.unwrap().starts_with("this side is the older one"));
        assert!(told(Some("0.0.1")).hint.unwrap().starts_with("the other side is the older one"));
        assert!(told(None).hint.unwrap().contains("same version"));
    }
}
