//! Lego (Debian) as a client.

use std::fs;
use std::process::Command;

use certs::certificate::chain_from_pem;

use crate::authority::serial_of;
use crate::stage::{Stage, program, run};

fn lego(stage: &Stage, ways: &[&str], words: &[&str]) -> Command {
    let mut command = program("lego");
    command.args([
        "--server",
        &stage.server.directory(),
        "--accept-tos",
        "--email",
        "ops@mcrun.test",
        "--path",
    ]);
    command.arg(stage.folder.path().join("lego")).args(ways).args(words);
    command.env("LEGO_CA_CERTIFICATES", stage.root());
    command
}

fn serial(stage: &Stage, name: &str) -> String {
    let path = stage.folder.path().join(format!("lego/certificates/{name}.crt"));
    serial_of(&chain_from_pem(&fs::read_to_string(path).unwrap()).unwrap())
}

#[tokio::test]
async fn lego_gets_renews_and_revokes_by_tls() {
    let stage = Stage::listening(|settings| settings.eab = true).await;
    let (id, shared) = stage.eab("mcns").await;
    let port = format!("127.0.0.1:{}", stage.settings.tls_port);
    let ways =
        ["--domains", "t.mcrun.test", "--tls", "--tls.port", &port, "--eab", "--kid", &id, "--hmac", &shared];
    run(lego(&stage, &ways, &["run"])).await;
    let first = serial(&stage, "t.mcrun.test");
    run(lego(&stage, &ways, &["renew", "--days", "1000", "--no-random-sleep"])).await;
    let second = serial(&stage, "t.mcrun.test");
    assert_ne!(first, second);
    run(lego(&stage, &ways, &["revoke"])).await;
    assert!(stage.authority.revoked(&second).is_some() && stage.authority.revoked(&first).is_none());
}

#[tokio::test]
async fn lego_gets_a_certificate_by_http() {
    let stage = Stage::listening(|_| ()).await;
    let port = format!("127.0.0.1:{}", stage.settings.http_port);
    let ways = ["--domains", "h.mcrun.test", "--http", "--http.port", &port, "--key-type", "ec384"];
    run(lego(&stage, &ways, &["run"])).await;
    serial(&stage, "h.mcrun.test");
}

#[tokio::test]
async fn lego_gets_a_wildcard_by_dns() {
    let stage = Stage::listening(|_| ()).await;
    let lines = "[ \"$1\" = present ] || exit 0\nNAME=${2%.}\nTEXT=$3";
    let hook = stage.hook(lines);
    let server = stage.zone.address.to_string();
    let ways = [
        "--domains",
        "*.d.mcrun.test",
        "--dns",
        "exec",
        "--dns.resolvers",
        &server,
        "--dns.disable-cp",
        "--key-type",
        "rsa2048",
    ];
    let mut command = lego(&stage, &ways, &["run"]);
    command.env("EXEC_PATH", &hook);
    run(command).await;
    serial(&stage, "_.d.mcrun.test");
}
