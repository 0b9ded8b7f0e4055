use super::*;
use crate::name::Name;
use crate::server::query::{Query, rcode};
use crate::server::records::Records;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"bWNydW4gdGVzdCBrZXkgb2YgMzIgb2N0ZXRzLCBvaw==";

fn settings(text: &str) -> KeySettings {
    toml::from_str(&format!("secret = \"dns/key\"\n{text}")).unwrap()
}

fn key(name: &str, text: &str) -> Key {
    Key::new(name, &settings(text), SECRET).unwrap()
}

fn keys() -> Keys {
    Keys::new(vec![key("all", ""), key("long", "algorithm = \"hmac-sha512\"")]).unwrap()
}

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

/// A question, signed by the key `all` at `time`.
fn signed(time: u64) -> Vec<u8> {
    let mut message = vec![0xAB, 0xCD, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(b"\x05mcrun\x04test\0\0\x06\0\x01");
    Session::opening(keys().get(&name("all")).unwrap().clone()).sign(&mut message, time);
    message
}

fn signature(message: &[u8]) -> Signature {
    let mut asked = message.to_vec();
    asked[2] &= 0x7F;
    let query = Query::head(&asked).ok().unwrap();
    let records = Records::read(message, query.end).unwrap();
    Signature::of(message, &records).unwrap().unwrap()
}

/// The code of a signature's check; 0 where it is believed, 1 where it is none.
fn check(message: &[u8], now: u64) -> u16 {
    match keys().check(message, signature(message), now) {
        Ok(_) => 0,
        Err(Fault::Form) => 1,
        Err(Fault::Unsigned(code, _) | Fault::Signed(code, ..)) => code,
    }
}

/// The message with its signature changed.
fn changed(message: &[u8], how: impl FnOnce(&mut Signature)) -> Vec<u8> {
    let mut signature = signature(message);
    let mut changed = message[..signature.begin].to_vec();
    changed[10..12].copy_from_slice(&[0, 0]);
    how(&mut signature);
    signature.append(&mut changed);
    changed
}

/// What is answered, and whether the client would believe it.
fn answer(message: &[u8], now: u64) -> (Signature, bool) {
    let Err(fault) = keys().check(message, signature(message), now) else { panic!("it is believed") };
    let mut answer = message[..signature(message).begin].to_vec();
    answer[2] = 0x80;
    answer[3] = rcode::NOTAUTH;
    answer[10..12].copy_from_slice(&[0, 0]);
    fault.sign(&mut answer, now);
    let asked = Session {
        key: keys().get(&name("all")).unwrap().clone(),
        before: signature(message).mac.clone(),
        is_first: true,
    };
    let told = signature(&answer);
    let is_believed = asked.key.vouches(&answer, &told, &asked.before, true);
    (told, is_believed)
}

#[test]
fn a_signature_holds_within_its_fudge_and_no_longer() {
    let message = signed(NOW);
    for (now, code) in [
        (NOW, 0),
        (NOW + 300, 0),
        (NOW - 300, 0),
        (NOW + 301, BADTIME),
        (NOW - 301, BADTIME),
        (0, BADTIME),
        (u64::MAX, BADTIME),
    ] {
        assert_eq!(check(&message, now), code, "{now}");
    }
    // A time before 1970 and five minutes, with any fudge.
    for time in [0, 1, 299, (1 << 48) - 1] {
        assert_eq!(check(&signed(time), NOW), BADTIME);
    }
    assert_eq!(check(&signed(0), 10), 0);
}

#[test]
fn more_fudge_than_ours_is_not_given() {
    let mut message = signed(NOW);
    let mut made = signature(&message);
    message.truncate(made.begin);
    message[11] = 0;
    made.fudge = u16::MAX;
    let mut variables = message.clone();
    made.variables(&mut variables);
    made.mac = keys().get(&name("all")).unwrap().hash(&variables);
    made.append(&mut message);
    assert_eq!(check(&message, NOW + 300), 0);
    assert_eq!(check(&message, NOW + 301), BADTIME);
}

#[test]
fn key_hash_time_and_length_are_looked_at_in_this_order() {
    let message = signed(NOW);
    let late = NOW + 1000;
    assert_eq!(check(&changed(&message, |s| s.key = name("other")), late), BADKEY);
    assert_eq!(check(&changed(&message, |s| s.algorithm = name("hmac-md5.sig-alg.reg.int")), late), BADKEY);
    assert_eq!(check(&changed(&message, |s| s.key = name("long")), late), BADKEY);
    assert_eq!(check(&changed(&message, |s| s.mac[0] ^= 1), late), BADSIG);
    assert_eq!(check(&changed(&message, |s| s.mac.truncate(16)), late), BADTIME);
    assert_eq!(check(&changed(&message, |s| s.mac.truncate(31)), NOW), BADTRUNC);
    assert_eq!(check(&changed(&message, |s| s.mac.truncate(16)), NOW), BADTRUNC);
    let cut = |s: &mut Signature| {
        s.mac.truncate(16);
        s.mac[15] ^= 1;
    };
    assert_eq!(check(&changed(&message, cut), NOW), BADSIG);
    for length in [0, 1, 9, 10, 15] {
        assert_eq!(check(&changed(&message, |s| s.mac.truncate(length)), NOW), 1, "{length}");
    }
    assert_eq!(check(&changed(&message, |s| s.mac.push(0)), NOW), 1);
    // The id is that of the signature, as a forwarder may have changed the message's own.
    let mut forwarded = message.clone();
    forwarded[0] ^= 1;
    assert_eq!(check(&forwarded, NOW), 0);
    assert_eq!(check(&changed(&message, |s| s.id ^= 1), NOW), BADSIG);
}

#[test]
fn only_what_a_key_vouches_for_is_told_signed() {
    let message = signed(NOW);
    let (told, is_believed) = answer(&message, NOW + 1000);
    assert!(is_believed);
    assert_eq!((told.error, told.time), (BADTIME, NOW));
    assert_eq!(told.other, (NOW + 1000).to_be_bytes()[2..]);
    let (told, is_believed) = answer(&changed(&message, |s| s.mac.truncate(20)), NOW);
    assert!(is_believed);
    assert_eq!((told.error, told.time, told.mac.len()), (BADTRUNC, NOW, 32));
    for broken in [changed(&message, |s| s.mac[3] ^= 1), changed(&message, |s| s.key = name("other"))] {
        let (told, is_believed) = answer(&broken, NOW);
        assert!(!is_believed && told.mac.is_empty() && told.other.is_empty());
        assert_eq!(told.key, signature(&broken).key);
    }
}

#[test]
fn every_octet_of_a_signed_message_counts() {
    let message = signed(NOW);
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        let Ok(query) = Query::head(&changed) else { continue };
        let Ok(records) = Records::read(&changed, query.end) else { continue };
        let Ok(Some(signature)) = Signature::of(&changed, &records) else { continue };
        // The id before it was forwarded is in the signature.
        assert!(at < 2 || keys().check(&changed, signature, NOW).is_err(), "{at}");
    }
}

