//! Owns questions to name servers: TXT for dns-01, and where hosts are. Over UDP, and over TCP where an answer is cut.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name as DnsName, RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::{Cause, Failure, Proof};

/// For one name server.
const PATIENCE: Duration = Duration::from_secs(3);
/// Each name server is asked that often: UDP loses packets.
const ROUNDS: usize = 2;
/// Of names that point to another.
const MOST_ALIASES: usize = 8;
/// What passes every network unfragmented (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
const MOST_SERVERS: usize = 4;
const MOST_ADDRESSES: usize = 16;

/// Name servers to ask.
#[derive(Debug)]
pub(super) struct Dns {
    servers: Vec<SocketAddr>,
}

impl Dns {
    /// Asks `servers`, or those of the machine where there is none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec() }
    }

    /// Whether a TXT record shows the digest of a proof (RFC 8555, section 8.4).
    pub(super) async fn prove(&self, proof: &Proof) -> Result<(), Failure> {
        let domain = proof.name.domain().unwrap_or_default();
        let name = format!("_acme-challenge.{domain}");
        let expected = proof.digest_text();
        let found = self.ask(&name, RecordType::TXT).await?;
        let is_shown = found.iter().any(|data| match data {
            RData::TXT(text) => text.txt_data.concat() == expected.as_bytes(),
            _ => false,
        });
        match (is_shown, found.len()) {
            (true, _) => Ok(()),
            (false, 0) => Err(Failure::new(Cause::Dns, format!("`{name}` has no TXT record"))),
            (false, count) => {
                let detail =
                    format!("none of the {count} TXT records of `{name}` is the one that was asked for");
                Err(Failure::new(Cause::Wrong, detail))
            }
        }
    }

    /// The addresses of a host, those of IPv4 first.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        // RFC 6761, section 6.3: never asked for, and always this machine.
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        }
        let found = if self.servers.is_empty() {
            system_addresses(host).await?
        } else {
            self.ask_for_addresses(host).await?
        };
        if found.is_empty() {
            return Err(Failure::new(Cause::Dns, format!("`{host}` has no address")));
        }
        Ok(found)
    }

    async fn ask_for_addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let (four, six) = tokio::join!(self.ask(host, RecordType::A), self.ask(host, RecordType::AAAA));
        let found: Vec<IpAddr> = [&four, &six]
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(RData::ip_addr)
            .take(MOST_ADDRESSES)
            .collect();
        // Where one kind is there, it does not matter why the other is not.
        if found.is_empty() { four.and(six).map(|_| found) } else { Ok(found) }
    }

    /// What a name has of a kind, in the answer of the first server that has one.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Failure> {
        let wrong = |why: &str| Failure::new(Cause::Dns, format!("`{name}` cannot be looked up: {why}"));
        let mut asked = DnsName::from_ascii(format!("{name}.")).map_err(|_| wrong("it is too long"))?;
        let servers = if self.servers.is_empty() { system_servers().await } else { self.servers.clone() };
        if servers.is_empty() {
            return Err(wrong("this machine has no name servers"));
        }
        for _ in 0..MOST_ALIASES {
            let answer = self.ask_any(&servers, &asked, kind).await.map_err(|why| wrong(&why))?;
            match follow(&answer, &asked, kind) {
                Followed::Found(data) => return Ok(data),
                // The server knows where it points, and nothing of what is there.
                Followed::Elsewhere(next) => asked = next,
            }
        }
        Err(wrong("too many names point to others"))
    }

    async fn ask_any(
        &self,
        servers: &[SocketAddr],
        name: &DnsName,
        kind: RecordType,
    ) -> Result<Message, String> {
        let mut why = String::new();
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            let asked = tokio::time::timeout(PATIENCE, exchange(*server, name, kind)).await;
            match asked {
                Ok(Ok(answer)) => match answer.metadata.response_code {
                    ResponseCode::NoError => return Ok(answer),
                    ResponseCode::NXDomain => return Err("there is no such name".into()),
                    other => why = format!("{server} answers {other}"),
                },
                Ok(Err(error)) => why = format!("{server}: {error}"),
                Err(_) => why = format!("{server} does not answer"),
            }
        }
        Err(why)
    }
}

enum Followed {
    Found(Vec<RData>),
    Elsewhere(DnsName),
}

/// What an answer says of `name`, along the names that point to others.
fn follow(answer: &Message, name: &DnsName, kind: RecordType) -> Followed {
    let mut name = name.clone();
    for _ in 0..=MOST_ALIASES {
        let of_name = || answer.answers.iter().filter(|record| record.name == name);
        let found: Vec<RData> = of_name()
            .filter(|record| record.record_type() == kind)
            .map(|record| record.data.clone())
            .collect();
        if !found.is_empty() {
            return Followed::Found(found);
        }
        let next = of_name().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(next) => name = next,
            None => break,
        }
    }
    let asked_for = answer.queries.first().map(Query::name);
    if asked_for == Some(&name) { Followed::Found(Vec::new()) } else { Followed::Elsewhere(name) }
}

async fn exchange(server: SocketAddr, name: &DnsName, kind: RecordType) -> io::Result<Message> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_SIZE);
    question.set_edns(edns);
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let answer = over_udp(server, &question, &bytes).await?;
    if answer.metadata.truncation { over_tcp(server, &question, &bytes).await } else { Ok(answer) }
}

/// From a port of its own for each question, so that an answer is hard to forge.
async fn over_udp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(UDP_SIZE).max(4096)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever does not answer this question may be somebody's attempt to: the real one may still come.
        if let Some(answer) = fitting(question, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    fitting(question, &buffer).ok_or_else(|| io::Error::other("the answer is to another question"))
}

fn fitting(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let is_of_it = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries;
    is_of_it.then_some(answer)
}

/// What the machine itself would contact, `/etc/hosts` included.
async fn system_addresses(host: &str) -> Result<Vec<IpAddr>, Failure> {
    let wrong = |error: io::Error| Failure::new(Cause::Dns, format!("`{host}` cannot be looked up: {error}"));
    let found = tokio::net::lookup_host((host, 0)).await.map_err(wrong)?;
    Ok(found.map(|address| address.ip()).take(MOST_ADDRESSES).collect())
}

/// The name servers of `/etc/resolv.conf`, read anew each time: networks change.
async fn system_servers() -> Vec<SocketAddr> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let server = |line: &str| {
        let address: IpAddr = line.strip_prefix("nameserver")?.trim().parse().ok()?;
        Some(SocketAddr::new(address, 53))
    };
    text.lines().filter_map(server).take(MOST_SERVERS).collect()
}
