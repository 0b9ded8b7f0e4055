//! What people type: dig, kdig, host, delv.

use std::net::SocketAddr;

use crate::bench::{Server, run};
use crate::program::command;

async fn ask(program: &str, to: SocketAddr, words: &[&str]) -> String {
    let mut client = command(program);
    match program {
        // It takes the server last, and answers of servers that it does not ask for recursion.
        "host" => client.args(["-r", "-p", &to.port().to_string()]).args(words).arg(to.ip().to_string()),
        "delv" => client.args([&format!("@{}", to.ip()), "-p", &to.port().to_string()]).args(words),
        _ => client.args([&format!("@{}", to.ip()), "-p", &to.port().to_string()]).args(words),
    };
    run(client).await
}

/// The words of the line of dig and kdig that begins with `head`.
fn line<'a>(said: &'a str, head: &str) -> &'a str {
    said.lines().find(|line| line.to_lowercase().contains(head)).unwrap_or_else(|| panic!("{head}: {said}"))
}

#[tokio::test]
async fn the_platform_resolves_with_dig_and_kdig() {
    let server = Server::start().await;
    for program in ["dig", "kdig"] {
        for way in ["+notcp", "+tcp"] {
            let ask = |words: &'static [&'static str]| {
                let words = [&[way, "+norec", "+short"], words].concat();
                async move { ask(program, server.address, &words).await }
            };
            assert_eq!(ask(&["mcq.svc.mcp.metacircular.net"]).await, "100.95.252.120\n");
            let mut both: Vec<String> =
                ask(&["rift.mcp.metacircular.net"]).await.lines().map(Into::into).collect();
            both.sort();
            assert_eq!(both, ["100.95.252.120", "192.168.88.181"]);
            assert_eq!(ask(&["kls.svc.mcp.metacircular.net", "AAAA"]).await, "2001:db8::120\n");
            let alias = ask(&["registry.svc.mcp.metacircular.net"]).await;
            assert_eq!(alias, "mcr.svc.mcp.metacircular.net.\n100.95.252.120\n");
            assert_eq!(
                ask(&["_mcr._tcp.svc.mcp.metacircular.net", "SRV"]).await,
                "0 5 8443 mcr.svc.mcp.metacircular.net.\n"
            );
            assert_eq!(
                ask(&["a.b.wild.svc.mcp.metacircular.net", "TXT"]).await,
                "\"any name \\\"beneath\\\"\"\n"
            );
            assert_eq!(ask(&["odd.svc.mcp.metacircular.net", "TYPE65280"]).await, "\\# 3 ABCDEF\n");
        }
    }
}

#[tokio::test]
async fn every_answer_says_whose_it_is_and_none_that_it_was_verified() {
    let server = Server::start().await;
    for program in ["dig", "kdig"] {
        for (words, code) in [
            (vec!["mcq.svc.mcp.metacircular.net"], "noerror"),
            (vec!["mcq.svc.mcp.metacircular.net", "MX"], "noerror"),
            (vec!["nothing.svc.mcp.metacircular.net"], "nxdomain"),
            (vec!["orion.mcp.metacircular.net"], "noerror"),
        ] {
            let said =
                ask(program, server.address, &[&["+norec", "+adflag", "+dnssec"], &*words].concat()).await;
            assert!(line(&said, "status:").to_lowercase().contains(code), "{said}");
            let flags = line(&said, "flags: ").to_lowercase();
            let flags = flags.split(';').find(|part| part.contains("flags: ")).unwrap();
            let flags: Vec<&str> = flags.split_whitespace().skip(1).collect();
            assert_eq!(flags, ["qr", "aa"], "{said}");
            let doubts = ["WARNING", "mismatch", "malformed", "extra"];
            assert!(doubts.iter().all(|doubt| !said.contains(doubt)), "{said}");
        }
        let said = ask(program, server.address, &["+norec", "www.wntrmute.dev"]).await;
        assert!(line(&said, "status:").contains("REFUSED"), "{said}");
    }
}

#[tokio::test]
async fn what_no_datagram_holds_is_had_over_tcp() {
    let server = Server::start().await;
    let name = "large.svc.mcp.metacircular.net";
    for program in ["dig", "kdig"] {
        let said = ask(program, server.address, &["+norec", "+short", name, "TXT"]).await;
        assert_eq!(said.lines().filter(|line| line.starts_with('"')).count(), 40, "{said}");
        let said = ask(program, server.address, &["+norec", "+ignore", name, "TXT"]).await;
        assert!(line(&said, "flags: ").contains(" tc"), "{said}");
    }
    let said = ask("dig", server.address, &["+norec", "+noedns", name, "TXT"]).await;
    assert!(said.contains("Truncated, retrying in TCP mode") && said.contains("ANSWER: 40"), "{said}");
}

#[tokio::test]
async fn the_case_of_a_question_comes_back() {
    let server = Server::start().await;
    // kdig shows every name in lower case.
    let said = ask("dig", server.address, &["+norec", "mCQ.sVc.McP.meTAcircular.Net"]).await;
    // In the question and, pointing there, in the answer.
    assert_eq!(said.matches("mCQ.sVc.McP.meTAcircular.Net.").count(), 2, "{said}");
}

#[tokio::test]
async fn host_finds_addresses_names_and_that_there_are_none() {
    let server = Server::start().await;
    let said = ask("host", server.address, &["kls.svc.mcp.metacircular.net"]).await;
    for part in ["has address 192.168.88.181", "has address 100.95.252.120", "has IPv6 address 2001:db8::120"]
    {
        assert!(said.contains(part), "{said}");
    }
    let said = ask("host", server.address, &["registry.svc.mcp.metacircular.net"]).await;
    assert!(said.contains("is an alias for mcr.svc.mcp.metacircular.net."), "{said}");
    let said = ask("host", server.address, &["-t", "MX", "mcq.svc.mcp.metacircular.net"]).await;
    assert!(said.contains("has no MX record"), "{said}");
    let said = ask("host", server.address, &["-T", "-t", "NS", "svc.mcp.metacircular.net"]).await;
    assert!(said.contains("name server ns.svc.mcp.metacircular.net."), "{said}");
}

#[tokio::test]
async fn delv_takes_answers_without_signatures() {
    let server = Server::start().await;
    // With -i it verifies nothing; with +noroot it looks for signatures, and has no anchor above a zone without.
    for words in [vec!["-i"], vec!["-i", "+tcp"], vec!["+noroot"]] {
        let said =
            ask("delv", server.address, &[&*words, &["mcq.svc.mcp.metacircular.net", "A"]].concat()).await;
        assert!(
            said.starts_with("; authoritative\n") && said.contains("100.95.252.120"),
            "{words:?}: {said}"
        );
        assert!(!said.contains("validated"), "{said}");
    }
    let said = ask("delv", server.address, &["-i", "nothing.svc.mcp.metacircular.net", "A"]).await;
    assert!(said.contains("; negative response") && said.contains("NXDOMAIN"), "{said}");
}
