//! Texts that are out of form: `mcrun.toml`, service definitions, inventories, and words of the command line, each damaged
//! from a seed or taken from a table. Whatever is read of them is a value or a coded error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PROGRAM, Place, Seen, report};

/// What one command may take, starting included.
const PATIENCE: Duration = Duration::from_secs(20);

/// Numbers that are the same in every run (xorshift64*).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(number % limit.max(1) as u64).unwrap()
    }
}

const VALUES: [&str; 13] = [
    "true",
    "-1",
    "1e308",
    "99999999999999999999",
    "\"\"",
    "\"../../etc\"",
    "\"\\u0000\"",
    "[]",
    "[[[[]]]]",
    "{ a = { b = 1 } }",
    "1979-05-27T07:32:00Z",
    "nan",
    "\"\\u001b[2J\"",
];

/// `text` damaged in one of eight ways.
fn damaged(text: &str, seed: u64) -> String {
    let mut numbers = Numbers::of(seed + 1);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = numbers.below(lines.len());
    match seed % 8 {
        0 => return text.chars().take(numbers.below(text.chars().count())).collect(),
        1 => {
            let mut letters: Vec<char> = text.chars().collect();
            for _ in 0..=numbers.below(6) {
                let place = numbers.below(letters.len());
                let others = ['"', '[', ']', '=', '\n', '\0', '\u{1b}', '.', '{', '#', 'é', '\u{FFFD}'];
                letters[place] = others[numbers.below(others.len())];
            }
            return letters.into_iter().collect();
        }
        2 | 3 => {
            // A value of another kind, where there is a value.
            let with_value: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(" = ")).collect();
            let at = with_value[numbers.below(with_value.len())];
            let (key, _) = lines[at].split_once(" = ").unwrap();
            lines[at] = format!("{key} = {}", VALUES[numbers.below(VALUES.len())]);
        }
        4 => {
            let line = lines.remove(at);
            lines.insert(numbers.below(lines.len()), line);
        }
        5 => lines.insert(at, lines[at].clone()),
        6 => {
            lines.remove(at);
        }
        _ => lines[at] = lines[at].replacen(|c: char| c.is_alphabetic(), "x", 1),
    }
    lines.join("\n")
}

#[track_caller]
pub(crate) fn is_told(seen: &Seen, started: Instant, what: &str) {
    assert!(started.elapsed() < PATIENCE, "{what}: took {:?}", started.elapsed());
    let code = seen.code.unwrap_or_else(|| panic!("{what}: ended by a signal\n{seen}"));
    assert!((0..=7).contains(&code), "{what}\n{seen}");
    assert!(!seen.stderr.contains("panicked") && !seen.stderr.contains("MC-Z001"), "{what}\n{seen}");
    let has_code =
        seen.stderr.contains("MC-") || seen.stdout.contains("MC-") || seen.stderr.contains("error:");
    assert!(code == 0 || has_code, "{what}: no word of what is wrong\n{seen}");
    // The command line's own parser repeats the word that it does not know.
    assert!(seen.stderr.len() < 120_000, "{what}: {} bytes of words", seen.stderr.len());
    let controls = |text: &str| text.chars().find(|c| c.is_control() && !"\n\t\r".contains(*c));
    assert_eq!(controls(&seen.stderr), None, "{what}\n{seen}");
}

const CONFIG: &str = r#"[node]
name = "rift"

[drivers]
containers = "process"

[drivers.podman]
socket = "/run/podman/podman.sock"

[drivers.docker]
socket = "/run/docker.sock"

[policy]
scripts = ["containers", "files:write:/srv/**", "exec:write:/usr/bin/git"]

[secrets."mcq/db"]
file = "/run/credentials/mcq-db"
to = ["containers:mcq*"]

[secrets.other]
command = ["pass", "other"]
to = ["http:https://api.example/**"]
"#;

