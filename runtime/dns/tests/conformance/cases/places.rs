//! The cases of names: odd ones, wildcards, delegations, the zone's own, and those of a CNAME.

use dns::{Change, Driver};
use effect::Code;

use super::{assert_same, put, put_and_read, read, remove, serial};
use crate::bench::{Peer, assert_failed, name, rtype, set, zone};

pub(super) async fn names_of_all_kinds(peer: &dyn Peer) {
    let driver = &*peer.driver();
    for owner in [
        "@",
        "UPPER",
        "_dmarc",
        "a.b.c.d",
        "we\\.ird",
        "sp\\032ace",
        "\\000\\255",
        "xn--mnchen-3ya",
        "*.star",
    ] {
        if !peer.takes(owner) {
            continue;
        }
        let text = set(owner, "TXT", 60, &["\"one\""]);
        put_and_read(driver, &text).await;
        remove(driver, owner, "TXT").await;
    }
    let deep = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0";
    let longest = [deep, deep, deep, &deep[..49]].join(".");
    let text = set(&longest, "A", 60, &["192.0.2.9"]);
    put_and_read(driver, &text).await;
    remove(driver, &longest, "A").await;
}

pub(super) async fn wildcards_are_not_taken_for_records(driver: &dyn Driver) {
    let star = set("*", "TXT", 300, &["\"anyone\""]);
    let deeper = set("*.deep", "TXT", 300, &["\"deeper\""]);
    let alias = set("*.alias", "CNAME", 300, &["a.mcrun.test."]);
    for wildcard in [&star, &deeper, &alias] {
        put_and_read(driver, wildcard).await;
    }
    for owner in ["nobody", "x.deep", "a.b.deep", "y.x.nobody", "*.nobody"] {
        assert_eq!(driver.get(&zone(), &name(owner), rtype("TXT")).await.unwrap(), None, "{owner}");
    }
    assert_eq!(driver.get(&zone(), &name("x.alias"), rtype("CNAME")).await.unwrap(), None);
    assert_eq!(driver.get(&zone(), &name("x.alias"), rtype("A")).await.unwrap(), None);
    // A record that says the same is one nevertheless; looking which of the two it is changes nothing.
    let same = set("somebody", "TXT", 300, &["\"anyone\""]);
    put_and_read(driver, &same).await;
    let before = serial(driver).await;
    assert_same(read(driver, &same).await.as_ref(), &same);
    assert_eq!(driver.get(&zone(), &name("nobody"), rtype("TXT")).await.unwrap(), None);
    assert_eq!(serial(driver).await, before);
    let other = set("x.deep", "TXT", 300, &["\"other\""]);
    put_and_read(driver, &other).await;
    for (owner, kind) in
        [("*", "TXT"), ("*.deep", "TXT"), ("*.alias", "CNAME"), ("somebody", "TXT"), ("x.deep", "TXT")]
    {
        remove(driver, owner, kind).await;
    }
}

pub(super) async fn delegations_and_glue_are_read(driver: &dyn Driver) {
    let servers = set("given", "NS", 300, &["ns.given.mcrun.test.", "ns.example."]);
    let glue = set("ns.given", "A", 300, &["192.0.2.53"]);
    put_and_read(driver, &servers).await;
    put_and_read(driver, &glue).await;
    assert_eq!(driver.get(&zone(), &name("other.given"), rtype("A")).await.unwrap(), None);
    remove(driver, "ns.given", "A").await;
    remove(driver, "given", "NS").await;
}

pub(super) async fn the_apex_keeps_its_servers(driver: &dyn Driver) {
    let before = driver.get(&zone(), &zone(), rtype("NS")).await.unwrap().unwrap();
    for wanted in [
        set("@", "NS", 300, &["ns1.mcrun.test.", "ns3.example."]),
        set("@", "NS", 300, &["ns4.example."]),
        set("@", "NS", 600, &["ns4.example."]),
        before.clone(),
    ] {
        put_and_read(driver, &wanted).await;
    }
    let mail = set("@", "MX", 300, &["10 mail.example."]);
    put_and_read(driver, &mail).await;
    remove(driver, "@", "MX").await;
    assert_same(driver.get(&zone(), &zone(), rtype("NS")).await.unwrap().as_ref(), &before);
}

pub(super) async fn a_cname_is_alone(driver: &dyn Driver) {
    let alias = set("alone", "CNAME", 300, &["a.example."]);
    let address = set("alone", "A", 300, &["192.0.2.1"]);
    put_and_read(driver, &alias).await;
    let failed = driver.change(&zone(), &Change::putting(address.clone())).await;
    assert_failed(failed, Code::DnsExclusive, "alone");
    assert_same(read(driver, &alias).await.as_ref(), &alias);
    // Another target takes the place of the first.
    let other = set("alone", "CNAME", 300, &["b.example."]);
    put_and_read(driver, &other).await;
    // What makes room in the same change may be replaced, both ways.
    let swap = Change { put: vec![address.clone()], remove: vec![(name("alone"), rtype("CNAME"))] };
    driver.change(&zone(), &swap).await.unwrap();
    assert_same(read(driver, &address).await.as_ref(), &address);
    let failed = driver.change(&zone(), &Change::putting(alias.clone())).await;
    assert_failed(failed, Code::DnsExclusive, "alone");
    assert_same(read(driver, &address).await.as_ref(), &address);
    let back = Change { put: vec![alias.clone()], remove: vec![(name("alone"), rtype("A"))] };
    driver.change(&zone(), &back).await.unwrap();
    assert_same(read(driver, &alias).await.as_ref(), &alias);
    assert_eq!(read(driver, &address).await, None);
    // What goes for a CNAME does not go where the CNAME cannot come.
    let text = set("kept", "TXT", 60, &["\"x\""]);
    let kept = set("kept", "A", 60, &["192.0.2.1"]);
    put(driver, &text).await;
    put(driver, &kept).await;
    let swap = Change {
        put: vec![set("kept", "CNAME", 60, &["a.example."])],
        remove: vec![(name("kept"), rtype("A"))],
    };
    assert_failed(driver.change(&zone(), &swap).await, Code::DnsExclusive, "kept");
    assert_same(read(driver, &kept).await.as_ref(), &kept);
    remove(driver, "kept", "A").await;
    remove(driver, "kept", "TXT").await;
    let both = Change {
        put: vec![set("both", "CNAME", 60, &["a.example."]), set("both", "A", 60, &["192.0.2.1"])],
        remove: vec![],
    };
    assert_failed(driver.change(&zone(), &both).await, Code::DnsExclusive, "both");
    remove(driver, "alone", "CNAME").await;
}
