//! The socket: who may use it, and what is told to those who may not.

use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use daemon::api::client::Client;
use daemon::api::{Doors, Settings, open_socket};
use effect::{Code, Error, Result};
use rustix::process::{Gid, Uid};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::stage::Stage;

const NOBODY: u32 = 65534;

/// Does `work` on a thread that belongs to another user, with one group.
async fn as_nobody<T: Send + 'static, F: Future<Output = T>>(
    group: u32,
    work: impl FnOnce() -> F + Send + 'static,
) -> T {
    let run = move || {
        let thread = std::thread::spawn(move || {
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(group));
            // The system call is of this thread alone; the rest of the process stays who it is.
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        });
        thread.join().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn connect_as_nobody(group: u32, path: PathBuf) -> Result<()> {
    as_nobody(group, move || async move { Client::connect(&path).await.map(drop) }).await
}

/// The folder of a test, into which everybody may look.
fn open_folder(stage: &Stage) {
    std::fs::set_permissions(stage.folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn another_user_may_not_use_the_socket_and_learns_whose_it_is() {
    if !is_root() {
        return;
    }
    let stage = Stage::open().await;
    open_folder(&stage);
    stage.client().await;
    let error = connect_as_nobody(NOBODY, stage.socket()).await.unwrap_err();
    assert_eq!(error.code, Code::ApiUser);
    assert!(error.hint.as_ref().unwrap().contains("the user `root` alone"), "{error:?}");
}

#[tokio::test]
async fn whoever_gets_past_the_mode_of_the_file_is_looked_at_once_more() {
    if !is_root() {
        return;
    }
    let stage = Stage::open().await;
    open_folder(&stage);
    std::fs::set_permissions(stage.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = connect_as_nobody(NOBODY, stage.socket()).await.unwrap_err();
    assert_eq!(error.code, Code::ApiUser);
    assert!(error.message.contains("the user nobody may not call"), "{error:?}");
    stage.client().await;
}

#[tokio::test]
async fn a_group_that_is_named_is_let_in_and_no_other() {
    if !is_root() {
        return;
    }
    let group = NOBODY.to_string();
    let stage = Stage::new(Settings { group: Some(group), ..Settings::default() }).await;
    let _serving = stage.listen().await;
    open_folder(&stage);
    connect_as_nobody(NOBODY, stage.socket()).await.unwrap();
    let error = connect_as_nobody(4711, stage.socket()).await.unwrap_err();
    assert_eq!(error.code, Code::ApiUser);
    assert!(error.hint.as_ref().unwrap().contains("for the group `nogroup`"), "{error:?}");
}

/// The doors of a daemon to which a service manager has handed its socket over.
async fn handed(stage: &Stage, listener: UnixListener) -> Result<Doors> {
    let nobody_asks = || panic!("no certificate is needed");
    Doors::open(&stage.settings, stage.folder.path(), (Some(listener), None), nobody_asks).await
}

#[tokio::test]
async fn a_socket_that_was_handed_over_elsewhere_is_refused_with_both_paths() {
    let stage = Stage::new(Settings::default()).await;
    let elsewhere = stage.folder.path().join("api.sock");
    let error = handed(&stage, UnixListener::bind(&elsewhere).unwrap()).await.unwrap_err();
    assert_eq!(error.code, Code::HandedSocket);
    for path in [&elsewhere, &stage.socket()] {
        assert!(error.message.contains(&format!("`{}`", path.display())), "{error:?}");
    }
    assert!(error.hint.unwrap().contains("[daemon.api]"));
}

#[tokio::test]
async fn a_socket_that_was_handed_over_may_be_named_by_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("run"), folder.path().join("var-run"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let settings = Settings { socket: Some(link.join("api.sock")), ..Settings::default() };
    let stage = Stage::new(settings).await;
    let listener = UnixListener::bind(real.join("api.sock")).unwrap();
    assert_eq!(handed(&stage, listener).await.unwrap().places().len(), 1);
}

#[tokio::test]
async fn whoever_the_mode_of_a_socket_that_was_handed_over_lets_in_may_call() {
    if !is_root() {
        return;
    }
    let stage = Stage::new(Settings::default()).await;
    open_folder(&stage);
    let path = stage.socket();
    // The unit has said who may: mcrun.toml need not say it again.
    let listener = UnixListener::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, None, Some(NOBODY)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    let doors = handed(&stage, listener).await.unwrap();
    let mut tasks = JoinSet::new();
    doors.serve(&stage.api, &mut tasks, &stage.over());
    connect_as_nobody(NOBODY, path.clone()).await.unwrap();
    assert_eq!(connect_as_nobody(4711, path).await.unwrap_err().code, Code::ApiUser);
}

#[tokio::test]
async fn two_daemons_never_answer_at_one_socket() {
    let stage = Stage::open().await;
    let error = open_socket(&stage.settings, stage.folder.path()).await.unwrap_err();
    assert_eq!(error.code, Code::PortOccupied);
    stage.client().await;
}

#[tokio::test]
async fn a_socket_that_a_killed_daemon_left_is_replaced() {
    let stage = Stage::new(Settings::default()).await;
    drop(UnixListener::bind(stage.socket()).unwrap());
    let error = Client::connect(&stage.socket()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ApiUnavailable, true));
    let _serving = stage.listen().await;
    stage.client().await;
}

#[tokio::test]
async fn a_file_in_the_way_is_left_alone() {
    let stage = Stage::new(Settings::default()).await;
    std::fs::write(stage.socket(), "mine").unwrap();
    let error = open_socket(&stage.settings, stage.folder.path()).await.unwrap_err();
    assert_eq!(error.code, Code::Config);
    assert!(error.cause.unwrap().contains("another file is there"));
    assert_eq!(std::fs::read_to_string(stage.socket()).unwrap(), "mine");
}

#[tokio::test]
async fn a_state_directory_may_lie_deep() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let settings = Settings { socket: Some(deep.join("daemon.sock")), ..Settings::default() };
    let stage = Stage::new(settings).await;
    let _serving = stage.listen().await;
    stage.client().await;
}

/// What somebody gets to know who connects to something that is no daemon.
async fn at_a_stranger(words: &'static [u8], keeps_open: bool) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(words).await;
            if keeps_open {
                open.push(stream);
            }
        }
    });
    Client::connect(&path).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_daemon_is_told_as_one() {
    let http = at_a_stranger(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", true).await;
    assert_eq!(http.code, Code::ApiStranger, "{http:?}");
    let gone = at_a_stranger(b"", false).await;
    assert_eq!(gone.code, Code::ApiUnavailable, "{gone:?}");
    let silent = at_a_stranger(b"", true).await;
    assert_eq!(silent.code, Code::ApiUnavailable, "{silent:?}");
    assert!(silent.cause.unwrap().contains("says nothing"));
    let nothing = Client::connect(Path::new("/nonexistent/daemon.sock")).await.unwrap_err();
    assert_eq!(nothing.code, Code::ApiUnavailable);
}