#[test]
fn a_configuration_out_of_form_is_told_with_its_code() {
    let place = Place::new();
    let mut refused = 0;
    let table = [
        "".to_owned(),
        "\u{FEFF}[node]\n".to_owned(),
        "[node\n".to_owned(),
        "[[node]]\n".to_owned(),
        "[node]\n[node]\n".to_owned(),
        "node = 5\n".to_owned(),
        "[policy]\n".to_owned(),
        "[policy]\nscripts = [\"\"]\n".to_owned(),
        "[policy]\nscripts = [\"nothing:read\"]\n".to_owned(),
        "[policy]\nscripts = [\"files:write:[\"]\n".to_owned(),
        format!("[policy]\nscripts = [\"files:write:{}\"]\n", "{a,".repeat(2000)),
        "[secrets.a]\n".to_owned(),
        "[secrets.a]\nfile = \"a\"\nenv = \"B\"\n".to_owned(),
        "[secrets.a]\ncommand = []\n".to_owned(),
        "[secrets.\"\\u001b[2J\"]\nfile = 5\n".to_owned(),
        "[drivers]\ncontainers = \"lxc\"\n".to_owned(),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(50_000)),
        format!("[{}a]\n", "a.".repeat(50_000)),
        format!("[node]\nname = \"{}\"\n", "x".repeat(3_000_000)),
        format!("\"{}\" = 1\n", "k".repeat(100_000)),
    ];
    let texts = table.into_iter().chain((0..104).map(|seed| damaged(CONFIG, seed)));
    let mut count = 0;
    for text in texts {
        std::fs::write(place.config(), &text).unwrap();
        let started = Instant::now();
        let seen = place.run(&["runs", "--json"]);
        let start: String = text.chars().take(300).collect();
        is_told(&seen, started, &start);
        count += 1;
        refused += usize::from(seen.code != Some(0));
    }
    for bytes in [&b"\xff\xfe"[..], b"name = \"\xc3\x28\""] {
        std::fs::write(place.config(), bytes).unwrap();
        place.ends(2, &["runs", "--json"]).says(&["MC-U002"]);
        count += 1;
    }
    assert!(count > 120 && refused > 60, "{refused} of {count} were refused");
    report("configurations out of form", count, "files", 0);
}

/// Runs the program with little memory and time, so that what has no end ends it and not the machine.
#[expect(clippy::disallowed_methods, reason = "the suite starts the program under test")]
fn bounded(place: &Place, words: &[&str]) -> Seen {
    let like = place.command(words);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -v 2000000; exec timeout 15 \"$0\" \"$@\"", PROGRAM]).args(words);
    command.env_clear().current_dir(place.path()).stdin(Stdio::null());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    seen(command)
}