#[test]
fn a_signature_stands_last_and_alone() {
    let message = signed(NOW);
    let begin = signature(&message).begin;
    let twice = [&message[..], &message[begin..]].concat();
    let read = |mut message: Vec<u8>, counts: [u8; 3]| {
        [7, 9, 11].iter().zip(counts).for_each(|(at, count)| message[*at] = count);
        let query = Query::head(&message).ok().unwrap();
        Signature::of(&message, &Records::read(&message, query.end).unwrap()).map(|found| found.is_some())
    };
    assert_eq!(read(message.clone(), [0, 0, 1]), Ok(true));
    assert_eq!(read(message.clone(), [1, 0, 0]), Err(()));
    assert_eq!(read(message.clone(), [0, 1, 0]), Err(()));
    assert_eq!(read(twice.clone(), [0, 0, 2]), Err(()));
    assert_eq!(read(twice, [0, 1, 1]), Err(()));
    let mut other_class = message.clone();
    let class = begin + name("all").wire().len() + 2;
    other_class[class + 1] = 1;
    assert_eq!(read(other_class, [0, 0, 1]), Err(()));
}

#[test]
fn a_key_may_do_what_its_settings_say() {
    let zone = name("svc.mcrun.test");
    let key = key(
        "k",
        "write = [\"svc.mcrun.test/mcq\", \"SVC.mcrun.test/_acme-challenge.*\"]\ntransfer = [\"svc.mcrun.test\"]",
    );
    let may = |text: &str| key.may_write(&zone, &Name::within(text, &zone).unwrap());
    assert!(may("mcq") && may("_acme-challenge.mcq") && may("_acme-challenge.a.b"));
    assert!(!may("mcr") && !may("@") && !may("x.mcq") && !may("*"));
    assert!(key.may_transfer(&zone) && !key.may_transfer(&name("mcrun.test")));
    assert!(!key.may_write(&name("mcrun.test"), &name("mcq.svc.mcrun.test")));
}

#[test]
fn mistakes_in_settings_are_told_without_the_secret() {
    for (text, secret, words) in [
        ("", &b"not base64!"[..], "not base64"),
        ("", b"c2hvcnQ=", "fewer than 16"),
        ("", b"", "fewer than 16"),
        ("write = [\"mcrun.test\"]", SECRET, "names no record"),
        ("write = [\"mcrun.test/[\"]", SECRET, "capability"),
    ] {
        let error = Key::new("k", &settings(text), secret).unwrap_err();
        let said = format!("{error:?}");
        assert!(said.contains(words), "{said}");
        assert!(
            !said.contains("bWNyd") && !said.contains("c2hvcnQ") && !said.contains("not base64!"),
            "{said}"
        );
    }
    assert!(toml::from_str::<KeySettings>("secret = \"x\"\nalgorithm = \"hmac-md5\"").is_err());
    assert!(toml::from_str::<KeySettings>("secret = \"x\"\nwirte = []").is_err());
    assert!(Keys::new(vec![key("a", ""), key("A.", "")]).is_err());
    assert!(!format!("{:?}", keys()).contains("signer"));
}
