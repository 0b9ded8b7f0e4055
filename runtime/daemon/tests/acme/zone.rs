//! Owns a name server of the tests: every host of `mcrun.test` is this machine, TXT records are files of a folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// What lies beneath points to the same beneath `mcrun.test`, and says nothing of what is there.
const ALIASES: &str = "alias.test.";
/// What lies beneath is answered whole by TCP only.
const LARGE: &str = "large.mcrun.test.";
/// What lies beneath is where metadata services are.
const LINK_LOCAL: &str = "metadata.mcrun.test.";

pub(crate) struct Zone {
    pub(crate) address: SocketAddr,
    pub(crate) folder: PathBuf,
}

impl Zone {
    pub(crate) async fn start(folder: &Path) -> Self {
        // The same port for both: others may have taken it for the other in between.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let of_udp = folder.to_owned();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
                // Somebody else's answer comes first, and must not count.
                let mut forged = answer(&of_udp, &question, false);
                forged.metadata.id = forged.metadata.id.wrapping_add(1);
                forged.metadata.response_code = ResponseCode::NXDomain;
                udp.send_to(&forged.to_vec().unwrap(), peer).await.unwrap();
                udp.send_to(&answer(&of_udp, &question, false).to_vec().unwrap(), peer).await.unwrap();
            }
        });
        let of_tcp = folder.to_owned();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.unwrap();
                let mut buffer = vec![0; usize::from(length)];
                stream.read_exact(&mut buffer).await.unwrap();
                let answer = answer(&of_tcp, &Message::from_vec(&buffer).unwrap(), true).to_vec().unwrap();
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { address, folder: folder.to_owned() }
    }

    /// Has a name answer with a TXT record.
    pub(crate) fn show(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), format!("{text}\n")).unwrap();
    }
}

fn answer(folder: &Path, question: &Message, is_whole: bool) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    let query = question.queries[0].clone();
    let name = query.name().to_string().to_lowercase();
    answer.add_query(query.clone());
    if name.ends_with(LARGE) && !is_whole {
        answer.metadata.truncation = true;
        return answer;
    }
    let mut add = |data: RData| {
        answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
    };
    if let Some(host) = name.strip_suffix(ALIASES) {
        add(RData::CNAME(CNAME(Name::from_ascii(format!("{host}mcrun.test.")).unwrap())));
        return answer;
    }
    match query.query_type() {
        RecordType::A if name.ends_with(LINK_LOCAL) => add(RData::A(A(Ipv4Addr::new(169, 254, 169, 254)))),
        RecordType::A if name.ends_with("mcrun.test.") => add(RData::A(A(Ipv4Addr::LOCALHOST))),
        RecordType::TXT => {
            let lines = std::fs::read_to_string(folder.join(name.trim_end_matches('.'))).unwrap_or_default();
            for line in lines.lines() {
                add(RData::TXT(TXT::new(vec![line.to_owned()])));
            }
        }
        RecordType::AAAA if name.ends_with("mcrun.test.") => {}
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}
