//! What people ask with: nsupdate, dig, kdig.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use dns::RecordType;

use crate::bench::{SECRET, Server, Setup, set};
use crate::program::{command, succeed};

const KEY: &str = "hmac-sha256:all";

/// What nsupdate says to `lines`: its exit and all that it wrote.
pub(crate) async fn nsupdate(
    to: SocketAddr,
    key: Option<&str>,
    words: &[&str],
    lines: &str,
) -> (bool, String) {
    let script = format!("server {} {}\nzone mcrun.test\n{lines}\nsend\n", to.ip(), to.port());
    let mut program = command("nsupdate");
    program.args(["-t", "20"]).args(words);
    if let Some(key) = key {
        program.arg("-y").arg(format!("{key}:{SECRET}"));
    }
    tokio::task::spawn_blocking(move || speak(&mut program, &script)).await.unwrap()
}

/// What `program` says to `script`: its exit and all that it wrote.
fn speak(program: &mut std::process::Command, script: &str) -> (bool, String) {
    let pipes = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What a program like dig prints.
async fn ask(program: &str, to: SocketAddr, words: &[&str]) -> String {
    let mut program = command(program);
    program.arg(format!("@{}", to.ip())).args(["-p", &to.port().to_string()]).args(words);
    tokio::task::spawn_blocking(move || succeed(&mut program)).await.unwrap()
}

#[tokio::test]
async fn nsupdate_adds_and_removes_with_each_algorithm_over_udp_and_tcp() {
    let server = Server::start(Setup::default()).await;
    for (key, words) in [(KEY, vec![]), (KEY, vec!["-v"]), ("hmac-sha512:all512", vec![])] {
        let before = server.serial().await;
        let add = "update add x.mcrun.test 60 A 192.0.2.1\nupdate add x.mcrun.test 60 A 192.0.2.2\n\
                   update add t.mcrun.test 60 TXT \"a b\" \"c\"";
        assert_eq!(nsupdate(server.address, Some(key), &words, add).await, (true, String::new()));
        assert_eq!(server.texts("x", RecordType::A).await, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(server.texts("t", RecordType::TXT).await, ["\"a b\" \"c\""]);
        assert_eq!(server.serial().await, before + 1);
        assert_eq!(ask("dig", server.address, &["+short", "t.mcrun.test", "TXT"]).await, "\"a b\" \"c\"\n");
        let remove = "update delete x.mcrun.test A 192.0.2.1\nupdate delete t.mcrun.test";
        assert_eq!(nsupdate(server.address, Some(key), &words, remove).await, (true, String::new()));
        assert_eq!(server.texts("x", RecordType::A).await, ["192.0.2.2"]);
        assert!(server.texts("t", RecordType::TXT).await.is_empty());
        assert_eq!(server.serial().await, before + 2);
        nsupdate(server.address, Some(key), &words, "update delete x.mcrun.test A").await;
    }
}

#[tokio::test]
async fn knsupdate_changes_the_zone_too() {
    let server = Server::start(Setup::default()).await;
    let script = format!(
        "server {} {}\nzone mcrun.test.\norigin mcrun.test.\nprereq nxdomain k\nadd k 60 A 192.0.2.7\nsend\n",
        server.address.ip(),
        server.address.port()
    );
    let mut program = command("knsupdate");
    program.args(["-y", &format!("{KEY}:{SECRET}")]);
    let said = tokio::task::spawn_blocking(move || speak(&mut program, &script)).await.unwrap();
    assert!(said.0, "{}", said.1);
    assert_eq!(server.texts("k", RecordType::A).await, ["192.0.2.7"]);
}

#[tokio::test]
async fn prerequisites_hold_or_the_answer_says_which_does_not() {
    let server = Server::start(Setup::default()).await;
    server.change(vec![set("x", "A", &["192.0.2.1", "192.0.2.2"]), set("a.b", "TXT", &["x"])]).await;
    let before = server.serial().await;
    for (lines, code) in [
        ("prereq nxdomain x.mcrun.test", "YXDOMAIN"),
        ("prereq yxdomain y.mcrun.test", "NXDOMAIN"),
        ("prereq yxdomain b.mcrun.test", "NXDOMAIN"),
        ("prereq nxrrset x.mcrun.test A", "YXRRSET"),
        ("prereq yxrrset x.mcrun.test AAAA", "NXRRSET"),
        ("prereq yxrrset x.mcrun.test A 192.0.2.1", "NXRRSET"),
        ("prereq yxrrset y.mcrun.test A 192.0.2.1", "NXRRSET"),
        ("prereq nxdomain mcrun.test", "YXDOMAIN"),
        ("prereq nxrrset mcrun.test SOA", "YXRRSET"),
    ] {
        let lines = format!("{lines}\nupdate add new.mcrun.test 60 A 192.0.2.9");
        let (is_made, said) = nsupdate(server.address, Some(KEY), &[], &lines).await;
        assert!(!is_made && said.contains(code), "{lines}: {said}");
    }
    assert_eq!(server.serial().await, before);
    let lines = "prereq yxdomain x.mcrun.test\nprereq nxdomain y.mcrun.test\nprereq yxrrset x.mcrun.test A\n\
                 prereq nxrrset x.mcrun.test AAAA\nprereq yxrrset x.mcrun.test A 192.0.2.2\n\
                 prereq yxrrset x.mcrun.test A 192.0.2.1\nupdate add new.mcrun.test 60 A 192.0.2.9";
    assert_eq!(nsupdate(server.address, Some(KEY), &[], lines).await, (true, String::new()));
    assert_eq!(server.texts("new", RecordType::A).await, ["192.0.2.9"]);
}

#[tokio::test]
async fn the_serial_goes_where_a_soa_says_but_never_back() {
    let server = Server::start(Setup::default()).await;
    let soa =
        |serial: u32| format!("update add mcrun.test 300 SOA ns.mcrun.test. me.mcrun.test. {serial} 1 2 3 4");
    let other = "update add x.mcrun.test 60 TXT a";
    for (lines, serial) in [
        (soa(1000), 1000),
        (soa(999), 1000),
        (soa(1000), 1000),
        (format!("{}\n{other}", soa(500)), 1001),
        (format!("{}\nupdate delete x.mcrun.test", soa(2000)), 2000),
        (other.to_owned(), 2001),
        (soa(2002 + (1 << 31)), 2001),
    ] {
        assert_eq!(nsupdate(server.address, Some(KEY), &[], &lines).await, (true, String::new()), "{lines}");
        assert_eq!(server.serial().await, serial, "{lines}");
    }
    let said = ask("dig", server.address, &["+short", "mcrun.test", "SOA"]).await;
    assert_eq!(said, "ns.mcrun.test. me.mcrun.test. 2001 1 2 3 4\n");
}

#[tokio::test]
async fn a_key_changes_its_names_and_no_others() {
    let server = Server::start(Setup::default()).await;
    let challenge = Some("hmac-sha256:challenge");
    let before = server.serial().await;
    let both = "update add _acme-challenge.www.mcrun.test 60 TXT x\nupdate add www.mcrun.test 60 A 192.0.2.1";
    for (key, lines) in [(challenge, both), (None, "update add x.mcrun.test 60 A 192.0.2.1")] {
        let (is_made, said) = nsupdate(server.address, key, &[], lines).await;
        assert!(!is_made && said.contains("REFUSED"), "{said}");
    }
    assert_eq!(server.serial().await, before);
    let own = "update add _acme-challenge.www.mcrun.test 60 TXT x";
    assert_eq!(nsupdate(server.address, challenge, &[], own).await, (true, String::new()));
}

#[tokio::test]
async fn wrong_keys_and_clocks_are_told_apart() {
    let server = Server::start(Setup::default()).await;
    let lines = "update add x.mcrun.test 60 A 192.0.2.1";
    let (is_made, said) = nsupdate(server.address, Some("hmac-sha256:unknown"), &[], lines).await;
    assert!(!is_made && said.contains("BADKEY"), "{said}");
    let (is_made, said) = nsupdate(server.address, Some("hmac-sha384:all"), &[], lines).await;
    assert!(!is_made && said.contains("BADKEY"), "{said}");
    let wrong = format!("hmac-sha256:all:{}", SECRET.replace("bWNy", "bWNz"));
    let said = ask("dig", server.address, &["-y", &wrong, "mcrun.test", "SOA"]).await;
    assert!(said.contains("BADSIG") && said.contains("NOTAUTH"), "{said}");

    // Half of the hash is weaker than the key was made for.
    let cut = format!("hmac-sha256-128:all:{SECRET}");
    let said = ask("dig", server.address, &["-y", &cut, "mcrun.test", "SOA"]).await;
    assert!(said.contains("BADTRUNC") && said.contains("NOTAUTH"), "{said}");

    for skew in [3_600_000, -3_600_000] {
        let late = Server::start(Setup { skew, ..Setup::default() }).await;
        let (is_made, said) = nsupdate(late.address, Some(KEY), &[], lines).await;
        assert!(!is_made && said.contains("BADTIME"), "{said}");
        // That answer itself is signed, and believed: dig would speak of a bad signature instead.
        let key = format!("{KEY}:{SECRET}");
        let said = ask("dig", late.address, &["-y", &key, "mcrun.test", "SOA"]).await;
        assert!(said.contains("BADTIME") && said.contains("clocks are unsynchronized"), "{said}");
    }
}

#[tokio::test]
async fn signed_questions_are_answered_signed() {
    let server = Server::start(Setup::default()).await;
    let key = format!("{KEY}:{SECRET}");
    for program in ["dig", "kdig"] {
        let said = ask(program, server.address, &["-y", &key, "+norec", "ns.mcrun.test", "A"]).await;
        assert!(said.contains("192.0.2.53") && said.contains("TSIG"), "{said}");
        let doubts = ["verify", "WARNING", "expected a TSIG"];
        assert!(doubts.iter().all(|doubt| !said.contains(doubt)), "{said}");
        let said = ask(program, server.address, &["-y", &key, "nothing.mcrun.test", "A"]).await;
        assert!(said.contains("NXDOMAIN") && said.contains("TSIG"), "{said}");
    }
}

#[tokio::test]
async fn a_zone_is_had_whole_by_key_and_by_network() {
    let zones = "[\"mcrun.test\"]\ntransfer = [\"127.0.0.0/8\"]\n";
    let open = Server::start(Setup { zones: zones.into(), ..Setup::default() }).await;
    let closed = Server::start(Setup::default()).await;
    let key = format!("{KEY}:{SECRET}");
    let other = format!("hmac-sha256:challenge:{SECRET}");
    for program in ["dig", "kdig"] {
        let said = ask(program, closed.address, &["-y", &key, "mcrun.test", "AXFR"]).await;
        assert_eq!(said.matches("\tSOA\t").count(), 2, "{said}");
        assert!(said.contains("192.0.2.53") && !said.contains("verify"), "{said}");
        let said = ask(program, open.address, &["mcrun.test", "AXFR"]).await;
        assert_eq!(said.matches("\tSOA\t").count(), 2, "{said}");
    }
    for words in [vec!["mcrun.test", "AXFR"], vec!["-y", &other, "mcrun.test", "AXFR"]] {
        let said = ask("dig", closed.address, &words).await;
        assert!(said.contains("Transfer failed"), "{said}");
    }
    let said = ask("dig", closed.address, &["-y", &key, "other.test", "AXFR"]).await;
    assert!(said.contains("Transfer failed"), "{said}");
    // A part is answered with the whole, or with the SOA where there is nothing new.
    let serial = open.serial().await;
    let said = ask("dig", open.address, &[&format!("ixfr={}", serial - 1), "mcrun.test"]).await;
    assert_eq!(said.matches("\tSOA\t").count(), 2, "{said}");
    let said = ask("dig", open.address, &[&format!("ixfr={serial}"), "mcrun.test"]).await;
    assert_eq!(said.matches("\tSOA\t").count(), 1, "{said}");
    let said = ask("dig", open.address, &["+notcp", &format!("ixfr={}", serial - 1), "mcrun.test"]).await;
    assert_eq!(said.matches("\tSOA\t").count(), 1, "{said}");
}

#[tokio::test]
async fn a_large_zone_comes_in_many_messages_of_one_chain() {
    let server = Server::start(Setup::default()).await;
    let sets = (0..5000).map(|number| set(&format!("host-{number}"), "A", &["192.0.2.1", "192.0.2.2"]));
    server.change(sets.collect()).await;
    let key = format!("{KEY}:{SECRET}");
    for program in ["dig", "kdig"] {
        let said = ask(program, server.address, &["-y", &key, "mcrun.test", "AXFR"]).await;
        assert_eq!(said.matches("\tA\t").count(), 10_001);
        assert_eq!(said.matches("\tSOA\t").count(), 2);
        assert!(!said.contains("verify") && !said.contains("WARNING"));
    }
}

#[tokio::test]
async fn without_a_database_updates_fail_and_nothing_else_does() {
    let server = Server::start(Setup { without_store: true, ..Setup::default() }).await;
    let lines = "update add x.mcrun.test 60 A 192.0.2.1";
    let (is_made, said) = nsupdate(server.address, Some(KEY), &[], lines).await;
    assert!(!is_made && said.contains("SERVFAIL"), "{said}");
    let said = ask("dig", server.address, &["+short", "ns.mcrun.test"]).await;
    assert_eq!(said, "192.0.2.53\n");
}
