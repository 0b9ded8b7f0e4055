use journal::SystemClock;

use super::*;
use crate::server::signed::KeySettings;

const SECRET: &[u8] = b"bWNydW4gdGVzdCBrZXkgb2YgMzIgb2N0ZXRzLCBvaw==";

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key() -> Key {
    let settings: KeySettings = toml::from_str("secret = \"dns/key\"").unwrap();
    Key::new("k", &settings, SECRET).unwrap()
}

fn notifier(zones: &str) -> Notifier {
    let zones = toml::from_str(zones).unwrap();
    Notifier::new(&zones, &Keys::new(vec![key()]).unwrap(), Arc::new(SystemClock)).unwrap()
}

const ONE: &str = "[\"mcrun.test\"]\nnotify = [\"192.0.2.2\"]\n";

fn soa(serial: u32) -> driver::Zone {
    driver::Zone {
        zone: name("mcrun.test"),
        serial,
        primary: name("ns.mcrun.test"),
        admin: name("hostmaster.mcrun.test"),
        refresh: 3600,
        retry: 600,
        expire: 604_800,
        minimum: 300,
    }
}

/// The messages that are due, with the serial that each tells of.
fn due(notifier: &Notifier, now: Instant) -> Vec<(Vec<u8>, u32)> {
    let serial = |message: &[u8]| {
        let query = Query::head(message).ok().unwrap();
        let records = Records::read(message, query.end).unwrap();
        let value = records.first[0].value(message).unwrap();
        let numbers = value.wire().len() - 20;
        u32::from_be_bytes(value.wire()[numbers..numbers + 4].try_into().unwrap())
    };
    notifier.due(now).0.into_iter().map(|(message, _)| (message.clone(), serial(&message))).collect()
}

fn acknowledgement(message: &[u8], code: u8) -> Vec<u8> {
    let end = Query::head(message).ok().unwrap().end;
    let mut answer = message[..end].to_vec();
    answer[2] |= 0x80;
    answer[3] = code;
    answer[6..12].fill(0);
    answer
}

#[test]
fn a_version_is_told_of_until_that_secondary_acknowledges_it() {
    let notifier = notifier(ONE);
    notifier.changed(&soa(7));
    let now = Instant::now();
    let sent = due(&notifier, now);
    assert_eq!(sent.iter().map(|(_, serial)| *serial).collect::<Vec<_>>(), [7]);
    assert!(due(&notifier, now).is_empty());
    let right = acknowledgement(&sent[0].0, 0);
    let mut other_id = right.clone();
    other_id[0] ^= 1;
    let mut question = right.clone();
    question[2] &= 0x7F;
    let other_zone = {
        let mut answer = right.clone();
        answer[13] = b'x';
        answer
    };
    for answer in [&other_id, &question, &other_zone, &right[..11].to_vec(), &acknowledgement(&sent[0].0, 2)]
    {
        notifier.take(answer, address("192.0.2.2:53"));
    }
    notifier.take(&right, address("192.0.2.2:54"));
    assert_eq!(notifier.open(), 1);
    notifier.take(&right, address("[::ffff:192.0.2.2]:53"));
    assert_eq!(notifier.open(), 0);
    // The same version is told of once.
    notifier.changed(&soa(7));
    assert_eq!(notifier.open(), 0);
    assert_eq!(notifier.due(now).1, None);
}

#[test]
fn pauses_grow_and_end() {
    let notifier = notifier(ONE);
    notifier.changed(&soa(7));
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    loop {
        let sent = notifier.due(now).0.len();
        let Some(next) = notifier.due(now).1 else { break };
        assert_eq!(sent, 1);
        pauses.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(notifier.open(), 0);
}

#[test]
fn versions_that_follow_each_other_are_told_of_together() {
    let notifier = notifier(ONE);
    notifier.changed(&soa(7));
    let now = Instant::now();
    let first = due(&notifier, now);
    for serial in 8..100 {
        notifier.changed(&soa(serial));
    }
    assert!(due(&notifier, now).is_empty());
    // What was said of the first says nothing of the others.
    notifier.take(&acknowledgement(&first[0].0, 0), address("192.0.2.2:53"));
    assert_eq!(notifier.open(), 1);
    let next = notifier.due(now).1.unwrap();
    assert!(next <= now + CLOSEST);
    let second = due(&notifier, next);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].1, 99);
    notifier.take(&acknowledgement(&second[0].0, 0), address("192.0.2.2:53"));
    assert_eq!(notifier.open(), 0);
}

#[test]
fn with_a_key_only_its_holder_can_acknowledge() {
    let notifier = notifier(&format!("{ONE}key = \"k\"\n"));
    notifier.changed(&soa(7));
    let sent = due(&notifier, Instant::now());
    let message = &sent[0].0;
    let plain = acknowledgement(message, 0);
    notifier.take(&plain, address("192.0.2.2:53"));
    assert_eq!(notifier.open(), 1);
    let now = seconds(&SystemClock);
    let query = Query::head(message).ok().unwrap();
    let signature = Signature::of(message, &Records::read(message, query.end).unwrap()).unwrap().unwrap();
    let keys = Keys::new(vec![key()]).unwrap();
    let Ok(mut session) = keys.check(message, signature, now) else { panic!("it is signed") };
    let mut signed = plain.clone();
    session.sign(&mut signed, now);
    let mut broken = signed.clone();
    *broken.last_mut().unwrap() ^= 1;
    let at = broken.len() - 20;
    broken[at] ^= 1;
    notifier.take(&broken, address("192.0.2.2:53"));
    assert_eq!(notifier.open(), 1);
    notifier.take(&signed, address("192.0.2.2:53"));
    assert_eq!(notifier.open(), 0);
}

#[test]
fn who_does_not_want_to_know_is_not_asked_again() {
    let notifier = notifier(ONE);
    notifier.changed(&soa(7));
    let sent = due(&notifier, Instant::now());
    notifier.take(&acknowledgement(&sent[0].0, rcode::NOTAUTH), address("192.0.2.2:53"));
    assert_eq!(notifier.open(), 0);
}

#[test]
fn only_zones_with_secondaries_and_known_keys_are_told_of() {
    assert!(!notifier("").has_secondaries());
    let wrong = toml::from_str(&format!("{ONE}key = \"other\"\n")).unwrap();
    let error = Notifier::new(&wrong, &Keys::default(), Arc::new(SystemClock)).err().unwrap();
    assert!(error.message.contains("`other`"), "{error}");
    let notifier = notifier(ONE);
    notifier.changed(&driver::Zone { zone: name("other.test"), ..soa(7) });
    assert_eq!(notifier.open(), 0);
}

#[tokio::test]
async fn it_is_sent_and_taken_over_a_socket() {
    let secondary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let zones = format!("[\"mcrun.test\"]\nnotify = [\"{}\"]\n", secondary.local_addr().unwrap());
    let notifier = Arc::new(notifier(&zones));
    let running = tokio::spawn({
        let notifier = notifier.clone();
        async move { notifier.run().await.map(|_| ()) }
    });
    let mut message = [0; 512];
    for serial in [7, 8] {
        notifier.changed(&soa(serial));
        let (length, from) = secondary.recv_from(&mut message).await.unwrap();
        let answer = acknowledgement(&message[..length], 0);
        secondary.send_to(&answer, from).await.unwrap();
    }
    // A third arrives, so that the acknowledgements before it were taken.
    notifier.changed(&soa(9));
    secondary.recv_from(&mut message).await.unwrap();
    assert_eq!(notifier.open(), 1);
    running.abort();
}
