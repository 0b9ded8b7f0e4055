//! Owns what can be said of the time since which something is listed.

use effect::Timestamp;
use effect::units::Span;

/// A moment, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// This moment.
    Moment(Timestamp),
    /// So long ago.
    Ago(Span),
}

impl Since {
    /// The moment that it means `now`.
    pub(crate) fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Moment(moment) => moment,
            Self::Ago(span) => {
                let millis = i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX);
                Timestamp(now.0.saturating_sub(millis))
            }
        }
    }
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let moment = text.parse::<jiff::Timestamp>().map_err(|_| {
            "write how long ago, such as `10m` or `2d`, or a moment such as `2026-12-24T17:00:00Z`".to_owned()
        })?;
        Ok(Self::Moment(Timestamp(moment.as_millisecond())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_as_a_moment_or_as_how_long_ago() {
        let now = Timestamp(1_000_000);
        let moment = |text: &str| text.parse::<Since>().map(|since| since.moment(now).0);
        assert_eq!(moment("10s"), Ok(990_000));
        assert_eq!(moment("1970-01-01T00:01:00Z"), Ok(60_000));
        assert_eq!(moment("1970-01-01T01:01:00+01:00"), Ok(60_000));
        for wrong in ["", "yesterday", "2026-12-24", "-1h"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
