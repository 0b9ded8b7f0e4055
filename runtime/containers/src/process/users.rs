//! Owns finding the numbers of a user that a spec names, and becoming that user.

use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The numbers that a program runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Reads `name`, `uid`, `name:group` or `uid:gid` with the help of `/etc/passwd` and `/etc/group`.
pub(super) fn resolve(text: &str) -> Result<User, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let entry = lookup("/etc/passwd", user);
    let number =
        |line: &str, field: usize| line.split(':').nth(field).and_then(|text| text.parse::<u32>().ok());
    let user_number = match (user.parse(), &entry) {
        (Ok(number), _) => number,
        (Err(_), Some(line)) => number(line, 2).ok_or_else(|| format!("`{user}` has no number"))?,
        (Err(_), None) => return Err(format!("there is no user `{user}` on this node")),
    };
    let group_number = match group {
        Some(group) => match (group.parse(), lookup("/etc/group", group)) {
            (Ok(number), _) => number,
            (Err(_), Some(line)) => number(&line, 2).ok_or_else(|| format!("`{group}` has no number"))?,
            (Err(_), None) => return Err(format!("there is no group `{group}` on this node")),
        },
        None => entry.and_then(|line| number(&line, 3)).unwrap_or(user_number),
    };
    Ok(User { user: user_number, group: group_number })
}

/// Makes the calling process, which has a single thread, one of `user` for good, without any further group. System calls
/// alone.
pub(super) fn become_user(user: User) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.user), Gid::from_raw(user.group));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// The line of a table for `key`, which is a name or a number.
fn lookup(table: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(table).ok()?;
    let is_wanted = |line: &&str| {
        let mut fields = line.split(':');
        fields.next() == Some(key) || fields.nth(1) == Some(key)
    };
    text.lines().find(is_wanted).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(resolve("root"), Ok(User { user: 0, group: 0 }));
        assert_eq!(resolve("1234:99"), Ok(User { user: 1234, group: 99 }));
        assert_eq!(resolve("54321"), Ok(User { user: 54321, group: 54321 }));
        assert!(resolve("nobody-of-this-name").is_err());
        assert!(resolve("0:no-such-group").is_err());
    }
}
