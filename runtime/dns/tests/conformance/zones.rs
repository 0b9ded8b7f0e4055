//! Zones that take many messages: transfers signed in a chain, and changes as large as one message.

use std::time::Duration;

use dns::{Change, RecordSet};
use effect::Code;

use crate::bench::{Peer as _, assert_failed, name, set, zone};
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

#[tokio::test]
async fn a_zone_that_its_server_signs_is_changed_like_others() {
    for kind in [Kind::Bind, Kind::Knot] {
        let server = Server::start_signing(kind).await;
        let driver = server.driver();
        // Servers sign after they answer already.
        while driver.get(&zone(), &zone(), "NSEC".parse().unwrap()).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let star = set("*", "A", 60, &["192.0.2.1"]);
        let own = set("own", "A", 60, &["192.0.2.1"]);
        let alias = set("alias", "CNAME", 60, &["own.mcrun.test."]);
        for wanted in [&star, &own, &alias] {
            driver.change(&zone(), &Change::putting(wanted.clone())).await.unwrap();
            let found = driver.get(&zone(), &wanted.name, wanted.rtype).await.unwrap().unwrap();
            assert!(found.same_as(wanted), "{kind:?} {found:?}");
        }
        let synthesised = driver.get(&zone(), &name("nobody"), own.rtype).await.unwrap();
        assert_eq!(synthesised, None, "{kind:?}");
        let failed = driver.change(&zone(), &Change::putting(set("alias", "A", 60, &["192.0.2.1"]))).await;
        assert_failed(failed, Code::DnsExclusive, "alias");
        let failed = driver.change(&zone(), &Change::putting(set("own", "CNAME", 60, &["a.example."]))).await;
        assert_failed(failed, Code::DnsExclusive, "own");
        let all = driver.list(&zone()).await.unwrap();
        let made_by_signing: Vec<String> = all.iter().map(|set| set.rtype.to_string()).collect();
        assert!(
            !made_by_signing.iter().any(|kind| kind == "RRSIG" || kind.starts_with("NSEC")),
            "{kind:?} {all:?}"
        );
        assert!(all.iter().any(|set| set.same_as(&own)));
        driver.change(&zone(), &Change::removing(name("alias"), alias.rtype)).await.unwrap();
        assert_eq!(driver.get(&zone(), &name("alias"), alias.rtype).await.unwrap(), None);
    }
}