fn seen(mut command: Command) -> Seen {
    let output = command.output().expect("the program starts");
    Seen {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_configuration_that_is_no_file_is_told_with_its_code() {
    let place = Place::new();
    let pipe = place.at("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::fs::write(place.at("large"), vec![b'\n'; 2 << 20]).unwrap();
    for path in [
        "/dev/zero",
        "/dev/null",
        "/proc/self/mem",
        "/",
        "/nonexistent/mcrun.toml",
        &pipe,
        &place.at("large"),
    ] {
        let started = Instant::now();
        let seen = bounded(&place, &["--config", path, "runs", "--json"]);
        is_told(&seen, started, path);
        let is_empty = path == "/dev/null";
        assert_eq!(seen.code, Some(if is_empty { 0 } else { 2 }), "{path}: {seen}");
        assert_eq!(seen.stderr.contains("MC-U002"), !is_empty, "{path}: {seen}");
    }
}

const DEFINITION: &str = r#"name = "mcr"
node = "test"
tier = "core"
active = true
path = "mcr"

[build.images]
mcr = "Dockerfile.api"

[[components]]
name = "api"
image = "registry.test:8443/mcr:v1.2.1"
volumes = ["/srv/mcr:/srv/mcr"]
cmd = ["server", "--config", "/srv/mcr/mcr.toml"]
env = ["LOG_LEVEL=info", "EMPTY="]
restart = "unless-stopped"
user = "0:0"

[[components.routes]]
name = "rest"
port = 8443
mode = "l4"

[[components.routes]]
port = 8080
mode = "l7"
hostname = "mcr.metacircular.net"
public = true
"#;

const INVENTORY: &str = r#"variables = { domain = "svc.test" }

[nodes.rift]
arch = "amd64"
addresses = ["192.168.88.181", "100.95.252.120"]
groups = ["workers"]
variables = { log = "debug" }

[nodes.svc]
addresses = ["100.106.232.4"]
role = "edge"

[groups.workers]
variables = { tier = "worker" }

[groups.public]
nodes = ["svc"]

[services.mcq]
node = "rift"
definition = "mcq.toml"
"#;

const READ_ALL: &str = r#"
local deploy = require("@std/deploy")
local inventory = require("@std/inventory")
local function try(kind, read, texts)
    for index, text in texts do
        local ok, value = pcall(read, { text = text, file = "a.toml" })
        local code = if ok then "done" elseif type(value) == "table" then value.code else `raised {value}`
        print(`{kind} {index} {code}`)
    end
end
try("definition", deploy.from_toml, json.decode(require("./definitions")))
try("inventory", inventory.read, json.decode(require("./inventories")))
"#;

#[test]
fn definitions_and_inventories_out_of_form_are_errors_with_a_code() {
    let place = Place::new();
    let module = |text: &str, seeds: std::ops::Range<u64>| {
        let texts: Vec<String> = seeds.map(|seed| damaged(text, seed)).collect();
        let json = serde_json::to_string(&texts).unwrap();
        assert!(!json.contains("]=====]"));
        format!("return [=====[{json}]=====]")
    };
    place.script("definitions.luau", &module(DEFINITION, 0..500));
    place.script("inventories.luau", &module(INVENTORY, 0..300));
    let script = place.script("read.lua", READ_ALL);
    let seen = place.ends(0, &[&script, "--limit", "source=2MiB", "--limit", "exec=60s"]);
    let lines: Vec<&str> = seen.stdout.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() >= 800, "{} lines", lines.len());
    let mut refused = 0;
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (kind, index, code) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let known = ["done", "MC-A001", "MC-A002", "MC-D001", "MC-D002"];
        let seed = index.parse::<u64>().map_or(0, |index| index - 1);
        let text = || damaged(if kind == "definition" { DEFINITION } else { INVENTORY }, seed);
        assert!(known.contains(&code), "{line}\n{}", text());
        refused += usize::from(code != "done");
    }
    assert!(refused > 400, "{refused} were refused");
    report("definitions and inventories out of form", 800, "texts", 0);
}

/// Commands that take a word and write nothing wherever it leads.
const WITH_WORD: [&[&str]; 22] = [
    &["show"],
    &["logs"],
    &["resume"],
    &["cancel"],
    &["undo"],
    &["undo", "--plan"],
    &["releases"],
    &["rollback"],
    &["undeploy"],
    &["stop"],
    &["start"],
    &["restart"],
    &["status"],
    &["images"],
    &["explain"],
    &["emit"],
    &["man"],
    &["completions"],
    &["plan"],
    &["run"],
    &["check"],
    &["runs", "--only"],
];

fn hostile_words() -> Vec<OsString> {
    let texts = [
        "",
        " ",
        "-",
        "..",
        "/",
        "\u{1b}[2J\u{7}",
        "a\nb\rc",
        "%s%n%x",
        "'; DROP TABLE runs; --",
        "0",
        "-1",
        "99999999999999999999",
        "\u{202e}cod",
        "{}",
        "mcq@",
        "--limit",
    ];
    let mut words: Vec<OsString> = texts.iter().map(OsString::from).collect();
    words.push(OsString::from("x".repeat(50_000)));
    words.push(OsString::from_vec(vec![0xff, 0xfe, b'a']));
    words
}

#[test]
fn words_of_the_command_line_out_of_form_are_told_with_their_code() {
    let place = Place::new();
    let mut count = 0;
    for command in WITH_WORD {
        for word in hostile_words() {
            let what = format!("{command:?} {}", word.to_string_lossy().chars().take(40).collect::<String>());
            let started = Instant::now();
            let mut program = place.command(command);
            program.arg("--").arg(&word);
            let seen = seen(program);
            is_told(&seen, started, &what);
            count += 1;
        }
    }
    assert!(count > 350, "{count}");
    report("words of the command line out of form", count, "commands", 0);
}

#[test]
fn options_out_of_form_are_told_with_their_code() {
    let place = Place::new();
    let script = place.script("a.lua", "print(1)\n");
    let long = "x".repeat(50_000);
    let braces = format!("files:write:{}", "{a,".repeat(5000));
    let stars = format!("files:write:/{}", "**/*".repeat(2000));
    let mut count = 0;
    for (option, values) in [
        (
            "--limit",
            vec![
                "",
                "=",
                "exec",
                "exec=",
                "exec=-1s",
                "exec=0s",
                "exec=nan",
                "exec=1e999s",
                "exec=99999999999999999d",
                "memory=0",
                "memory=1KiB",
                "memory=99999999999999999999GiB",
                "depth=0",
                "depth=4294967296",
                "effects=-1",
                "effects=1e3",
                "source=1GiB",
                "argument=0",
                "wall=",
                "idle=\u{1b}[2J",
                "nothing=1",
                &long,
            ],
        ),
        (
            "--allow",
            vec![
                "",
                ":",
                "::",
                "files:",
                "files:write:",
                "files:fly:/",
                "nothing",
                "files:write:[",
                "files:write:{",
                &braces,
                &stars,
                "\u{1b}[2J",
                "*:*:*",
                "**",
                &long,
            ],
        ),
        ("--deny", vec!["", "nothing", "files:write:[", &long]),
        ("--set", vec!["", "=", "a", "=1", "a=\u{1b}[2J", "a.b.c=1", &long]),
        ("--state", vec!["", "/dev/null", "/dev/null/x", "/proc", &long]),
        ("--nothing", vec!["", "x"]),
    ] {
        for value in values {
            let what = format!("{option}={}", value.chars().take(60).collect::<String>());
            let started = Instant::now();
            let seen = place.run(&["run", &format!("{option}={value}"), &script]);
            is_told(&seen, started, &what);
            count += 1;
        }
    }
    for data in ["", "{", "[1,", "nan", "\"\\ud800\"", "1e999", &"[".repeat(100_000), &format!("\"{long}\"")]
    {
        let started = Instant::now();
        let seen = place.run(&["emit", "an.event", "--data", data]);
        is_told(&seen, started, &format!("emit --data {}", data.chars().take(40).collect::<String>()));
        count += 1;
    }
    for doubt in ["", "maybe", "=redo", "#=redo", "a#x=redo", "a#99999999999=done", "\u{1b}=fail"] {
        let started = Instant::now();
        let seen = place.run(&["resume", "0", &format!("--doubt={doubt}")]);
        is_told(&seen, started, &format!("--doubt {doubt}"));
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn scripts_out_of_form_are_told_with_their_code() {
    let place = Place::new();
    for (name, bytes) in [
        ("empty.lua", &b""[..]),
        ("bytes.lua", b"\xff\xfe\xfd"),
        ("bytecode.lua", b"\x06\x03\x00\x01\x02"),
        ("elf.lua", b"\x7fELF\x02\x01\x01\0"),
        ("nul.lua", b"print(1)\0print(2)"),
        ("mark.lua", b"\xef\xbb\xbfprint(1)"),
        ("shebang.lua", b"#!/usr/bin/env mcrun\nprint(1)"),
        ("control.lua", b"error('\x1b[2J')"),
    ] {
        let path = place.script(name, "");
        std::fs::write(&path, bytes).unwrap();
        for words in [vec![path.as_str()], vec!["plan", &path], vec!["run", "--json", &path]] {
            let started = Instant::now();
            let seen = place.run(&words);
            is_told(&seen, started, &format!("{words:?}"));
            if words.contains(&"--json") && !seen.stdout.is_empty() {
                let shown: Value = serde_json::from_str(&seen.stdout).unwrap();
                assert!(shown.is_object(), "{seen}");
            }
        }
    }
    for path in ["/dev/null", "/dev/zero", "/proc/self/mem", "/", "/etc/shadow/x.lua"] {
        let started = Instant::now();
        let seen = bounded(&place, &["run", path]);
        is_told(&seen, started, path);
    }
}
