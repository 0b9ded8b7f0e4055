use super::*;

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

#[test]
fn names_are_absolute_and_in_lower_case() {
    assert_eq!(name("Hello.MCRUN.test"), name("hello.mcrun.test."));
    assert_eq!(name("hello.mcrun.test").wire(), b"\x05hello\x05mcrun\x04test\0");
    assert_eq!(name(".").to_string(), ".");
    assert_eq!(name("*.mcrun.test").to_string(), "*.mcrun.test");
    assert!(name("*.mcrun.test").is_wildcard());
    assert_eq!(name("_acme-challenge.mcrun.test").labels(), 3);
}

#[test]
fn what_means_something_in_a_zone_file_is_escaped() {
    let odd = Name::from_wire(b"\x0c@.\\\";() $\x00\x7f\xff\x01@\x04test\0").unwrap();
    let text = r#"\@\.\\\"\;\(\)\032\$\000\127\255.\@.test"#;
    assert_eq!(odd.to_string(), text);
    assert_eq!(name(text), odd);
    let zone = name("test");
    assert_eq!(Name::within(&odd.in_zone(&zone), &zone).unwrap(), odd);
    let outside = Name::from_wire(b"\x02a\\\0").unwrap();
    assert_eq!(Name::within(&outside.in_zone(&zone), &zone).unwrap_err().code, Code::DnsZone);
    let at = Name::from_wire(b"\x01@\x04test\0").unwrap();
    assert_eq!(at.in_zone(&zone), "\\@");
    assert_eq!(Name::within("\\@", &zone).unwrap(), at);
}

#[test]
fn names_of_other_alphabets_are_put_into_ascii() {
    assert_eq!(name("münchen.example").to_string(), "xn--mnchen-3ya.example");
    assert_eq!(Name::absolute("a\u{2f00}\u{fffd}.example").unwrap_err().code, Code::DnsName);
}

#[test]
fn what_is_no_name_is_refused() {
    let long_label = "a".repeat(64);
    let long = vec!["abcdefghi"; 26].join(".");
    for text in ["", "a..b", ".a", &long_label, &long, "a b", &"x".repeat(100_000)] {
        let error = Name::absolute(text).unwrap_err();
        assert_eq!(error.code, Code::DnsName, "{text}");
        assert!(error.message.len() < 300, "{}", error.message);
    }
}

#[test]
fn names_are_relative_to_their_zone_unless_they_end_in_a_dot() {
    let zone = name("mcrun.test");
    for (text, whole) in [
        ("@", "mcrun.test"),
        ("hello", "hello.mcrun.test"),
        ("a.b", "a.b.mcrun.test"),
        ("hello.mcrun.test.", "hello.mcrun.test"),
        ("hello.mcrun.test", "hello.mcrun.test.mcrun.test"),
    ] {
        assert_eq!(Name::within(text, &zone).unwrap(), name(whole), "{text}");
    }
    assert_eq!(Name::within("hello.example.", &zone).unwrap_err().code, Code::DnsZone);
    assert_eq!(Name::within("xmcrun.test.", &zone).unwrap_err().code, Code::DnsZone);
    assert_eq!(Name::within(&vec!["abcdefghi"; 25].join("."), &zone).unwrap_err().code, Code::DnsName);
}

#[test]
fn a_name_reads_the_same_in_its_zone() {
    let zone = name("mcrun.test");
    for text in ["@", "hello", "a.b", "*", "*.x", "we\\.ird", "_dmarc", "\\000x", "a\\032b", "a\\\\\\032b"] {
        assert_eq!(Name::within(text, &zone).unwrap().in_zone(&zone), text);
    }
    assert_eq!(name("other.example").in_zone(&zone), "other.example.");
    assert_eq!(Name::within("com", &Name::root()).unwrap().in_zone(&Name::root()), "com.");
}

#[test]
fn parents_end_at_the_root() {
    let parents: Vec<String> =
        std::iter::successors(Some(name("a.b.c")), Name::parent).map(|name| name.to_string()).collect();
    assert_eq!(parents, ["a.b.c", "b.c", "c", "."]);
}
