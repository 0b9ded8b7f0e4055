//! Real servers as upstreams: Knot, and unbound with DNS over TLS.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use domain::base::iana::Class;
use domain::rdata::AllRecordData;
use tempfile::TempDir;

use crate::*;

/// A server, until the test ends.
struct Server {
    child: Child,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for UDP and TCP.
fn free_port() -> SocketAddr {
    loop {
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests start the servers that they are about")]
fn start(program: &str, arguments: &[&str], folder: TempDir, ready: &str) -> Server {
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} (Debian: knot, unbound) cannot be started: {error}"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
        said.push(line);
        said.last().is_some_and(|line| line.contains(ready))
    });
    let server = Server { child, folder };
    assert!(is_ready, "{program} ended: {said:#?}");
    // It must never wait for somebody to read what it says.
    std::thread::spawn(move || lines.for_each(drop));
    server
}

fn zone() -> String {
    let mut zone = String::from(
        "$ORIGIN real.example.\n$TTL 600\n@ SOA ns hostmaster 1 3600 600 86400 120\n@ NS ns\nns A 192.0.2.1\n\
         www A 192.0.2.7\nwww AAAA 2001:db8::7\nalias CNAME www\nlong CNAME alias\n*.wild TXT \"any\"\n\
         @ MX 10 www\n_srv._tcp SRV 1 2 443 www\n@ CAA 0 issue \"ca.example\"\n\
         @ HTTPS 1 . alpn=\"h2,h3\" ipv4hint=192.0.2.7\nodd TYPE65280 \\# 3 010203\nempty.below A 192.0.2.9\n\
         out CNAME www.elsewhere.example.\n",
    );
    for number in 0..120 {
        zone.push_str(&format!("many A 198.51.100.{number}\n"));
    }
    zone
}

/// Knot with the zone, and whatever else the zone is to have in its settings.
fn knot(more: &str) -> (Server, SocketAddr) {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
    let at = folder.path().display();
    std::fs::write(folder.path().join("zone"), zone()).unwrap();
    let config = format!(
        "server:\n  listen: 127.0.0.1@{}\n  rundir: {at}\nlog:\n  - target: stderr\n    any: info\n\
         database:\n  storage: {at}\nzone:\n  - domain: real.example\n    file: {at}/zone\n{more}",
        address.port()
    );
    let path = folder.path().join("knot.conf");
    std::fs::write(&path, config).unwrap();
    let path = path.display().to_string();
    (start("/usr/sbin/knotd", &["-c", &path], folder, "server started"), address)
}

/// unbound with the same zone, plain and over TLS.
fn unbound(name: &str) -> (Server, SocketAddr) {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
    certificate(folder.path(), name);
    let at = folder.path().display();
    std::fs::write(folder.path().join("zone"), zone()).unwrap();
    let port = address.port();
    let config = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  tls-port: {port}\n  tls-service-key: {at}/key.pem\n  \
         tls-service-pem: {at}/certificate.pem\n  directory: {at}\n  chroot: \"\"\n  username: \"\"\n  \
         pidfile: {at}/pid\n  use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n  do-daemonize: no\n  \
         module-config: iterator\nremote-control:\n  control-enable: no\n\
         auth-zone:\n  name: real.example\n  zonefile: {at}/zone\n  for-downstream: no\n  for-upstream: yes\n"
    );
    let path = folder.path().join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    let path = path.display().to_string();
    (start("/usr/sbin/unbound", &["-d", "-c", &path], folder, "start of service"), address)
}

fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

const QUESTIONS: [(&str, Rtype); 18] = [
    ("www.real.example", Rtype::A),
    ("www.real.example", Rtype::AAAA),
    ("www.real.example", Rtype::MX),
    ("real.example", Rtype::SOA),
    ("real.example", Rtype::NS),
    ("real.example", Rtype::MX),
    ("real.example", Rtype::CAA),
    ("real.example", Rtype::HTTPS),
    ("_srv._tcp.real.example", Rtype::SRV),
    ("odd.real.example", Rtype::from_int(65_280)),
    ("alias.real.example", Rtype::A),
    ("long.real.example", Rtype::AAAA),
    ("long.real.example", Rtype::MX),
    ("a.b.wild.real.example", Rtype::TXT),
    ("below.real.example", Rtype::A),
    ("no.real.example", Rtype::A),
    ("no.no.real.example", Rtype::TXT),
    ("many.real.example", Rtype::A),
];

/// Code, and the records of the answer section as text.
fn gist(message: &Message<Vec<u8>>) -> (Rcode, Vec<String>) {
    let records = message.answer().unwrap().map(|record| {
        let record = record.unwrap().into_any_record::<AllRecordData<_, _>>().unwrap();
        assert_eq!(record.class(), Class::IN);
        format!("{} {}", record.owner(), record.data()).to_lowercase()
    });
    let mut records: Vec<_> = records.collect();
    records.sort();
    (message.header().rcode(), records)
}

