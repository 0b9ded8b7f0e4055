//! Capabilities that are missing are asked for on the terminal, exactly, of whoever sits there, and of nobody else.

use crate::harness::{Place, until};
use crate::terminal::Terminal;

const QUESTION: &str = "[once/No]";

fn start(place: &Place, words: &[&str]) -> Terminal {
    Terminal::start(place, words, &[("NO_COLOR", "1")], "")
}

fn writes(place: &Place, names: &[&str]) -> String {
    let lines: String =
        names.iter().map(|name| format!("files.write {{ path = \"{name}\", content = \"x\" }}\n")).collect();
    place.script("a.lua", &lines)
}

#[test]
fn what_is_granted_is_done_and_asked_for_once() {
    let place = Place::new();
    let script = writes(&place, &["one", "two", "one"]);
    let mut terminal = start(&place, &[&script]);
    terminal.shows(QUESTION, 1);
    assert!(terminal.shown().contains("files.write one"), "{}", terminal.shown());
    assert!(terminal.shown().contains("/scripts/one'"), "{}", terminal.shown());
    assert_eq!(place.read("scripts/one"), "");
    terminal.types("once\n");
    terminal.shows(QUESTION, 2);
    assert_eq!(place.read("scripts/one"), "x");
    terminal.types("o\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, shown.matches(QUESTION).count()), (Some(0), 2), "{shown}");
    assert_eq!(place.read("scripts/two"), "x");
}

#[test]
fn what_is_refused_is_denied_with_what_it_takes() {
    let place = Place::new();
    let script = writes(&place, &["one"]);
    for answer in ["no\n", "\n", "\u{4}", "yes\nmaybe\nsure\n"] {
        let mut terminal = start(&place, &[&script]);
        for (index, line) in answer.split_inclusive('\n').enumerate() {
            terminal.shows(QUESTION, index + 1);
            terminal.types(line);
        }
        let (code, shown) = terminal.end();
        assert_eq!(code, Some(4), "{answer:?} {shown}");
        assert!(shown.contains("MC-P001") && shown.contains("grant it with --allow files:write:"), "{shown}");
    }
    assert_eq!(place.read("scripts/one"), "");
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    let place = Place::new();
    let script = writes(&place, &["one"]);
    let mut terminal = Terminal::start(&place, &[&script], &[], "once\nonce\nonce\nonce\n");
    terminal.shows(QUESTION.trim_matches(['[', ']']), 1);
    terminal.types("no\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, place.read("scripts/one").as_str()), (Some(4), ""), "{shown}");
}

#[test]
fn a_resume_keeps_what_was_granted() {
    let place = Place::new();
    let wait = "exec.run { argv = { \"/bin/sh\", \"-c\", \"until [ -e go ]; do sleep 0.02; done\" }, cwd = args[1] }\n";
    let write = |content: &str| format!("files.write {{ path = \"one\", content = \"{content}\" }}\n");
    let script = place.script("a.lua", &format!("{}{wait}{}", write("first"), write("second")));
    let words = [script.as_str(), "--allow", "exec", "--allow", "files:write:/elsewhere"];
    let folder = place.path().to_str().unwrap();
    let mut terminal = start(&place, &[words[0], folder, words[1], words[2], words[3], words[4]]);
    terminal.shows(QUESTION, 1);
    terminal.types("once\n");
    until("the program runs", || (place.newest_shown()["entries"].as_array()?.len() == 2).then_some(()));
    terminal.types("\u{3}");
    terminal.shows("stopping at the next effect", 1);
    std::fs::write(place.at("go"), "").unwrap();
    assert_eq!(terminal.end().0, Some(130));
    assert_eq!(place.read("scripts/one"), "first");

    // Nobody is there to be asked now.
    place.ends(0, &["resume", &place.newest_id()]);
    assert_eq!(place.read("scripts/one"), "second");
    // A new run has it no more.
    place.ends(4, &[&script, folder, "--allow", "exec"]);
}

#[test]
fn ctrl_c_at_the_question_decides_nothing() {
    let place = Place::new();
    let script = writes(&place, &["one"]);
    let mut terminal = start(&place, &[&script]);
    terminal.shows(QUESTION, 1);
    terminal.types("\u{3}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{shown}");
    assert_eq!(place.newest_shown()["entries"].as_array().unwrap().len(), 0);
    let run = place.newest_id();
    let mut terminal = start(&place, &["resume", &run]);
    terminal.shows(QUESTION, 1);
    terminal.types("once\n");
    assert_eq!((terminal.end().0, place.read("scripts/one").as_str()), (Some(0), "x"));
}

#[test]
fn nobody_is_asked_who_cannot_or_must_not_answer() {
    let place = Place::new();
    let script = writes(&place, &["one"]);
    let denied = ["--deny", "files:write:/**"];
    for words in [
        vec![script.as_str(), "--no-input"],
        vec![script.as_str(), "--yes"],
        vec![script.as_str(), "--json"],
        vec![script.as_str(), denied[0], denied[1]],
        vec!["plan", script.as_str()],
    ] {
        let (code, shown) = start(&place, &words).end();
        assert_eq!((code, shown.contains(QUESTION)), (Some(4), false), "{words:?} {shown}");
    }
    // The operator's policy is the upper bound: what lies beyond it is not a question.
    place.configure("[drivers]\ncontainers = \"process\"\n[policy]\nscripts = [\"http\"]\n");
    let (code, shown) = start(&place, &[&script]).end();
    assert_eq!((code, shown.contains(QUESTION)), (Some(4), false), "{shown}");
    assert_eq!(place.read("scripts/one"), "");
}

#[test]
fn a_question_cannot_drive_the_terminal() {
    let place = Place::new();
    let script = writes(&place, &["one\\27[2K\\rtwo\\u{202e}"]);
    let mut terminal = start(&place, &[&script, "--allow", "http"]);
    terminal.shows(QUESTION, 1);
    let shown = terminal.shown();
    let question = &shown[shown.find("the script asks").unwrap()..];
    assert!(question.contains(r"one\u{1b}[[]2K\u{d}two\u{202e}"), "{question:?}");
    assert!(!question.contains(['\u{1b}', '\u{202e}']), "{question:?}");
    terminal.types("no\n");
    assert_eq!(terminal.end().0, Some(4));
}

#[test]
fn branches_ask_one_after_the_other() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "local function write() files.write { path = \"one\", content = \"x\" } end\n\
         local function other() files.write { path = \"two\", content = \"x\" } end\n\
         parallel { a = write, b = function() return files.stat { path = \"one\" } end, c = other }\n",
    );
    let mut terminal = start(&place, &[&script]);
    terminal.shows(QUESTION, 1);
    terminal.types("once\n");
    terminal.shows(QUESTION, 2);
    terminal.types("once\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, shown.matches(QUESTION).count()), (Some(0), 2), "{shown}");
}

#[test]
fn a_run_on_a_terminal_is_a_live_tree() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "step(\"deploy\", function()\n    log.info(\"hello\")\n    parallel {\n\
         a = function() exec.run { argv = { \"/bin/sh\", \"-c\", \"until [ -e go ]; do sleep 0.02; done\" }, cwd = args[1] } end,\n\
         b = function() exec.run { argv = { \"/bin/true\" } } end,\n    }\nend)\nprint(\"over\")\n",
    );
    let words = [script.as_str(), place.path().to_str().unwrap(), "--allow", "*"];
    let terminal = Terminal::start(&place, &words, &[("NO_COLOR", "1")], "");
    terminal.shows("└ ! parallel.b exec.run /bin/true", 1);
    assert!(terminal.shown().contains("├ ") && terminal.shown().contains("info deploy hello"));
    std::fs::write(place.at("go"), "").unwrap();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("\u{1b}[1m") && !shown.contains("\u{1b}[3"), "{shown:?}");
    let settled = shown.rfind("├ ! parallel.a exec.run").expect("the tree stays");
    assert!(settled < shown.find("over").expect("what is printed follows"), "{shown:?}");
}
