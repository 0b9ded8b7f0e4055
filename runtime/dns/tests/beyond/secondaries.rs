//! BIND and Knot as secondaries: told of each version, which they then have.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::bench::{SECRET, Server, Setup, set};
use crate::program::{Program, command, port, succeed};

/// Starting takes milliseconds where nobody else computes.
const PATIENCE: u32 = 1500;

fn bind(folder: &Path, own: SocketAddr, primary: SocketAddr) -> std::process::Command {
    let path = folder.display();
    let text = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; dnssec-validation no; notify no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; }};\n\
         controls {{ }};\n\
         key \"all\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"mcrun.test\" {{ type secondary; file \"zone\"; masterfile-format text; \
         primaries {{ 127.0.0.1 port {primary} key all; }}; allow-notify {{ key all; }}; }};\n",
        port = own.port(),
        primary = primary.port(),
    );
    std::fs::write(folder.join("named.conf"), text).unwrap();
    let mut server = command("/usr/sbin/named");
    server.args(["-g", "-n", "1", "-c"]).arg(folder.join("named.conf"));
    server
}

fn knot(folder: &Path, own: SocketAddr, primary: SocketAddr) -> std::process::Command {
    let path = folder.display();
    let text = format!(
        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: \"{path}\"\n\
         key:\n  - id: all\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: primary\n    address: 127.0.0.1@{primary}\n    key: all\n\
         acl:\n  - id: told\n    key: all\n    action: [notify, transfer]\n\
         zone:\n  - domain: mcrun.test\n    storage: \"{path}\"\n    master: primary\n    acl: told\n",
        port = own.port(),
        primary = primary.port(),
    );
    std::fs::write(folder.join("knot.conf"), text).unwrap();
    let mut server = command("/usr/sbin/knotd");
    server.arg("-c").arg(folder.join("knot.conf"));
    server
}

async fn ask(to: SocketAddr, words: &[&str]) -> String {
    let mut program = command("dig");
    program
        .arg("@127.0.0.1")
        .args(["-p", &to.port().to_string(), "+short", "+timeout=1", "+tries=1"])
        .args(words);
    // dig fails as long as nobody listens.
    tokio::task::spawn_blocking(move || {
        let done = program.output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    })
    .await
    .unwrap()
}

/// Until `secondary` answers so.
async fn wait(program: &mut Program, secondary: SocketAddr, words: &[&str], wanted: &str) {
    for _ in 0..PATIENCE {
        program.check();
        if ask(secondary, words).await.trim() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{words:?} was never {wanted}: {}", program.log());
}

async fn follow(start: impl Fn(&Path, SocketAddr, SocketAddr) -> std::process::Command) {
    let folder = tempfile::tempdir().unwrap();
    let own = port();
    let zones = format!("[\"mcrun.test\"]\nnotify = [\"{own}\"]\nkey = \"all\"\n");
    let server = Server::start(Setup { zones, ..Setup::default() }).await;
    let sets = (0..3000).map(|number| set(&format!("host-{number}"), "A", &["192.0.2.1"]));
    server.change(sets.collect()).await;
    let mut program =
        Program::start(&mut start(folder.path(), own, server.address), &folder.path().join("log"));
    wait(&mut program, own, &["host-2999.mcrun.test"], "192.0.2.1").await;

    let notifier = server.notifier.clone();
    let telling = tokio::spawn(async move { notifier.run().await.map(|_| ()) });
    // The refresh of the zone is an hour: only who is told learns of these so soon.
    for number in 0..3 {
        let values = [format!("192.0.2.{}", 100 + number)];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        server.change(vec![set("new", "A", &values)]).await;
        wait(&mut program, own, &["new.mcrun.test"], values[0]).await;
    }
    // Sent again after a second where the first one was lost.
    for _ in 0..PATIENCE {
        if server.notifier.open() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.notifier.open(), 0, "{}", program.log());
    telling.abort();

    let ours = whole(server.address).await;
    // Hosts, what was new, the server's address, NS and SOA.
    assert_eq!(ours.len(), 3004);
    assert_eq!(whole(own).await, ours);
}

/// Every record that a server has of the zone.
async fn whole(server: SocketAddr) -> BTreeSet<String> {
    let mut dig = command("dig");
    dig.arg("@127.0.0.1").args([
        "-p",
        &server.port().to_string(),
        "-y",
        &format!("hmac-sha256:all:{SECRET}"),
    ]);
    dig.args(["+noall", "+answer", "mcrun.test", "AXFR"]);
    let said = tokio::task::spawn_blocking(move || succeed(&mut dig)).await.unwrap();
    said.lines()
        .filter(|line| !line.contains("TSIG"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn bind_follows_as_a_secondary() {
    follow(bind).await;
}

#[tokio::test]
async fn knot_follows_as_a_secondary() {
    follow(knot).await;
}