/// What the server itself says, over TCP.
async fn asked_directly(server: SocketAddr, question: &Question<'_>) -> Message<Vec<u8>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(server).await.unwrap();
    let mut query = vec![0, 23 + question.original.len() as u8, 1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(question.original);
    query.extend([0, 0, 41, 255, 255, 0, 0, if question.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    stream.write_all(&query).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    parse(&answer)
}

async fn through(forwarder: &Arc<Forwarder>, name: &str, rtype: Rtype) -> (Message<Vec<u8>>, Answer) {
    let question = OwnedQuestion::new(name, rtype).unwrap();
    let answer = forwarder.resolve(question.clone()).await;
    (written(&answer, &question.borrow()), answer)
}

fn to(upstreams: &[String]) -> Settings {
    let fallback = upstreams.iter().map(|upstream| upstream.parse().unwrap()).collect();
    Settings { fallback, ..Settings::default() }
}

#[tokio::test]
async fn what_knot_says_arrives_over_udp_and_tcp() {
    let (_server, address) = knot("");
    for scheme in ["udp", "tcp"] {
        let forwarder = Forwarder::new(&to(&[format!("{scheme}://{address}")])).unwrap();
        for (name, rtype) in QUESTIONS {
            let question = OwnedQuestion::new(name, rtype).unwrap();
            let truth = asked_directly(address, &question.borrow()).await;
            let (answer, trace) = through(&forwarder, name, rtype).await;
            assert_eq!(gist(&answer), gist(&truth), "{name} {rtype}: {:?}", trace.trace());
            let is_missing = !types(&truth).contains(&rtype);
            assert_eq!(answer.header_counts().nscount(), u16::from(is_missing), "{name} {rtype}: its SOA");
            let mut kept = Vec::new();
            forwarder.cached(&question.borrow(), now(), &mut kept);
            assert_eq!(gist(&parse(&kept)), gist(&truth), "{name} {rtype} from the cache");
        }
    }
}

fn authority(message: &Message<Vec<u8>>) -> Vec<Rtype> {
    let mut types: Vec<_> = message.authority().unwrap().map(|record| record.unwrap().rtype()).collect();
    types.sort();
    types
}

#[tokio::test]
async fn signatures_and_proofs_of_absence_pass_through() {
    let (_server, address) = knot("    dnssec-signing: on\n");
    let forwarder = Forwarder::new(&to(&[address.to_string()])).unwrap();
    let mut signatures = 0;
    for (name, rtype) in QUESTIONS {
        let owned = OwnedQuestion::new(name, rtype).unwrap();
        let question = Question { dnssec_ok: true, ..owned.borrow() };
        let truth = asked_directly(address, &question).await;
        let answer = written(&forwarder.resolve(question.to_owned()).await, &question);
        assert_eq!(gist(&answer), gist(&truth), "{name} {rtype}");
        assert_eq!(authority(&answer), authority(&truth), "{name} {rtype}");
        signatures += types(&answer).iter().filter(|rtype| **rtype == Rtype::RRSIG).count();
        let plain = written(&forwarder.resolve(owned.clone()).await, &owned.borrow());
        assert!(!types(&plain).contains(&Rtype::RRSIG), "{name} {rtype}: only who asks gets them");
    }
    assert!(signatures >= 15, "{signatures}");
}

#[tokio::test]
async fn unbound_answers_over_tls() {
    let (server, address) = unbound("dns.real.example");
    let mut settings = to(&[format!("tls://{address}#dns.real.example")]);
    settings.ca = Some(server.folder.path().join("certificate.pem"));
    let forwarder = Forwarder::new(&settings).unwrap();
    let all = QUESTIONS.map(|(name, rtype)| through(&forwarder, name, rtype));
    for (number, (answer, trace)) in futures_util::future::join_all(all).await.iter().enumerate() {
        let (name, rtype) = QUESTIONS[number];
        let missing = ["www.real.example MX", "below.real.example A"].contains(&&*format!("{name} {rtype}"));
        let wanted = if name.starts_with("no.") { Rcode::NXDOMAIN } else { Rcode::NOERROR };
        assert_eq!(answer.header().rcode(), wanted, "{name} {rtype}: {:?}", trace.trace());
        assert_eq!(gist(answer).1.is_empty(), missing || wanted == Rcode::NXDOMAIN, "{name} {rtype}");
    }
    assert_eq!(addresses(&through(&forwarder, "many.real.example", Rtype::A).await.0).len(), 120);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_nobody_is_not_trusted() {
    let (server, address) = unbound("dns.real.example");
    let ca = server.folder.path().join("certificate.pem");
    let other = tempfile::tempdir().unwrap();
    certificate(other.path(), "dns.real.example");
    for (name, ca) in [("other.example", ca), ("dns.real.example", other.path().join("certificate.pem"))] {
        let mut settings = to(&[format!("tls://{address}#{name}")]);
        settings.ca = Some(ca);
        let forwarder = Forwarder::new(&settings).unwrap();
        let (message, answer) = through(&forwarder, "www.real.example", Rtype::A).await;
        assert_eq!(message.header().rcode(), Rcode::SERVFAIL);
        assert!(matches!(outcomes(&answer)[0], Err(Failure::Untrusted(_))), "{:?}", answer.trace());
    }
}

#[tokio::test]
async fn a_file_without_certificates_is_a_wrong_setting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "nothing").unwrap();
    let mut settings = to(&["tls://127.0.0.1#dns.real.example".to_owned()]);
    for path in [path, folder.path().join("missing.pem")] {
        settings.ca = Some(path);
        let error = Forwarder::new(&settings).err().unwrap();
        assert_eq!(error.code, effect::Code::Config);
    }
}
