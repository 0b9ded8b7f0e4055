//! Changes that are cut: what was not answered may have been done, and the same change made again ends where it should.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dns::rfc2136::Client;
use dns::{Change, Driver};
use effect::Code;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{Peer as _, assert_failed, name, rtype, set, update_parts, zone};
use crate::memory::Memory;
use crate::servers::{Kind, Server, settings};
use crate::web::{Web, client, server};

/// Takes one message to `server` by TCP, and leaves with its answer.
async fn swallow(listener: TcpListener, server: std::net::SocketAddr) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.unwrap();
    let mut other = TcpStream::connect(server).await.unwrap();
    other.write_all(&[&length.to_be_bytes()[..], &message].concat()).await.unwrap();
    let length = other.read_u16().await.unwrap();
    let mut answer = vec![0; usize::from(length)];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[2] & 0xf8, answer[3] & 0x0f), (0xa8, 0), "the answer to an update that was made");
}

#[tokio::test]
async fn an_update_whose_answer_was_lost_is_sent_again() {
    for kind in [Kind::Bind, Kind::Knot, Kind::PowerDns] {
        let server = Server::start_with(kind, "gone IN A 192.0.2.8\n").await;
        let address = crate::program::port();
        let cutting = Client::new(settings(address), update_parts()).unwrap();
        let datagrams = tokio::net::UdpSocket::bind(address).await.unwrap();
        let relay = tokio::spawn(relay(datagrams, server.address));
        let listener = TcpListener::bind(address).await.unwrap();
        let cut = tokio::spawn(swallow(listener, server.address));
        let change = Change {
            put: vec![set("cut", "A", 60, &["192.0.2.1", "192.0.2.2"])],
            remove: vec![(name("gone"), rtype("A"))],
        };
        let error = assert_failed(cutting.change(&zone(), &change).await, Code::DnsUnavailable, "closed");
        assert!(error.retryable);
        cut.await.unwrap_or_else(|error| panic!("{kind:?}: {error} {}", server.log()));
        relay.abort();
        let driver = server.driver();
        // It took place, and taking place again changes nothing more.
        let found = driver.get(&zone(), &name("cut"), rtype("A")).await.unwrap().unwrap();
        assert_eq!(found.values.len(), 2);
        driver.change(&zone(), &change).await.unwrap();
        assert_eq!(driver.get(&zone(), &name("gone"), rtype("A")).await.unwrap(), None);
    }
}

async fn relay(socket: tokio::net::UdpSocket, server: std::net::SocketAddr) {
    let mut message = vec![0; 65_535];
    while let Ok((length, peer)) = socket.recv_from(&mut message).await {
        let other = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        other.send_to(&message[..length], server).await.unwrap();
        let length = other.recv(&mut message).await.unwrap();
        socket.send_to(&message[..length], peer).await.unwrap();
    }
}

/// The answer to the call with each number is lost in turn; in between the name is never without a value.
#[tokio::test]
async fn calls_that_were_cut_are_made_again_and_no_name_is_bare_meanwhile() {
    let before = set("busy", "A", 60, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    let changes = [
        Change::putting(set("busy", "A", 60, &["192.0.2.4"])),
        Change::putting(set(
            "busy",
            "A",
            30,
            &["192.0.2.1", "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8"],
        )),
        Change { put: vec![set("busy", "A", 60, &["192.0.2.9"])], remove: vec![(name("ns1"), rtype("A"))] },
    ];
    for change in changes {
        let mut has_been_cut = true;
        let mut lost = 0;
        while has_been_cut {
            let memory = Arc::new(Memory::new());
            memory.change(&zone(), &Change::putting(before.clone())).await.unwrap();
            has_been_cut = one(&memory, &change, lost).await;
            let found = memory.get(&zone(), &name("busy"), rtype("A")).await.unwrap().unwrap();
            assert!(found.same_as(&change.put[0]), "{found:?}");
            lost += 1;
        }
        assert!(lost > 3, "{lost}");
    }
}

/// Makes the change; says whether the answer with this number was lost.
async fn one(memory: &Arc<Memory>, change: &Change, lost: usize) -> bool {
    let calls = Arc::new(AtomicUsize::new(0));
    let served = server(memory.clone(), &["dns"]);
    let (kept, count) = (memory.clone(), calls.clone());
    let web = Web::start(
        None,
        Arc::new(move |request, peer| {
            let (served, kept, count) = (served.clone(), kept.clone(), count.clone());
            Box::pin(async move {
                let mut answer = served.handle(request, peer).await;
                assert!(kept.get(&zone(), &name("busy"), rtype("A")).await.unwrap().is_some());
                if count.fetch_add(1, Ordering::Relaxed) == lost {
                    *answer.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                }
                answer
            })
        }),
    )
    .await;
    let client = client(crate::web::settings(format!("http://{}", web.address)));
    let first = client.change(&zone(), change).await;
    let was_cut = calls.load(Ordering::Relaxed) > lost;
    assert_eq!(first.is_err(), was_cut, "{first:?}");
    if was_cut {
        assert!(first.unwrap_err().retryable);
        client.change(&zone(), change).await.unwrap();
    }
    was_cut
}
