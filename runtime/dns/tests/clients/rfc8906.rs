//! The questions of RFC 8906, section 8, as it writes them for dig: to this server, and to BIND and Knot with the same zone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::bench::{SERVICES, Server, zone_file};
use crate::program::{Program, command, port, succeed};

/// Starting takes milliseconds where nobody else computes.
const PATIENCE: u32 = 1500;

/// Section, words for dig, and what is expected: the status; `soa` in the answer section; the flags `aa`, `rd`; `opt` for
/// EDNS in version 0, and its flag `do`. What is not named must not be there, nor may ever `ad`, bits that must be zero, or
/// options that were not asked for. `zone` stands for the zone.
const QUESTIONS: [(&str, &str, &str); 19] = [
    ("8.1.1", "+noedns +noad +norec soa zone", "NOERROR soa aa"),
    ("8.1.2", "+noedns +noad +norec type1000 zone", "NOERROR aa"),
    ("8.1.3.1", "+noedns +noad +norec +cd soa zone", "NOERROR soa aa"),
    ("8.1.3.2", "+noedns +norec +ad soa zone", "NOERROR soa aa"),
    ("8.1.3.3", "+noedns +noad +norec +zflag soa zone", "NOERROR soa aa"),
    ("8.1.3.4", "+noedns +noad +rec soa zone", "NOERROR soa aa rd"),
    ("8.1.4", "+noedns +noad +opcode=15 +norec +header-only", "NOTIMP"),
    ("8.1.5", "+noedns +noad +norec +tcp soa zone", "NOERROR soa aa"),
    ("8.2.1", "+nocookie +edns=0 +noad +norec soa zone", "NOERROR soa aa opt"),
    ("8.2.2", "+nocookie +edns=1 +noednsneg +noad +norec soa zone", "BADVERS opt"),
    ("8.2.3", "+nocookie +edns=0 +noad +norec +ednsopt=100 soa zone", "NOERROR soa aa opt"),
    ("8.2.4", "+nocookie +edns=0 +noad +norec +ednsflags=0x40 soa zone", "NOERROR soa aa opt"),
    ("8.2.5", "+nocookie +edns=1 +noednsneg +noad +norec +ednsflags=0x40 soa zone", "BADVERS opt"),
    ("8.2.6", "+nocookie +edns=1 +noednsneg +noad +norec +ednsopt=100 soa zone", "BADVERS opt"),
    ("8.2.7", "+norec +noad +nocookie +dnssec +bufsize=512 +ignore dnskey zone", "NOERROR aa opt do"),
    ("8.2.8", "+nocookie +edns=0 +noad +norec +dnssec soa zone", "NOERROR soa aa opt do"),
    ("8.2.9", "+nocookie +edns=1 +noednsneg +noad +norec +dnssec soa zone", "BADVERS opt do"),
    ("8.2.10", "+edns=0 +noad +norec +cookie +nsid +expire +subnet=0.0.0.0/0 soa zone", "NOERROR soa aa opt"),
    // Not in the RFC, but in the report of its authors: two unknown things at once.
    ("further", "+nocookie +edns=1 +noednsneg +noad +norec +tcp +ednsopt=100 soa zone", "BADVERS opt"),
];

