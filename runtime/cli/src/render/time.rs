//! Owns how moments are shown.

/// RFC 3339 in UTC.
pub(crate) fn rfc3339(moment: journal::Timestamp) -> String {
    moment.to_string()
}

/// How long ago, in the largest unit that fits: `5 s ago`.
pub(crate) fn ago(moment: journal::Timestamp, now: journal::Timestamp) -> String {
    let seconds = (now.0 - moment.0).max(0) / 1000;
    match seconds {
        0 => "just now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}
