use super::*;

fn zone() -> Name {
    Name::absolute("mcrun.test").unwrap()
}

fn read(rtype: &str, text: &str) -> String {
    let rtype: RecordType = rtype.parse().unwrap();
    Value::parse(rtype, text, &zone()).unwrap_or_else(|error| panic!("{error}")).text(rtype)
}

#[test]
fn values_of_common_types_read_as_they_are_written() {
    for (rtype, text) in [
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("CNAME", "hello.mcrun.test."),
        ("DNAME", "other.example."),
        ("MX", "10 mail.example."),
        ("SRV", "0 5 443 web.mcrun.test."),
        ("TXT", "\"v=spf1 -all\""),
        ("TXT", "\"a\" \"b\""),
        ("NS", "ns1.mcrun.test."),
        ("PTR", "host.mcrun.test."),
    ] {
        assert_eq!(read(rtype, text), text, "{rtype}");
    }
    for (rtype, text) in [
        ("CAA", "0 issue \"letsencrypt.org\""),
        ("HTTPS", "1 . alpn=\"h2,h3\""),
        ("SVCB", "16 foo.example. port=53"),
        ("NAPTR", "100 50 \"s\" \"z3950+I2L+I2C\" \"\" _z3950._tcp.gatech.edu."),
        ("SSHFP", "4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"),
        ("TLSA", "3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"),
        ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
        ("HINFO", "\"PC\" \"Linux\""),
        ("TYPE65280", "\\# 3 ABCDEF"),
        ("LOC", "\\# 4 00000000"),
    ] {
        let rtype: RecordType = rtype.parse().unwrap();
        let value = Value::parse(rtype, text, &zone()).unwrap_or_else(|error| panic!("{rtype}: {error}"));
        let again = Value::parse(rtype, &value.text(rtype), &zone()).unwrap();
        assert_eq!(value, again, "{rtype} {}", value.text(rtype));
    }
}

#[test]
fn text_without_quotes_is_one_text_of_any_length() {
    assert_eq!(read("TXT", "v=spf1 ip4:192.0.2.0/24 -all; \"x"), "\"v=spf1 ip4:192.0.2.0/24 -all; \\\"x\"");
    let long = "x".repeat(300);
    assert_eq!(read("TXT", &long), format!("\"{}\" \"{}\"", &long[..255], &long[255..]));
    assert_eq!(read("TXT", ""), "\"\"");
}

#[test]
fn a_name_without_a_dot_lies_in_the_zone_and_others_are_whole() {
    assert_eq!(read("CNAME", "web"), "web.mcrun.test.");
    assert_eq!(read("CNAME", "@"), "mcrun.test.");
    assert_eq!(read("CNAME", "web.example"), "web.example.");
    assert_eq!(read("MX", "10 mail"), "10 mail.mcrun.test.");
    assert_eq!(read("MX", "10 mail.example"), "10 mail.example.");
}

#[test]
fn a_value_that_is_none_is_refused_with_the_reason() {
    for (rtype, text) in [
        ("A", "300.1.1.1"),
        ("A", "192.0.2.1 192.0.2.2"),
        ("A", ""),
        ("AAAA", "192.0.2.1"),
        ("MX", "mail.example."),
        ("MX", "70000 mail.example."),
        ("CNAME", "a..b"),
        ("CNAME", "x. ; y"),
        ("A", "192.0.2.1\nevil 0 IN A 192.0.2.2"),
        ("A", "(192.0.2.1"),
        ("TXT", "\"open"),
        ("TXT", &format!("\"{}\"", "x".repeat(256))),
        ("TYPE65280", "\\# 4 ABCDEF"),
        ("TYPE65280", "hello"),
        ("SOA", "a. b. 1 2 3"),
    ] {
        let rtype: RecordType = rtype.parse().unwrap();
        let error = Value::parse(rtype, text, &zone()).expect_err(text);
        assert_eq!(error.code, Code::DnsValue, "{text}");
        assert!(error.cause.is_some(), "{text}");
    }
}

#[test]
fn types_that_only_messages_have_cannot_be_set() {
    for text in ["ANY", "OPT", "AXFR", "TSIG", "TYPE0", "TYPE255", "NOPE", "TYPE70000", ""] {
        assert_eq!(text.parse::<RecordType>().unwrap_err().code, Code::DnsValue, "{text}");
    }
    assert_eq!("aaaa".parse::<RecordType>().unwrap(), RecordType::AAAA);
}

#[test]
fn a_set_has_each_value_once_whatever_the_case_of_its_names() {
    let texts = ["B.example.", "a.example.", "b.EXAMPLE."].map(str::to_owned);
    let set = RecordSet::parse(&zone(), "@", RecordType::NS, 60, &texts).unwrap();
    assert_eq!(set.texts(), ["a.example.", "B.example."]);
    let two = ["a.example.", "b.example."].map(str::to_owned);
    let error = RecordSet::parse(&zone(), "x", RecordType::CNAME, 60, &two).unwrap_err();
    assert_eq!(error.code, Code::DnsExclusive);
    assert_eq!(RecordSet::parse(&zone(), "x", RecordType::A, 60, &[]).unwrap_err().code, Code::DnsValue);
}

#[test]
fn what_no_text_can_say_is_written_in_octets() {
    let zone = Name::root();
    for (rtype, wire) in [
        ("CNAME", &b"\x04a)b;\x01@\0"[..]),
        ("SRV", b"\0\0\0\0\0\x50\x05 \xfb\"$\n\0"),
        // Parameters of services: more than one protocol, and one that would begin a line of its own.
        ("HTTPS", b"\0\x01\0\0\x01\0\x06\x02h2\x02h3"),
        ("HTTPS", b"\0\x01\0\0\x01\0\x0c\x0bh2\na A 1.2."),
        ("HTTPS", b"\0\x01\0\0\x01\0\x03\x02h\xb1"),
        ("TXT", b"\x05\"\\;(\n\x00"),
        ("TYPE65280", b""),
    ] {
        let rtype: RecordType = rtype.parse().unwrap();
        let value = Value::from_wire(rtype, wire).unwrap();
        let text = value.text(rtype);
        assert!(!text.contains('\n') && text.is_ascii() && !text.is_empty(), "{text}");
        assert_eq!(Value::parse(rtype, &text, &zone).unwrap(), value, "{text}");
    }
    assert!(Value::from_wire(RecordType::TXT, b"").is_err());
}

#[test]
fn a_parenthesis_that_stays_open_is_refused() {
    for text in ["\"a\" (", "\"a\" ( \"b\" ; )", "\"a\" ( \")\""] {
        let error = Value::parse(RecordType::TXT, text, &zone()).unwrap_err();
        assert_eq!(error.code, Code::DnsValue);
    }
    assert_eq!(read("TXT", "\"a\" ( \"b\" )"), "\"a\" \"b\"");
}
