//! Owns upstreams that behave as a test wants: adversaries, not peers. They count what they are asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Record, Ttl};
use domain::rdata::{A, Cname, Ns, Soa, Txt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// What came in.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) bytes: Vec<u8>,
    pub(crate) over_tcp: bool,
    /// How many came before.
    pub(crate) number: usize,
}

/// An upstream that answers with what a function makes of the query; nothing: it is silent.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Query>>>,
    connections: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

type Behaviour = Arc<dyn Fn(&Query) -> Vec<Vec<u8>> + Send + Sync>;

impl Fake {
    pub(crate) async fn start(behaviour: impl Fn(&Query) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::slow(Duration::ZERO, behaviour).await
    }

    /// One that takes its time over UDP.
    pub(crate) async fn slow(
        delay: Duration,
        behaviour: impl Fn(&Query) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let behaviour: Behaviour = Arc::new(behaviour);
        let (seen, connections) = (Arc::default(), Arc::<AtomicUsize>::default());
        let tasks = vec![
            tokio::spawn(datagrams(Arc::new(udp), Arc::clone(&behaviour), Arc::clone(&seen), delay)),
            tokio::spawn(streams(tcp, behaviour, Arc::clone(&seen), Arc::clone(&connections))),
        ];
        Self { address, seen, connections, tasks }
    }

    pub(crate) fn queries(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    pub(crate) fn over_tcp(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|query| query.over_tcp).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

type Seen = Arc<Mutex<Vec<Query>>>;

fn note(seen: &Seen, bytes: &[u8], over_tcp: bool) -> Query {
    let mut seen = seen.lock().unwrap();
    let query = Query { bytes: bytes.to_vec(), over_tcp, number: seen.len() };
    seen.push(query.clone());
    query
}

async fn datagrams(socket: Arc<UdpSocket>, behaviour: Behaviour, seen: Seen, delay: Duration) {
    let mut buffer = vec![0; 65_535];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let query = note(&seen, &buffer[..length], false);
        let (answers, socket) = (behaviour(&query), Arc::clone(&socket));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            for answer in answers {
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

async fn streams(listener: TcpListener, behaviour: Behaviour, seen: Seen, connections: Arc<AtomicUsize>) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        // The kernel would hold small answers back in real time, while the test's own stands still.
        stream.set_nodelay(true).unwrap();
        connections.fetch_add(1, SeqCst);
        let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
        open.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut bytes = vec![0; length.into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let query = note(&seen, &bytes, true);
                for answer in behaviour(&query) {
                    if answer.is_empty() {
                        // An empty answer closes the connection.
                        return;
                    }
                    // In one piece: halves would wait for each other in real time.
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length, &*answer].concat()).await.unwrap();
                }
            }
        });
    }
}

impl Query {
    pub(crate) fn message(&self) -> Message<Vec<u8>> {
        Message::from_octets(self.bytes.clone()).unwrap()
    }

    /// The name as it was asked for, case and all.
    pub(crate) fn name(&self) -> Name<Vec<u8>> {
        use domain::base::ToName as _;
        self.message().sole_question().unwrap().qname().to_name()
    }

    pub(crate) fn text(&self) -> String {
        self.name().to_string()
    }

    pub(crate) fn answer(&self, rcode: Rcode) -> Answer {
        Answer { query: self.clone(), rcode, answers: Vec::new(), authority: Vec::new(), truncated: false }
    }

    /// The usual: one address.
    pub(crate) fn address(&self, last: u8, ttl: u32) -> Vec<Vec<u8>> {
        vec![self.answer(Rcode::NOERROR).a(&self.text(), last, ttl).bytes()]
    }

    pub(crate) fn refuse(&self, rcode: Rcode) -> Vec<Vec<u8>> {
        vec![self.answer(rcode).bytes()]
    }
}

/// An answer being made.
pub(crate) struct Answer {
    query: Query,
    rcode: Rcode,
    answers: Vec<Record<Name<Vec<u8>>, Data>>,
    authority: Vec<Record<Name<Vec<u8>>, Data>>,
    pub(crate) truncated: bool,
}

type Data = domain::rdata::AllRecordData<Vec<u8>, Name<Vec<u8>>>;

pub(crate) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

fn record(owner: &str, ttl: u32, data: impl Into<Data>) -> Record<Name<Vec<u8>>, Data> {
    Record::new(name(owner), domain::base::iana::Class::IN, Ttl::from_secs(ttl), data.into())
}

impl Answer {
    pub(crate) fn a(mut self, owner: &str, last: u8, ttl: u32) -> Self {
        self.answers.push(record(owner, ttl, A::from_octets(192, 0, 2, last)));
        self
    }

    pub(crate) fn cname(mut self, owner: &str, target: &str, ttl: u32) -> Self {
        self.answers.push(record(owner, ttl, Cname::new(name(target))));
        self
    }

    pub(crate) fn txt(mut self, owner: &str, length: usize, ttl: u32) -> Self {
        let text = Txt::build_from_slice(&vec![b'x'; length]).unwrap();
        self.answers.push(record(owner, ttl, text));
        self
    }

    pub(crate) fn ns(mut self, owner: &str, target: &str) -> Self {
        self.authority.push(record(owner, 3600, Ns::new(name(target))));
        self
    }

    pub(crate) fn soa(mut self, owner: &str, ttl: u32, minimum: u32) -> Self {
        let seconds = Ttl::from_secs;
        let data = Soa::new(
            name("ns.example"),
            name("hostmaster.example"),
            1.into(),
            seconds(3600),
            seconds(600),
            seconds(86_400),
            seconds(minimum),
        );
        self.authority.push(record(owner, ttl, data));
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let message = self.query.message();
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(message.header().id());
        builder.header_mut().set_qr(true);
        builder.header_mut().set_ra(true);
        builder.header_mut().set_ad(true);
        builder.header_mut().set_tc(self.truncated);
        builder.header_mut().set_rcode(self.rcode);
        let mut builder = builder.question();
        builder.push(message.sole_question().unwrap()).unwrap();
        let mut builder = builder.answer();
        self.answers.iter().for_each(|record| builder.push(record).unwrap());
        let mut builder = builder.authority();
        self.authority.iter().for_each(|record| builder.push(record).unwrap());
        let mut builder = builder.additional();
        if message.opt().is_some() {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(1232);
                    Ok(())
                })
                .unwrap();
        }
        builder.finish()
    }
}

/// What a client gets to see.
pub(crate) fn parse(bytes: &[u8]) -> Message<Vec<u8>> {
    let message = Message::from_octets(bytes.to_vec()).unwrap();
    for record in message.iter() {
        record.unwrap();
    }
    message
}

/// Addresses of an answer, as the last number and the TTL.
pub(crate) fn addresses(message: &Message<Vec<u8>>) -> Vec<(u8, u32)> {
    let records = message.answer().unwrap().limit_to::<A>();
    records.map(|record| record.unwrap()).map(|a| (a.data().addr().octets()[3], a.ttl().as_secs())).collect()
}

/// Types of all records of the answer section.
pub(crate) fn types(message: &Message<Vec<u8>>) -> Vec<Rtype> {
    message.answer().unwrap().map(|record| record.unwrap().rtype()).collect()
}
