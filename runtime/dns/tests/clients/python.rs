//! dnspython (Debian, as certbot uses it) as a client: it checks ids, questions, lengths and signatures more closely than
//! others.

use std::path::Path;

use crate::bench::{SECRET, Server, run};
use crate::program::command;

#[tokio::test]
async fn dnspython_resolves_transfers_and_updates() {
    let server = Server::start().await;
    let mut client = command("/usr/bin/python3");
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/client.py"));
    client.args([&server.address.ip().to_string(), &server.address.port().to_string(), SECRET]);
    let said = run(client).await;
    for step in [
        "resolved",
        "negative",
        "truncated then tcp",
        "edns options",
        "transferred",
        "updated",
        "refused",
        "connection kept",
        "case kept",
    ] {
        assert!(said.lines().any(|line| line == step), "{step} is missing:\n{said}");
    }
}
