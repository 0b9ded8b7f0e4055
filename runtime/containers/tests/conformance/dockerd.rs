//! Owns docker's daemon for the tests: one for all test processes of a target folder, at a socket, in folders and on a
//! bridge of its own. It ends by itself a little after the last test that holds the lock.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::image::{IMAGE, OTHER_IMAGE, write_image};

const PATIENCE: Duration = Duration::from_secs(60);

/// `$1` the folder, `$2` the bridge, `$3` its address, `$4` the socket.
const WATCH: &str = r#"
cd "$1" || exit 1
ip link delete "$2" 2>/dev/null
ip link add "$2" type bridge && ip address add "$3" dev "$2" && ip link set "$2" up || exit 1
rm -f docker.pid
dockerd --host "unix://$4" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/docker.pid" \
    --bridge "$2" --iptables=false --ip6tables=false &
daemon=$!
while sleep 3; do
    exec 9>users.lock
    if flock --nonblock 9 || ! kill -0 "$daemon"; then
        kill "$daemon"
        wait "$daemon"
        ip link delete "$2"
        exit 0
    fi
    exec 9>&-
done
"#;

/// The socket of the daemon, which stays as long as this process.
pub(crate) fn socket() -> &'static Path {
    static RUNNING: OnceLock<(PathBuf, File)> = OnceLock::new();
    &RUNNING.get_or_init(start).0
}

#[expect(clippy::disallowed_methods, reason = "a test drives the engine from outside, as an operator does")]
pub(crate) fn command(words: &[&str]) -> String {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", format!("unix://{}", socket().display())).env("DOCKER_BUILDKIT", "0");
    run(command.args(words))
}

fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|cause| panic!("docker is missing, tests/install.sh installs it: {cause}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the daemon of the tests is started here")]
fn start() -> (PathBuf, File) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
    fs::create_dir_all(&dir).unwrap();
    // Of the folder's name only a digest is short enough for the name of a bridge or a socket.
    let digest = dir
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(7_u32, |digest, byte| digest.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let bridge = format!("mcrun{digest:08x}");
    let address = format!("10.{}.{}.1/24", 100 + digest % 100, (digest >> 8) % 256);
    let socket = std::env::temp_dir().join(format!("mcrun-test-docker-{digest:08x}.sock"));

    let starting = File::create(dir.join("start.lock")).unwrap();
    starting.lock().unwrap();
    let users = File::create(dir.join("users.lock")).unwrap();
    users.lock_shared().unwrap();
    let is_up = || UnixStream::connect(&socket).is_ok();
    if !is_up() {
        let log = File::create(dir.join("log")).unwrap();
        let started = Command::new("setsid")
            .args(["--fork", "sh", "-c", WATCH, "dockerd-of-tests"])
            .args([dir.as_os_str(), bridge.as_ref(), address.as_ref(), socket.as_os_str()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(started.success());
        let deadline = Instant::now() + PATIENCE;
        while !is_up() {
            let said = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            let is_late = Instant::now() > deadline;
            assert!(!is_late, "dockerd does not start (tests/install.sh installs it): {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    prepare_images(&dir, &socket);
    (socket, users)
}

#[expect(clippy::disallowed_methods, reason = "a test drives the engine from outside, as an operator does")]
fn prepare_images(dir: &Path, socket: &Path) {
    let docker = || {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}", socket.display())).env("DOCKER_BUILDKIT", "0");
        command
    };
    if !run(docker().args(["images", "--quiet", OTHER_IMAGE])).is_empty() {
        return;
    }
    for (tag, content) in [(IMAGE, "one"), (OTHER_IMAGE, "two")] {
        let context = dir.join("image");
        write_image(&context, content);
        run(docker()
            .args(["build", "--quiet", "--tag", tag, "--file"])
            .arg(context.join("Containerfile"))
            .arg(&context));
    }
}
