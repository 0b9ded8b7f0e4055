//! A secret reaches the places that its `to` lists, and nothing that mcrun stores or shows has it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rustix::process::Signal;

use crate::harness::{Place, until};
use crate::processes;

const SECRET: &str = "correct-horse-battery-staple";

/// A place with one secret that may go to the shell and to one web address.
fn place_with(address: &str) -> Place {
    let place = Place::new();
    fs::write(place.at("secret"), format!("{SECRET}\n")).unwrap();
    place.configure(&format!(
        "[drivers]\ncontainers = \"process\"\n[secrets.\"web/key\"]\nfile = \"{}\"\n\
         to = [\"exec:/usr/bin/dash\", \"http:{address}/**\"]\n",
        place.at("secret")
    ));
    place
}

/// Looks for the secret in every byte that mcrun has stored.
#[track_caller]
fn nothing_stored(place: &Place) {
    let mut folders = vec![place.state()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).unwrap();
                looked += 1;
                let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
                assert!(!found, "the secret is in {}", entry.path().display());
            }
        }
    }
    assert!(looked > 1, "there is a journal to look into");
}

/// A web server that answers each of `count` requests with what it was sent, and then hands them over.
pub(crate) fn echo(count: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || (0..count).map(|_| answer(&listener)).collect());
    (address, server)
}

fn answer(listener: &TcpListener) -> String {
    let (mut connection, _) = listener.accept().unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = connection.read(&mut buffer).unwrap();
        received.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) || count == 0 {
            let echoed = text.replace("\r\n", "|");
            let reply = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{echoed}",
                echoed.len()
            );
            connection.write_all(reply.as_bytes()).unwrap();
            return text;
        }
    }
}

const EVERYWHERE: &str = r#"
local key = secrets.get("web/key")
local shell = 'printf "%s %s " "$1" "$KEY" > "$2"; cat >> "$2"; cat "$2"; cat "$2" >&2; exit 3'
local out = exec.run {
    argv = { "/bin/sh", "-c", shell, "sh", "user:" .. key, args[1] .. "/got" },
    env = { KEY = key },
    stdin = "in:" .. key,
    check = false,
    assume = { code = 3, stdout = "", stderr = "" },
}
print("exec", out.stdout, out.stderr)
log.info(out.stdout, { text = out.stderr })
local looked = exec.query { argv = { "/bin/sh", "-c", 'echo "$1 $KEY"; cat', "sh", key }, env = { KEY = key }, stdin = key }
print("query", looked.stdout)
local assumed = { status = 200, headers = {}, body = "", url = "" }
local sent = http.request { url = args[2] .. "/a", headers = { authorization = "Bearer " .. key }, body = "b:" .. key, assume = assumed }
print("body", sent.body)
print("json", http.request({ url = args[2] .. "/b", json = { list = { key } }, assume = assumed }).body)
print("get", http.get({ url = args[2] .. "/c", headers = { ["x-key"] = key } }).body)
exec.run { argv = { "/bin/sh", "-c", 'echo "$1" >&2; exit 4', "sh", key } }
"#;

#[test]
fn a_listed_secret_reaches_arguments_environment_input_headers_and_bodies() {
    // The plan asks as well, since `http.get` only looks.
    let (address, server) = echo(4);
    let place = place_with(&address);
    let script = place.script("a.lua", EVERYWHERE);
    let folder = place.path().to_str().unwrap().to_owned();
    let words = [script.as_str(), &folder, &address, "--allow", "*"];
    let planned = place.ends(0, &[&["plan"], words.as_slice()].concat());
    let ran = place.ends(1, &words);
    ran.says(&["MC-X003", "secret(web/key)"]);
    assert_eq!(place.read("got"), format!("user:{SECRET} {SECRET} in:{SECRET}"));
    let received = server.join().unwrap();
    assert!(received[1].contains(&format!("authorization: Bearer {SECRET}")), "{}", received[1]);
    assert!(received[1].ends_with(&format!("b:{SECRET}")), "{}", received[1]);
    assert!(received[2].ends_with(&format!(r#"{{"list":["{SECRET}"]}}"#)), "{}", received[2]);
    assert!(received[3].contains(&format!("x-key: {SECRET}")), "{}", received[3]);
    let run = place.newest_id();
    let shown = [
        planned,
        ran,
        place.run(&["show", &run]),
        place.run(&["show", &run, "--json"]),
        place.run(&["logs", &run, "--json"]),
        place.run(&["runs", "--json"]),
    ];
    for seen in &shown {
        assert!(!seen.stdout.contains(SECRET) && !seen.stderr.contains(SECRET), "{seen}");
    }
    assert_eq!(shown[1].stdout.matches("secret(web/key)").count(), 3 + 3 + 3 + 2 + 1 + 1, "{}", shown[1]);
    nothing_stored(&place);
}

#[test]
fn what_a_secret_may_not_be_is_refused_in_the_plan_already() {
    let place = place_with("http://127.0.0.1:1");
    for (attempt, said) in [
        ("exec.run { argv = { \"/bin/echo\", key } }", "exec:/usr/bin/echo"),
        ("exec.run { argv = { \"/bin/sh\" }, env = { PATH = key } }", "env.PATH"),
        ("exec.run { argv = { key } }", "argv[1]"),
        ("http.request { url = \"http://127.0.0.1:2/\", body = key }", "http:http://127.0.0.1:2/"),
        ("http.request { url = \"http://127.0.0.1:2/\", headers = { a = key } }", "http:http://127.0.0.1:2/"),
    ] {
        let script = place.script("a.lua", &format!("local key = secrets.get(\"web/key\")\n{attempt}\n"));
        for words in [vec!["plan", &script, "--allow", "*"], vec![script.as_str(), "--allow", "*"]] {
            let seen = place.run(&words);
            assert!(matches!(seen.code, Some(1 | 4)), "{attempt}: {seen}");
            let text = format!("{}{}", seen.stdout, seen.stderr);
            assert!(text.contains("MC-P011") && text.contains(said), "{attempt}: {seen}");
        }
    }
    nothing_stored(&place);
}

#[test]
fn a_secret_is_masked_again_after_a_resume() {
    let place = place_with("http://127.0.0.1:1");
    let script = place.script(
        "a.lua",
        "secrets.get(\"web/key\")\nsleep(\"1s\")\nprint(\"read\", files.read({ path = args[1] }).content)\n",
    );
    let host = place.start(&[&script, &place.at("secret"), "--allow", "*"]);
    let run = until("the run waits", || {
        let run = place.runs().into_iter().next()?;
        (run["state"] == "waiting").then(|| run["id"].as_str().unwrap().to_owned())
    });
    processes::signal(host.pid(), Signal::INT);
    assert_eq!(host.end().code, Some(6));
    let seen = place.ends(0, &["resume", &run]);
    assert_eq!(seen.stdout, "read\tsecret(web/key)\n\n", "{seen}");
    nothing_stored(&place);
}
