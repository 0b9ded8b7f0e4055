//! Owns what is said to users of a machine whose mcrun is another user's: the command line works on the state directory
//! itself, and whoever may only use the daemon's socket calls it there.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use daemon::socket::user_name;
use effect::{Code, Error};
use rustix::fs::Access;

use super::App;

/// The same error, with whose the state directory is, where it is another user's.
pub(super) fn named(error: Error, state: &Path) -> Error {
    let own = rustix::process::geteuid();
    if own.is_root() || error.code != Code::StateUnusable {
        return error;
    }
    let owner = match std::fs::metadata(state) {
        Ok(there) if there.uid() == own.as_raw() => return error,
        Ok(there) => format!("the user `{}`", user_name(there.uid())),
        // Not even the folder above it may be looked into.
        Err(denied) if denied.kind() == ErrorKind::PermissionDenied => "another user".to_owned(),
        Err(_) => return error,
    };
    error.detail(format!("the state directory `{}` belongs to {owner}", state.display())).hint(
        "where mcrun is the machine's daemon, the command line takes root: `sudo mcrun ...`. Members of the group of the \
         daemon's socket call its API there, with grpcurl or any other client of gRPC",
    )
}

/// The socket of the machine's daemon, where this user may use it and yet has a state directory of their own.
pub(super) fn daemon_beside(app: &App) -> Option<PathBuf> {
    let own = rustix::process::geteuid();
    // Whoever names a state directory means that one.
    if own.is_root() || app.global.state.is_some() || app.journal.holder_of_daemon().is_some() {
        return None;
    }
    let socket = app.config.daemon.api.socket.as_ref()?;
    let there = std::fs::metadata(socket).ok()?;
    let is_anothers = there.file_type().is_socket() && there.uid() != own.as_raw();
    (is_anothers && rustix::fs::access(socket, Access::WRITE_OK).is_ok()).then(|| socket.clone())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use rustix::process::{Gid, Uid};

    use super::*;
    use crate::arguments::Global;

    const NOBODY: u32 = 65534;

    /// Does `work` on a thread that belongs to another user: the system calls are of this thread alone.
    fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A folder into which everybody may look, with root's state directory and one of nobody's own.
    fn machine() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let (state, own) = (folder.path().join("state"), folder.path().join("own"));
        App::open(&global(&state, Path::new("/dev/null"))).unwrap();
        std::fs::create_dir(&own).unwrap();
        std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        (folder, state, own)
    }

    fn global(state: &Path, config: &Path) -> Global {
        Global {
            state: Some(state.to_owned()),
            config: Some(config.to_owned()),
            yes: false,
            no_input: true,
            verbose: 0,
        }
    }

    #[test]
    fn whoever_may_not_use_the_state_directory_learns_whose_it_is_and_what_is_left() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_folder, state, _) = machine();
        let error = as_nobody(|| App::open(&global(&state, Path::new("/dev/null"))).err()).unwrap();
        assert_eq!(error.code, Code::StateUnusable);
        assert!(error.details.iter().any(|line| line.contains("belongs to the user `root`")), "{error:?}");
        let hint = error.hint.unwrap();
        assert!(hint.contains("sudo mcrun") && hint.contains("API"), "{hint}");
    }

    #[test]
    fn a_member_of_the_group_learns_that_the_daemon_has_no_part_in_what_is_executed_beside_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (folder, _, own) = machine();
        let (socket, config) = (folder.path().join("api.sock"), folder.path().join("mcrun.toml"));
        std::fs::write(&config, format!("[daemon.api]\nsocket = {socket:?}\n")).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let mode = |mode: u32| {
            std::os::unix::fs::chown(&socket, None, Some(NOBODY)).unwrap();
            std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        // What is not named is found as everybody's is: as if there were no `--state`.
        let beside = || {
            as_nobody(|| {
                let mut app = App::open(&global(&own.join("state"), &config)).unwrap();
                assert_eq!(daemon_beside(&app), None, "the state directory was named");
                app.global.state = None;
                daemon_beside(&app)
            })
        };
        mode(0o660);
        assert_eq!(beside().as_deref(), Some(&*socket));
        mode(0o600);
        assert_eq!(beside(), None);
    }
}
