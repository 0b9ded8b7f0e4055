//! Python's clients: httpx, hyper-h2 and websockets, each with a script of its own that says what it saw.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::json;

use crate::backend;
use crate::stage::{HOST, Stage, run, script};

/// Each of `steps` must be a line of what a script says.
fn took(said: &str, steps: &[&str]) {
    for step in steps {
        assert!(said.lines().any(|line| line == *step), "{step} is missing:\n{said}");
    }
}

#[test]
fn httpx_is_answered_over_http_1_and_2() {
    let stage = Stage::new();
    stage.secure(backend::start(), json!({}));
    let said = run(script("by_httpx.py").args([HOST, &stage.port(), &stage.path("ca.pem")]));
    let each = ["get", "head", "post", "streamed", "uploaded in pieces", "fifty at once"];
    let steps: Vec<String> = ["HTTP/1.1", "HTTP/2"]
        .iter()
        .flat_map(|version| each.map(|step| format!("{version} {step}")))
        .collect();
    took(&said, &steps.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn hyper_h2_finds_every_frame_as_it_should_be() {
    let stage = Stage::new();
    stage.secure(backend::start(), json!({}));
    let said = run(script("by_hyper_h2.py").args([HOST, &stage.port(), &stage.path("ca.pem")]));
    took(
        &said,
        &[
            "settings",
            "ping",
            "interleaved",
            "windows",
            "taken back",
            "uploaded",
            "malformed",
            "too large",
            "goodbye",
        ],
    );
}

#[test]
fn websockets_are_carried_with_everything_that_they_say() {
    let stage = Stage::new();
    let mut program = script("by_websockets.py");
    program.args([HOST, &stage.port(), &stage.path("ca.pem")]);
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = said.next().unwrap().unwrap();
    stage.secure(address.parse().unwrap(), json!({}));
    let mut told = child.stdin.take().unwrap();
    writeln!(told, "go").unwrap();
    let said: Vec<String> = said.map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{said:#?}");
    took(
        &said.join("\n"),
        &[
            "compressed",
            "text",
            "binary",
            "fragments",
            "ping",
            "many",
            "closed by the client",
            "closed by the server",
        ],
    );
    stage.running.until(HOST, |figures| figures.tunnels == 0 && figures.active == 0);
}
