//! Whose connections are: the header of the PROXY protocol, in and out.

use std::io::Write;

use routes::settings::Settings;
use serde_json::json;

use crate::support::{Echo, Running, client_hello, read_all, read_exactly};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x01\x00\x01\xbb";

fn behind_a_proxy() -> Running {
    Running::with(&Settings { proxy_from: vec!["127.0.0.0/8".parse().unwrap()], ..Settings::default() })
}

#[test]
fn a_back_end_is_told_the_clients_address() {
    for (version, begin) in [("v1", "PROXY TCP4 127.0.0.1 127.0.0.1 "), ("v2", "\r\n\r\n\0\r\nQUIT\n")] {
        let (running, echo) = (Running::start(), Echo::start(""));
        let route = json!({ "mode": "l4", "send_proxy": version, "backends": [echo.address.to_string()] });
        running.put("*.example.net", route, None);
        let hello = client_hello("a.example.net", &[]);
        let mut client = running.connect();
        client.write_all(&hello).unwrap();
        let expected = match version {
            "v1" => {
                format!("{begin}{} {}\r\n", client.local_addr().unwrap().port(), running.port()).into_bytes()
            }
            _ => {
                let mut header =
                    [begin.as_bytes(), &[0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]].concat();
                header.extend(client.local_addr().unwrap().port().to_be_bytes());
                header.extend(running.port().to_be_bytes());
                header
            }
        };
        assert_eq!(read_exactly(&mut client, expected.len()), expected);
        assert_eq!(read_exactly(&mut client, hello.len()), hello);
    }
}

#[test]
fn a_trusted_proxy_says_whose_connection_it_is() {
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.7 256 443\r\n".as_slice(), V2] {
        let (running, echo) = (behind_a_proxy(), Echo::start(""));
        let route = json!({
            "mode": "l4", "send_proxy": "v1", "backends": [echo.address.to_string()],
            "access": { "allow": ["192.0.2.0/24"] },
        });
        running.put("*.example.net", route, None);
        let hello = client_hello("a.example.net", &[]);
        let mut client = running.connect();
        // The header and what follows may come together, or one octet at a time.
        let octets = [header, &hello].concat();
        for octet in &octets {
            client.write_all(std::slice::from_ref(octet)).unwrap();
        }
        let told = b"PROXY TCP4 192.0.2.1 198.51.100.7 256 443\r\n";
        assert_eq!(read_exactly(&mut client, told.len()), told);
        assert_eq!(read_exactly(&mut client, hello.len()), hello);
    }
}

#[test]
fn a_trusted_proxy_must_say_it() {
    let (running, echo) = (behind_a_proxy(), Echo::start(""));
    running.put("*.example.net", json!({ "mode": "l4", "backends": [echo.address.to_string()] }), None);
    let mut client = running.connect();
    client.write_all(&client_hello("a.example.net", &[])).unwrap();
    assert_eq!(read_all(&mut client), b"");
    assert_eq!(echo.connections(), 0);
}

#[test]
fn nobody_else_is_believed() {
    let (running, echo) = (Running::start(), Echo::start(""));
    running.put("*.example.net", json!({ "mode": "l4", "backends": [echo.address.to_string()] }), None);
    let mut client = running.connect();
    client.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.7 256 443\r\n").unwrap();
    let _ = client.write_all(&client_hello("a.example.net", &[]));
    let answer = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(echo.connections(), 0);
}
