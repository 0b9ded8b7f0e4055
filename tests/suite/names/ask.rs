//! Owns questions as a client of names asks them, over datagrams and connections, and steady streams of them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A question that has no answer by then counts as missed. No client waits longer, and no answer here takes a hundredth.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between the questions of a stream.
const BETWEEN: Duration = Duration::from_millis(2);

pub(crate) const A: u16 = 1;
pub(crate) const SOA: u16 = 6;
const AXFR: u16 = 252;

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rcode: u8,
    /// The type and the data of every record of the answer section.
    pub(crate) records: Vec<(u16, Vec<u8>)>,
}

impl Answer {
    /// The IPv4 addresses in it.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let of = |(rtype, data): &(u16, Vec<u8>)| {
            let octets: [u8; 4] = data.as_slice().try_into().ok()?;
            (*rtype == A).then(|| Ipv4Addr::from(octets))
        };
        self.records.iter().filter_map(of).collect()
    }

    /// The serial of the SOA in it.
    pub(crate) fn serial(&self) -> Option<u32> {
        let (_, data) = self.records.iter().find(|(rtype, _)| *rtype == SOA)?;
        // Five numbers stand at the end, whatever the names before them are.
        let at = data.len().checked_sub(20)?;
        Some(u32::from_be_bytes(data[at..at + 4].try_into().ok()?))
    }
}

/// A question in wire form.
fn question(id: u16, name: &str, rtype: u16) -> Vec<u8> {
    let mut wire = [id.to_be_bytes(), [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).expect("a short label"));
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire.extend([rtype.to_be_bytes(), [0, 1]].concat());
    wire
}

fn skip_name(wire: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *wire.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn read(wire: &[u8], id: u16) -> Option<Answer> {
    let number = |at: usize| Some(u16::from_be_bytes(wire.get(at..at + 2)?.try_into().ok()?));
    if number(0)? != id || wire.get(2)? & 0x80 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..number(4)? {
        at = skip_name(wire, at)? + 4;
    }
    let mut records = Vec::new();
    for _ in 0..number(6)? {
        at = skip_name(wire, at)?;
        let (rtype, length) = (number(at)?, usize::from(number(at + 8)?));
        records.push((rtype, wire.get(at + 10..at + 10 + length)?.to_vec()));
        at += 10 + length;
    }
    Some(Answer { rcode: wire[3] & 15, records })
}

fn id() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed) % 65_535).expect("it is smaller")
}

/// Asks by a datagram, once.
pub(crate) fn udp(server: SocketAddr, name: &str, rtype: u16) -> Option<Answer> {
    udp_within(server, name, rtype, PATIENCE)
}

/// Asks by a datagram, once, and waits that long.
pub(crate) fn udp_within(server: SocketAddr, name: &str, rtype: u16, patience: Duration) -> Option<Answer> {
    let own = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(own).expect("a socket");
    socket.connect(server).ok()?;
    socket.set_read_timeout(Some(patience)).expect("a socket has a time-out");
    let id = id();
    socket.send(&question(id, name, rtype)).ok()?;
    let mut wire = [0; 4096];
    loop {
        let length = socket.recv(&mut wire).ok()?;
        if let Some(answer) = read(&wire[..length], id) {
            return Some(answer);
        }
    }
}

/// Asks by a connection of its own.
pub(crate) fn tcp(server: SocketAddr, name: &str, rtype: u16) -> Option<Answer> {
    let mut stream = connect(server)?;
    let id = id();
    send(&mut stream, &question(id, name, rtype))?;
    read(&receive(&mut stream)?, id)
}

fn connect(server: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> Option<()> {
    let length = u16::try_from(message.len()).expect("it is short").to_be_bytes();
    stream.write_all(&[&length[..], message].concat()).ok()
}

fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// A zone that is being taken whole: the first message was read, the rest waits.
pub(crate) struct Transfer {
    stream: TcpStream,
    id: u16,
    records: usize,
    ends: usize,
}

impl Transfer {
    pub(crate) fn begin(server: SocketAddr, zone: &str) -> Self {
        let mut stream = connect(server).expect("the server takes connections");
        let id = id();
        send(&mut stream, &question(id, zone, AXFR)).expect("the server reads");
        let mut transfer = Self { stream, id, records: 0, ends: 0 };
        transfer.take().expect("the server answers");
        transfer
    }

    fn take(&mut self) -> Option<()> {
        let answer = read(&receive(&mut self.stream)?, self.id)?;
        assert_eq!(answer.rcode, 0, "a refused transfer");
        self.records += answer.records.len();
        self.ends += answer.records.iter().filter(|(rtype, _)| *rtype == SOA).count();
        Some(())
    }

    /// How many records came, where it came to its end: the SOA stands at both.
    pub(crate) fn finish(mut self) -> Option<usize> {
        while self.ends < 2 {
            self.take()?;
        }
        Some(self.records)
    }
}

/// How a stream asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Udp,
    Tcp,
}

/// What a stream has seen.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) asked: u32,
    /// What was wrong, in the order of the questions.
    pub(crate) wrong: Vec<String>,
    /// The last serial of the zone.
    pub(crate) serial: u32,
}

/// Questions that never stop: the address of a name and the serial of its zone, one after the other.
pub(crate) struct Stream {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    asking: JoinHandle<Told>,
}

impl Stream {
    /// Asks `server` for `name` of `zone`, which has some address all the time.
    pub(crate) fn start(by: By, server: SocketAddr, name: &str, zone: &str) -> Self {
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (name, zone, is_over, count) = (name.to_owned(), zone.to_owned(), over.clone(), asked.clone());
        let asking = std::thread::spawn(move || {
            let mut told = Told::default();
            let ask = if by == By::Udp { udp } else { tcp };
            while !is_over.load(Ordering::SeqCst) {
                told.asked += 1;
                match ask(server, &name, A) {
                    Some(answer) if answer.rcode == 0 && !answer.addresses().is_empty() => {}
                    other => told.wrong.push(format!("{by:?} question {}: {other:?}", told.asked)),
                }
                match ask(server, &zone, SOA).map(|answer| answer.serial()) {
                    Some(Some(serial)) if serial.wrapping_sub(told.serial) < 1 << 31 || told.serial == 0 => {
                        told.serial = serial;
                    }
                    other => told.wrong.push(format!("{by:?} serial after {}: {other:?}", told.serial)),
                }
                count.store(told.asked, Ordering::SeqCst);
                std::thread::sleep(BETWEEN);
            }
            told
        });
        Self { over, asked, asking }
    }

    /// Waits until so many further questions were asked.
    pub(crate) fn goes_on(&self, count: u32) {
        let before = self.asked.load(Ordering::SeqCst);
        crate::harness::until("the questions go on", || {
            (self.asked.load(Ordering::SeqCst) >= before + count).then_some(())
        });
    }

    /// Ends it; every question must have been answered.
    #[track_caller]
    pub(crate) fn end(self) -> Told {
        self.over.store(true, Ordering::SeqCst);
        let told = self.asking.join().expect("it asks");
        assert_eq!(told.wrong, [""; 0], "of {} questions", told.asked);
        assert!(told.asked > 10, "only {} questions", told.asked);
        told
    }
}
