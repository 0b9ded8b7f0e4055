//! Owns why a daemon cannot be spoken to, in our own codes.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use effect::{Code, Error};
use peer::calls::Broken;

use crate::socket;

pub(super) fn unavailable(place: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::ApiUnavailable, format!("no daemon answers at `{place}`")).because(cause).retryable()
}

pub(super) fn garbage(place: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::ApiStranger, format!("what answers at `{place}` is no daemon of mcrun")).because(cause)
}

pub(super) fn broken(place: &str, why: Broken) -> Error {
    match why {
        Broken::Gone(why) => unavailable(place, why),
        Broken::Garbage(why) => garbage(place, why),
    }
}

/// Why the socket cannot be connected to.
pub(super) fn unreached(path: &Path, error: &std::io::Error) -> Error {
    let shown = path.display();
    if error.kind() != ErrorKind::PermissionDenied {
        return unavailable(&shown.to_string(), error);
    }
    let denied = Error::new(Code::ApiUser, format!("this user may not use the daemon's socket `{shown}`"));
    let denied = denied.because(error);
    match std::fs::metadata(path) {
        Ok(there) if there.permissions().mode() & 0o020 != 0 => {
            denied.hint(format!("it is for the group `{}`", socket::group_name(there.gid())))
        }
        Ok(there) => {
            let user = socket::user_name(there.uid());
            denied.hint(format!(
                "it is for the user `{user}` alone; `group` under [daemon.api] lets a group in"
            ))
        }
        // Not even its folder may be looked into.
        Err(_) => denied.hint("ask whoever runs the daemon for the group that may use it"),
    }
}
