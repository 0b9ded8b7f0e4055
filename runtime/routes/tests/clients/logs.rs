//! The log of requests: what a line says, whatever became of the request, and what happens to the file.

use std::collections::BTreeSet;
use std::path::Path;

use routes::settings::Settings;
use serde_json::{Value, json};

use crate::backend;
use crate::program::command;
use crate::stage::{HOST, Stage, run};
use crate::support::until;

fn logged(file: impl FnOnce(&tempfile::TempDir) -> std::path::PathBuf) -> Stage {
    Stage::with(|folder| {
        let settings = json!({ "access_log": { "file": file(folder), "size": 1 } });
        serde_json::from_value::<Settings>(settings).unwrap()
    })
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The lines of the log once there are so many.
fn wait(stage: &Stage, file: &str, number: usize) -> Vec<Value> {
    let file = stage.file(file);
    // A line that is being written is not whole yet.
    let whole = || std::fs::read_to_string(&file).is_ok_and(|text| text.is_empty() || text.ends_with('\n'));
    until(
        || whole().then(|| lines(&file)).filter(|lines| lines.len() >= number),
        || format!("{} lines", lines(&file).len()),
    )
}

#[test]
fn a_line_says_what_came_and_what_became_of_it() {
    let stage = logged(|folder| folder.path().join("access.log"));
    let backend = backend::start();
    stage.secure(backend, json!({}));
    let url = stage.url("https", "/octets/70?token=secret");
    stage.curl(&["--http2", "--user-agent", "tester/1", "--data", "0123456789", &url]);
    let line = wait(&stage, "access.log", 1).remove(0);
    let fields: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "agent", "backend", "client", "host", "method", "path", "protocol", "received", "route", "sent",
        "status", "time", "us",
    ];
    assert_eq!(fields, wanted.into_iter().collect());
    let said = json!({
        "agent": "tester/1", "backend": backend.to_string(), "client": "127.0.0.1", "host": HOST, "method": "POST",
        "path": "/octets/70", "protocol": "HTTP/2", "received": 10, "route": format!("{HOST}:{}", stage.port()),
        "sent": 70, "status": 200,
    });
    for (field, value) in said.as_object().unwrap() {
        assert_eq!(&line[field], value, "{field}");
    }
    let time = line["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert!(!std::fs::read_to_string(stage.file("access.log")).unwrap().contains("secret"));
}

#[test]
fn what_is_refused_is_logged_as_well() {
    let stage = logged(|folder| folder.path().join("access.log"));
    let backend = backend::start();
    let mut number = 0;
    let mut told = |terms: Value, more: &[&str]| {
        stage.plain(backend, terms);
        let url = stage.url("http", "/there");
        let seen =
            stage.curl(&[&["--output", "/dev/null", "--write-out", "%{http_code}", &url], more].concat());
        number += 1;
        let line = wait(&stage, "access.log", number).remove(number - 1);
        assert_eq!(line["status"].to_string(), seen, "{line}");
        assert_eq!((&line["path"], &line["client"]), (&json!("/there"), &json!("127.0.0.1")), "{line}");
        assert!(line.get("backend").is_none(), "{line}");
        format!("{seen} {}", line["problem"].as_str().unwrap_or_default())
    };
    assert_eq!(told(json!({ "access": { "deny": ["127.0.0.0/8"] } }), &[]), "403 this address may not come");
    let body = "x".repeat(2000);
    let limits = json!({ "limits": { "body": "1KiB" } });
    assert_eq!(told(limits, &["--data", &body]), "413 the body is too large");
    let limits = json!({ "limits": { "head": "1KiB" } });
    assert_eq!(told(limits, &["--header", &format!("x: {body}")]), "431 the head is too large");
    assert_eq!(told(json!({ "limits": { "connections": 0 } }), &[]), "503 too much is under way");
    assert_eq!(told(json!({ "maintenance": {} }), &[]), "503 ");
    stage.plain(backend, json!({ "limits": { "rate": 1 } }));
    let url = stage.url("http", "/often");
    let asked =
        ["--output", "/dev/null", "--output", "/dev/null", "--write-out", "%{http_code} ", &url, &url];
    assert_eq!(stage.curl(&asked), "200 429 ");
    let line = wait(&stage, "access.log", number + 2).remove(number + 1);
    assert_eq!((&line["status"], &line["problem"]), (&json!(429), &json!("too many requests")));
    // Connections that only go through are logged by what is known of them.
    let denied =
        json!({ "mode": "l4", "backends": [backend.to_string()], "access": { "deny": ["127.0.0.0/8"] } });
    stage.running.proxy.remove(&stage.running.key(HOST));
    stage.running.put("*", denied, None);
    crate::support::read_all(&mut stage.running.connect());
    let line = wait(&stage, "access.log", number + 3).remove(number + 2);
    assert_eq!((&line["protocol"], &line["problem"]), (&json!("l4"), &json!("this address may not come")));
}

#[test]
fn a_log_that_is_full_is_begun_anew_and_no_line_is_lost() {
    const REQUESTS: usize = 1200;
    let stage = logged(|folder| folder.path().join("access.log"));
    stage.plain(backend::start(), json!({}));
    let path = format!("/{}", "y".repeat(1000));
    let mut h2load = command("h2load");
    h2load.args(["--h1", "-n", &REQUESTS.to_string(), "-c", "4"]);
    h2load.arg(format!("--connect-to={}", stage.running.address)).arg(stage.url("http", &path));
    assert!(run(&mut h2load).contains(&format!("{REQUESTS} 2xx")));
    let all = || lines(&stage.file("access.log.1")).len() + lines(&stage.file("access.log")).len();
    let is_whole =
        || std::fs::read_to_string(stage.file("access.log")).is_ok_and(|text| text.ends_with('\n'));
    until(|| (is_whole() && all() == REQUESTS).then_some(()), || "lines are missing".to_owned());
    let old = std::fs::metadata(stage.file("access.log.1")).unwrap().len();
    assert!(old <= 1 << 20 && old > 1 << 19, "{old}");
}

#[test]
fn a_log_that_others_renamed_or_took_away_is_opened_anew() {
    let stage = logged(|folder| folder.path().join("access.log"));
    stage.plain(backend::start(), json!({}));
    let ask = |path: &str| stage.curl(&[&stage.url("http", path)]);
    ask("/first");
    wait(&stage, "access.log", 1);
    std::fs::rename(stage.file("access.log"), stage.file("of-yesterday")).unwrap();
    ask("/second");
    assert_eq!(wait(&stage, "access.log", 1)[0]["path"], "/second");
    std::fs::remove_file(stage.file("access.log")).unwrap();
    ask("/third");
    assert_eq!(wait(&stage, "access.log", 1)[0]["path"], "/third");
    assert_eq!(lines(&stage.file("of-yesterday")).len(), 1);
}

/// A file system of one megabyte that is gone with the test.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = command("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let mut small = None;
    let stage = logged(|folder| {
        let place = folder.path().join("small");
        std::fs::create_dir(&place).unwrap();
        run(command("mount").args(["-t", "tmpfs", "-o", "size=64k", "mcrun-test"]).arg(&place));
        small = Some(Small(place.clone()));
        place.join("access.log")
    });
    stage.plain(backend::start(), json!({}));
    let ask = |path: &str| stage.curl(&["--write-out", " %{http_code}", &stage.url("http", path)]);
    assert!(ask("/before").ends_with(" 200"));
    wait(&stage, "small/access.log", 1);
    let mut junk = std::fs::File::create(stage.file("small/junk")).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut junk).unwrap_err();
    // A page of the file may still have room.
    let path = format!("/{}", "z".repeat(900));
    for _ in 0..20 {
        assert!(ask(&path).ends_with(" 200"));
    }
    let lost = || {
        let metrics = stage.running.proxy.metrics();
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("mcrun_routes_log_lost_total ")?.parse::<u64>().ok())
    };
    until(|| lost().filter(|lost| *lost > 0), || format!("{:?} lines were lost", lost()));
    drop(junk);
    std::fs::remove_file(stage.file("small/junk")).unwrap();
    assert!(ask("/after").ends_with(" 200"));
    let file = stage.file("small/access.log");
    let text = until(
        || {
            std::fs::read_to_string(&file)
                .ok()
                .filter(|text| text.contains("\"/after\"") && text.ends_with('\n'))
        },
        || std::fs::read_to_string(&file).unwrap_or_default(),
    );
    let broken: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && serde_json::from_str::<Value>(line).is_err())
        .collect();
    assert!(
        broken.iter().all(|line| !line.contains("/after")),
        "no line follows on one that was cut: {broken:?}"
    );
    drop(small);
}
