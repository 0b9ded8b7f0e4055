//! The same updates at BIND and here: the same answers, and the same zone afterwards. What BIND asks for beyond RFC 2136,
//! addresses of every host that MX and NS name, is switched off or not put to it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use crate::bench::{SECRET, Server, Setup, set};
use crate::clients::nsupdate;
use crate::program::{Program, command, port};
use crate::secondaries::{wait, whole};

const RECORDS: &str = "$TTL 300
@ IN SOA ns hostmaster 1 3600 600 604800 300
@ IN NS ns
ns IN A 192.0.2.53
";
/// Rounds after which both zones are compared, and updates of each.
const ROUNDS: usize = 12;
const UPDATES: usize = 20;

fn bind(folder: &Path, own: SocketAddr) -> std::process::Command {
    let path = folder.display();
    let text = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; dnssec-validation no; notify no; pid-file \"{path}/pid\"; session-keyfile \"{path}/session\"; }};\n\
         controls {{ }};\n\
         key \"all\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"mcrun.test\" {{ type primary; file \"zone\"; check-names ignore; check-mx ignore; check-integrity no; \
         allow-update {{ key all; }}; allow-transfer {{ key all; }}; }};\n",
        port = own.port(),
    );
    std::fs::write(folder.join("named.conf"), text).unwrap();
    std::fs::write(folder.join("zone"), RECORDS).unwrap();
    let mut server = command("/usr/sbin/named");
    server.args(["-g", "-n", "1", "-c"]).arg(folder.join("named.conf"));
    server
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        of[usize::try_from(self.0 >> 33).unwrap() % of.len()]
    }

    fn record(&mut self) -> (&'static str, &'static str) {
        let (rtype, values): (_, &[&'static str]) =
            match self.one(&["A", "A", "TXT", "CNAME", "NS", "MX", "PTR"]) {
                "A" => ("A", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
                "TXT" => ("TXT", &["one", "\"two words\""]),
                "CNAME" => ("CNAME", &["x.mcrun.test.", "Y.mcrun.test."]),
                "NS" => ("NS", &["ns.example.", "NS2.example.", "ns2.example."]),
                "MX" => ("MX", &["10 x.mcrun.test.", "20 y.mcrun.test."]),
                _ => ("TYPE65280", &["\\# 2 ABCD", "\\# 0"]),
            };
        (rtype, self.one(values))
    }

    fn line(&mut self) -> String {
        let names = [
            "mcrun.test",
            "x.mcrun.test",
            "y.mcrun.test",
            "a.b.mcrun.test",
            "b.mcrun.test",
            "*.w.mcrun.test",
        ];
        let name = self.one(&names);
        let (rtype, value) = self.record();
        // BIND takes no NS of a wildcard, of which RFC 4592, section 4.2, says only that it is nothing one would want.
        let name = if name.starts_with('*') && rtype == "NS" { "x.mcrun.test" } else { name };
        match self.one(&["add", "add", "add", "value", "set", "name"]) {
            "add" => format!("update add {name} {} {rtype} {value}", self.one(&["0", "60", "300"])),
            "value" => format!("update delete {name} {rtype} {value}"),
            "set" => format!("update delete {name} {rtype}"),
            _ => format!("update delete {name}"),
        }
    }

    fn required(&mut self) -> String {
        let name = self.one(&["mcrun.test", "x.mcrun.test", "b.mcrun.test", "nothing.mcrun.test"]);
        let (rtype, value) = self.record();
        match self.one(&["nxdomain", "yxdomain", "nxrrset", "yxrrset", "value"]) {
            "value" => format!("prereq yxrrset {name} {rtype} {value}"),
            kind @ ("nxdomain" | "yxdomain") => format!("prereq {kind} {name}"),
            kind => format!("prereq {kind} {name} {rtype}"),
        }
    }

    fn update(&mut self) -> String {
        let mut lines = Vec::new();
        if self.one(&["with", "without", "without"]) == "with" {
            lines.push(self.required());
        }
        let count = self.one(&["1", "2", "3", "4", "5"]).parse().unwrap();
        lines.extend((0..count).map(|_| self.line()));
        lines.join("\n")
    }
}

/// What a server has, but for its SOA; the order of two spellings of one name is nobody's business.
async fn records(server: SocketAddr) -> BTreeSet<String> {
    let all = whole(server).await.into_iter().filter(|line| !line.contains(" SOA "));
    all.map(|line| line.to_lowercase()).collect()
}

#[tokio::test]
async fn updates_have_the_same_answers_and_effects_as_at_bind() {
    let folder = tempfile::tempdir().unwrap();
    let other = port();
    let server = Server::start(Setup::default()).await;
    server.change(vec![set("ns", "A", &["192.0.2.53"])]).await;
    let mut program = Program::start(&mut bind(folder.path(), other), &folder.path().join("log"));
    wait(&mut program, other, &["ns.mcrun.test"], "192.0.2.53").await;
    let mut chance = Chance(5);
    let mut answers = BTreeSet::new();
    for round in 0..ROUNDS {
        for _ in 0..UPDATES {
            let update = chance.update();
            let theirs = nsupdate(other, Some("hmac-sha256:all"), &[], &update).await;
            let ours = nsupdate(server.address, Some("hmac-sha256:all"), &[], &update).await;
            assert_eq!(ours, theirs, "{update}\n{}", program.log().lines().last().unwrap_or_default());
            answers.insert(ours.1);
        }
        assert_eq!(records(server.address).await, records(other).await, "after round {round}");
    }
    // The updates were no empty ones: each code was told at least once.
    for code in ["NXDOMAIN", "YXDOMAIN", "NXRRSET", "YXRRSET"] {
        assert!(answers.iter().any(|said| said.contains(code)), "{answers:?}");
    }
}
