//! What an engine says when it is sound, and all the ways in which that can be wrong.

use serde_json::{Value, json};

const ID: &str = "4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66";

const CONTAINER: &str = r#"{
    "Id": "4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66", "Name": "/web", "Path": "/bin/sleep",
    "Args": ["600"], "Image": "sha256:aa", "ImageName": "localhost/web:v1", "RestartCount": 0,
    "State": {"Status": "running", "Pid": 0, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z", "CgroupPath": ""},
    "Mounts": [{"Type": "bind", "Name": "", "Source": "/srv", "Destination": "/srv", "RW": true}],
    "BoundingCaps": ["CAP_CHOWN"],
    "NetworkSettings": {"Networks": {"podman": {}}},
    "Config": {"User": "", "Env": ["A=1"], "WorkingDir": "/", "Image": "web:v1", "StopSignal": "SIGTERM",
        "StopTimeout": 10, "Labels": {"mcrun.managed": "1", "mcrun.service": "web"}, "Entrypoint": ["/bin/sleep"],
        "Cmd": ["600"]},
    "HostConfig": {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "CapAdd": [], "Privileged": false,
        "ReadonlyRootfs": false, "Memory": 0, "NanoCpus": 0, "CpuQuota": 0, "CpuPeriod": 0, "Devices": [],
        "Binds": ["/srv:/srv:rw"], "Ulimits": []}
}"#;

const CONTAINERS: &str = r#"[{"Id": "4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66ad9a0b2e4f66", "Names": ["/web"],
    "Image": "web:v1", "State": "running", "Labels": {"mcrun.managed": "1"}}]"#;

const IMAGE: &str = r#"{"Id": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "RepoTags": ["localhost/web:v1"], "RepoDigests": [], "Size": 5, "Created": "2026-01-01T00:00:00Z",
    "Digest": "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "Labels": {"a": "b"},
    "Config": {"User": "", "Env": ["PATH=/bin"], "Cmd": ["sleep"], "Entrypoint": null, "WorkingDir": "/",
        "Labels": {"a": "b"}, "StopSignal": "", "Healthcheck": null, "Volumes": {}, "ExposedPorts": {}}}"#;

const IMAGES: &str = r#"[{"Id": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "RepoTags": ["localhost/web:v1"], "RepoDigests": null, "Size": 5, "Created": 1, "Labels": null}]"#;

const SESSION: &str = r#"{"Id": "aabb"}"#;