/// What dig says of the answer, in the words of `QUESTIONS`.
fn found(said: &str) -> String {
    let line = |head: &str| said.lines().find(|line| line.contains(head)).unwrap_or_default();
    let after = |text: &str, head: &str| text.split(head).nth(1).unwrap_or_default().to_owned();
    let header = line(";; flags:");
    let bits = after(header, "flags:");
    let bits: Vec<&str> = bits.split(';').next().unwrap_or_default().split_whitespace().collect();
    let status = after(line("status: "), "status: ");
    let mut found = vec![status.split(',').next().unwrap_or_default().to_owned()];
    if said.contains(";; ANSWER SECTION") && after(said, ";; ANSWER SECTION").contains("\tSOA\t") {
        found.push("soa".into());
    }
    for bit in ["aa", "rd", "ad"] {
        if bits.contains(&bit) {
            found.push(bit.into());
        }
    }
    let edns = line("; EDNS:");
    if !edns.is_empty() {
        let version = after(edns, "version: ");
        found.push(if version.starts_with("0,") { "opt".into() } else { format!("opt{version}") });
        let flags = after(edns, "flags:");
        if flags.split(';').next().unwrap_or_default().contains("do") {
            found.push("do".into());
        }
    }
    for trace in ["MBZ", "OPT=100"] {
        if said.contains(trace) {
            found.push(trace.into());
        }
    }
    let doubts = ["WARNING: Message", "malformed", "mismatch", "no servers could be reached", "timed out"];
    found.extend(doubts.iter().filter(|doubt| said.contains(**doubt)).map(|doubt| (*doubt).to_owned()));
    found.join(" ")
}

async fn ask(server: SocketAddr, words: &str) -> String {
    let mut dig = command("dig");
    dig.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+timeout=10"]);
    dig.args(words.split(' ').map(|word| if word == "zone" { SERVICES } else { word }));
    let done = tokio::task::spawn_blocking(move || dig.output().unwrap()).await.unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Every question that is not answered as expected, with its answer.
async fn differences(server: SocketAddr) -> Vec<(&'static str, String)> {
    let mut differing = Vec::new();
    for (section, words, expected) in QUESTIONS {
        let said = ask(server, words).await;
        let found = found(&said);
        if found != expected {
            differing.push((section, found));
        }
    }
    differing
}

#[tokio::test]
async fn every_question_is_answered_as_rfc_8906_expects() {
    let server = Server::start().await;
    assert_eq!(differences(server.address).await, []);
}

fn bind(folder: &Path, own: SocketAddr) -> std::process::Command {
    let path = folder.display();
    let text = format!(
        "options {{ directory \"{path}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
         dnssec-validation no; notify no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; }};\ncontrols {{ }};\n\
         zone \"{SERVICES}\" {{ type primary; file \"zone\"; }};\n",
        own.port()
    );
    std::fs::write(folder.join("named.conf"), text).unwrap();
    // Where AppArmor is at work, it keeps the program in its place from reading files of tests; a copy is free.
    let program = folder.join("named");
    std::fs::copy("/usr/sbin/named", &program)
        .unwrap_or_else(|cause| panic!("BIND: {cause}; tests/install.sh installs what tests need"));
    let mut server = command(program);
    server.args(["-g", "-n", "1", "-c"]).arg(folder.join("named.conf"));
    server
}

fn knot(folder: &Path, own: SocketAddr) -> std::process::Command {
    let path = folder.display();
    let text = format!(
        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{path}\"\n\
         zone:\n  - domain: {SERVICES}\n    storage: \"{path}\"\n    file: zone\n",
        own.port()
    );
    std::fs::write(folder.join("knot.conf"), text).unwrap();
    let mut server = command("/usr/sbin/knotd");
    server.arg("-c").arg(folder.join("knot.conf"));
    server
}

/// What a peer answers otherwise than expected.
async fn peer(start: impl Fn(&Path, SocketAddr) -> std::process::Command) -> Vec<(&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zone"), zone_file()).unwrap();
    let own = port();
    let mut program = Program::start(&mut start(folder.path(), own), &folder.path().join("log"));
    for _ in 0..PATIENCE {
        program.check();
        if found(&ask(own, "+noedns +noad +norec soa zone +tries=1").await) == "NOERROR soa aa" {
            return differences(own).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never answered: {}", program.log());
}

/// Where others differ from what RFC 8906 expects, this server does not: each difference is named here.
#[tokio::test]
async fn bind_and_knot_answer_no_better() {
    let version = succeed(command("dig").arg("-v"));
    assert_eq!(peer(bind).await, [], "{version}");
    assert_eq!(peer(knot).await, []);
}
