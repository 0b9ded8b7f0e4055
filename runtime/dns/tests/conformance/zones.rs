//! Zones that take many messages: transfers signed in a chain, and changes as large as one message.

use dns::{Change, RecordSet};
use effect::Code;

use crate::bench::{Peer as _, assert_failed, set, zone};
use crate::servers::{Kind, Server};

const MANY: usize = 20_000;

#[tokio::test]
async fn a_zone_of_many_messages_is_transferred_whole() {
    let records: String = (0..MANY).map(|n| format!("h{n}.hosts IN A 192.0.2.{}\n", n % 250)).collect();
    for kind in [Kind::Bind, Kind::Knot, Kind::PowerDns] {
        let server = Server::start_with(kind, &records).await;
        let all = server.driver().list(&zone()).await.unwrap();
        assert_eq!(all.len(), MANY + 3, "{kind:?}");
        assert!(all.iter().is_sorted_by_key(|set| (set.name.clone(), set.rtype)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_change_is_as_large_as_a_message() {
    let many = |count: usize| Change {
        put: (0..count)
            .map(|n| set(&format!("h{n}.large"), "A", 60, &["192.0.2.1"]))
            .collect::<Vec<RecordSet>>(),
        remove: Vec::new(),
    };
    for kind in [Kind::Bind, Kind::Knot, Kind::PowerDns] {
        let server = Server::start(kind).await;
        let driver = server.driver();
        driver.change(&zone(), &many(1000)).await.unwrap();
        assert_eq!(driver.list(&zone()).await.unwrap().len(), 1003, "{kind:?}");
        let failed = driver.change(&zone(), &many(3000)).await;
        assert_failed(failed, Code::Unsupported, "65,535");
        assert_eq!(driver.list(&zone()).await.unwrap().len(), 1003, "{kind:?}");
    }
}