/// The documents that are changed, by the end of their path. The status of a program is not one: a process id that is told
/// there would be believed.
pub(crate) const DOCUMENTS: [(&str, &str); 5] = [
    ("/containers/web/json", CONTAINER),
    ("/containers/json", CONTAINERS),
    ("/images/web%3Av1/json", IMAGE),
    ("/images/json", IMAGES),
    ("/containers/web/exec", SESSION),
];

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nLibpod-API-Version: 4.3.1\r\nServer: Docker/20.10\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What a sound engine says, with `instead` in place of the document.
pub(crate) fn sound(method: &str, path: &str, instead: Option<Vec<u8>>) -> Vec<u8> {
    let plain = path.split('?').next().unwrap_or_default();
    let own = |body: &str| answer("200 OK", instead.as_deref().unwrap_or(body.as_bytes()));
    match method {
        "GET" if plain.ends_with("/_ping") => answer("200 OK", b"OK"),
        "GET" if plain.ends_with("/containers/json") => own(CONTAINERS),
        "GET" if plain.contains("/containers/") && plain.ends_with("/logs") => {
            answer("200 OK", b"\x01\0\0\0\0\0\0\x252026-01-01T00:00:00.000000000Z a line\n")
        }
        "GET" if plain.contains("/containers/") && plain.ends_with("/json") => own(CONTAINER),
        "GET" if plain.ends_with("/images/json") => own(IMAGES),
        "GET" if plain.contains("/images/") => own(IMAGE),
        "GET" if plain.contains("/exec/") => {
            answer("200 OK", br#"{"ExitCode": 0, "Pid": 0, "Running": false}"#)
        }
        "POST" if plain.ends_with("/containers/create") => {
            answer("201 Created", json!({ "Id": ID, "Warnings": [] }).to_string().as_bytes())
        }
        "POST" if plain.contains("/containers/") && plain.ends_with("/exec") => own(SESSION),
        "POST" if plain.contains("/exec/") => answer("200 OK", b"\x01\0\0\0\0\0\0\x03hi\n"),
        "DELETE" if plain.contains("/images/") => answer("200 OK", b"[]"),
        "DELETE" => answer("200 OK", b"[]"),
        _ => answer("204 No Content", b""),
    }
}

/// Whole answers that are wrong, each with its name.
pub(crate) fn broken_answers() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| all.push((name.to_owned(), bytes));
    add("nothing", Vec::new());
    add("no HTTP", b"\0\xff\xfe garbage \r\n\r\n".to_vec());
    add("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    add("an old version", b"HTTP/0.9 200 OK\r\n\r\n[]".to_vec());
    add("a version to come", b"HTTP/9.9 200 OK\r\n\r\n[]".to_vec());
    add("no status", b"HTTP/1.1\r\n\r\n".to_vec());
    add("a status of letters", b"HTTP/1.1 abc OK\r\n\r\n".to_vec());
    for status in
        ["100", "101", "199", "204", "301", "304", "400", "404", "409", "418", "500", "503", "599", "999"]
    {
        add(&format!("status {status} without a body"), answer(&format!("{status} X"), b""));
        add(&format!("status {status} with a list"), answer(&format!("{status} X"), b"[]"));
    }
    let words = json!({ "message": "x".repeat(3 << 20), "cause": "y".repeat(1 << 20) }).to_string();
    add("words without end", answer("500 X", words.as_bytes()));
    add("words that control", answer("500 X", br#"{"message": "\u001b[2J\u0007\r\n", "cause": "\u0000"}"#));
    add("words of another kind", answer("500 X", br#"{"message": {"a": [1]}, "cause": 5}"#));
    for (name, body) in [
        ("empty", ""),
        ("null", "null"),
        ("true", "true"),
        ("a number", "5"),
        ("a text", "\"x\""),
        ("a list", "[]"),
        ("a list of null", "[null]"),
        ("a list of lists", "[[[]]]"),
        ("a table", "{}"),
        ("a list of tables", "[{}]"),
        ("cut", "[{\"Id\": \"4f"),
        ("followed by more", "[] []"),
        ("not a number", "[NaN]"),
        ("a number beyond", "[1e999999]"),
        ("keys that come twice", r#"{"Id": "a", "Id": "b"}"#),
        ("half a letter", "\"\\ud800\""),
    ] {
        add(&format!("body: {name}"), answer("200 OK", body.as_bytes()));
    }
    add("body: no text", answer("200 OK", b"[\"\xff\xfe\"]"));
    add("body: deep", answer("200 OK", "[".repeat(200_000).as_bytes()));
    add("body: deep tables", answer("200 OK", "{\"a\":".repeat(200_000).as_bytes()));
    add("body: wide", answer("200 OK", format!("[{}null]", "{},".repeat(200_000)).as_bytes()));
    add("body: too large", answer("200 OK", &vec![b' '; 17 << 20]));
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n[]").into_bytes();
    add("a length too long", head("Content-Length: 100"));
    add("a length too short", head("Content-Length: 1"));
    add("a length beyond", head("Content-Length: 99999999999999999999"));
    add("a length below nothing", head("Content-Length: -1"));
    add("two lengths", head("Content-Length: 2\r\nContent-Length: 5"));
    add("a length and pieces", head("Content-Length: 2\r\nTransfer-Encoding: chunked"));
    add("pieces out of form", head("Transfer-Encoding: chunked\r\n\r\nzz\r\n"));
    add(
        "a piece without end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx".to_vec(),
    );
    add("no length", b"HTTP/1.1 200 OK\r\n\r\n[]".to_vec());
    add("a header out of form", head("no colon here"));
    add("a header of bytes", b"HTTP/1.1 200 OK\r\nServer: \xff\xfe\r\nContent-Length: 2\r\n\r\n[]".to_vec());
    add("a header without end", [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'x'; 1 << 20]].concat());
    add(
        "headers without number",
        format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", "A: b\r\n".repeat(10_000)).into_bytes(),
    );
    add("compressed", head("Content-Encoding: gzip\r\nContent-Length: 2"));
    add("frames of no stream", answer("200 OK", &[9, 0, 0, 0, 0, 0, 0, 1, b'x']));
    add("a frame without end", answer("200 OK", &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x']));
    add("a frame that is cut", answer("200 OK", &[1, 0, 0]));
    all
}

/// `document` with one value changed, at every place and in every way.
pub(crate) fn mutations(document: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    places_in(document, String::new(), &mut places);
    let others = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!("\u{1b}[2J ../?x=/\0"),
        json!("x".repeat(100_000)),
        json!([]),
        json!({ "a": null }),
    ];
    let mut all = Vec::new();
    for place in places {
        for (index, other) in others.iter().enumerate() {
            let mut changed = document.clone();
            *changed.pointer_mut(&place).unwrap() = other.clone();
            all.push((format!("{place} #{index}"), changed));
        }
    }
    all
}

fn places_in(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places_in(inner, format!("{at}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places_in(inner, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}
