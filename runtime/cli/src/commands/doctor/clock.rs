//! Owns whether something keeps this machine's clock right: schedules, certificates and one-time codes follow it.

use std::time::Duration;

use daemon::monitors::clock::{self, Kept};
use effect::units::Span;

use super::{Check, Verdict};

pub(super) fn check() -> Check {
    judge(clock::kept())
}

fn judge(kept: Option<Kept>) -> Check {
    let missing = |what: &str| Check {
        name: "clock",
        verdict: Verdict::Missing,
        what: what.to_owned(),
        hint: Some("chrony or systemd-timesyncd keeps it right; in a container its host does".to_owned()),
        features: Vec::new(),
    };
    match kept {
        Some(Kept { is_synchronised: true, error }) => {
            // Whole milliseconds are more than anybody reads.
            let error = Duration::from_millis(u64::try_from(error.as_millis()).unwrap_or(u64::MAX).max(1));
            Check::good("clock", format!("is kept right, to within {}", Span(error)))
        }
        Some(_) => missing("nothing that the kernel knows of keeps it right"),
        None => missing("the kernel does not say whether it is kept right"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_good_where_something_keeps_it_right() {
        let kept = |is_synchronised| Kept { is_synchronised, error: Duration::from_micros(12_345) };
        let good = judge(Some(kept(true)));
        assert_eq!((good.verdict, good.what.as_str()), (Verdict::Good, "is kept right, to within 12ms"));
        assert_eq!(judge(Some(kept(false))).verdict, Verdict::Missing);
        assert_eq!(judge(None).verdict, Verdict::Missing);
    }
}
