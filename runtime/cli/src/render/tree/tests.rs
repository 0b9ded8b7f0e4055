//! What a person sees of a run, as text.

use super::line::width;
use super::*;
use crate::render::RED;

fn identity(scope: &str, counter: u32, name: &str) -> Identity {
    Identity { scope: scope.to_owned(), counter, name: name.to_owned() }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn done(millis: i64) -> Option<End> {
    Some(End { symbol: "+", style: DIM, millis, failure: None })
}

fn plain(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
}

fn drawn(tree: &Tree, width: usize, height: usize, now: u64) -> Vec<String> {
    plain(&tree.lines(Frame { width, height, now: at(now) }))
}

#[test]
fn steps_and_branches_hold_their_effects() {
    let mut tree = Tree::default();
    tree.started(&identity("deploy", 1, "ports.allocate"), "web/http", at(0));
    tree.ended(&identity("deploy", 1, "ports.allocate"), "web/http", done(6), at(6));
    tree.started(&identity("deploy/parallel.api", 1, "images.build"), "api:v1", at(100));
    tree.started(&identity("deploy/parallel.web", 1, "images.build"), "web:v1", at(200));
    tree.ended(&identity("deploy/parallel.web", 1, "images.build"), "web:v1", done(900), at(1100));
    let expected = [
        "⠹ deploy  1.2 s",
        "├ + ports.allocate web/http  6 ms",
        "├ ⠹ parallel.api images.build api:v1  1.1 s",
        "└ + parallel.web images.build web:v1  900 ms",
    ];
    assert_eq!(drawn(&tree, 80, 24, 1200), expected);
}

#[test]
fn what_the_script_has_left_is_settled_whole() {
    let mut tree = Tree::default();
    tree.started(&identity("retry/1", 1, "http.get"), "a", at(0));
    let failed = End { symbol: "✗", style: RED, millis: 3, failure: Some("[MC-H003] broken".into()) };
    assert!(tree.ended(&identity("retry/1", 1, "http.get"), "a", Some(failed), at(3)).is_empty());
    assert!(tree.started(&identity("retry/2", 1, "http.get"), "a", at(4)).is_empty());
    assert!(tree.ended(&identity("retry/2", 1, "http.get"), "a", done(2), at(6)).is_empty());
    let settled = tree.started(&identity("", 1, "files.write"), "/etc/app", at(7));
    let expected = ["✗ retry/1 http.get a  3 ms  [MC-H003] broken", "+ retry/2 http.get a  2 ms"];
    assert_eq!(plain(&settled), expected);
    let settled = tree.ended(&identity("", 1, "files.write"), "/etc/app", done(1), at(8));
    assert_eq!(plain(&settled), ["+ files.write /etc/app  1 ms"]);
    assert!(tree.lines(Frame { width: 80, height: 24, now: at(9) }).is_empty());
}

#[test]
fn a_small_terminal_keeps_what_is_under_way() {
    let mut tree = Tree::default();
    for number in 1..=10 {
        tree.started(&identity("load", number, "exec.run"), "true", at(0));
        if number <= 8 {
            tree.ended(&identity("load", number, "exec.run"), "true", done(1), at(1));
        }
    }
    let shown = drawn(&tree, 80, 5, 100);
    assert_eq!(
        shown,
        [
            "… 7 more have ended",
            "⠙ load  100 ms",
            "├ + exec.run true  1 ms",
            "├ ⠙ exec.run true  100 ms",
            "└ ⠙ exec.run true  100 ms",
        ]
    );
    assert_eq!(drawn(&tree, 80, 2, 100), ["… 8 more have ended", "… 3 more lines"]);
    assert_eq!(drawn(&tree, 80, 1, 100).len(), 1);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut tree = Tree::default();
    let long = "x".repeat(300);
    tree.started(&identity(&format!("deploy/parallel.{long}"), 1, "exec.run"), &long, at(0));
    tree.started(&identity("deploy", 1, "exec.run"), "容器容器容器容器容器容器容器容器", at(0));
    for limit in 1..60 {
        for line in drawn(&tree, limit, 24, 61_000) {
            assert!(width(&line) <= limit, "{limit}: `{line}`");
        }
    }
    assert_eq!(drawn(&tree, 30, 24, 61_000)[1], "├ ⠋ parallel.xxxxx…  1 min 1 s");
    assert_eq!(drawn(&tree, 30, 24, 61_000)[2], "└ ⠋ exec.run 容器…  1 min 1 s");
}

#[test]
fn names_cannot_drive_the_terminal() {
    let mut tree = Tree::default();
    tree.started(&identity("a\u{1b}[2J", 1, "exec.run"), "b\u{1b}[1A\nc\td\u{9b}", at(0));
    let shown = drawn(&tree, 80, 24, 0).join("|");
    assert!(!shown.contains(['\u{1b}', '\n', '\t', '\u{9b}']), "{shown:?}");
}

#[test]
fn the_oldest_are_let_go_when_there_are_too_many() {
    let mut tree = Tree::default();
    let mut settled = Vec::new();
    for number in 1..=600 {
        let identity = identity("loop/inner", number, "exec.run");
        settled.extend(tree.started(&identity, "true", at(0)));
        settled.extend(tree.ended(&identity, "true", done(1), at(1)));
    }
    let settled = plain(&settled);
    let effects = settled.iter().filter(|line| line.contains("exec.run")).count();
    assert_eq!((effects, settled.len()), (100, 100), "{settled:?}");
    assert_eq!(settled[0], "+ loop/inner exec.run true  1 ms");
    let left = plain(&tree.finish(at(2)));
    assert_eq!(left.iter().filter(|line| line.contains("exec.run")).count(), 500);
}

#[test]
fn an_effect_that_was_refused_is_shown_where_it_stood() {
    let mut tree = Tree::default();
    let refused = End { symbol: "✗", style: RED, millis: 0, failure: Some("[MC-P001] no".into()) };
    assert!(tree.ended(&identity("s", 1, "exec.run"), "", Some(refused), at(0)).is_empty());
    assert_eq!(plain(&tree.finish(at(0))), ["s  0 ms", "└ ✗ exec.run   0 ms  [MC-P001] no"]);
}

#[test]
fn what_is_under_way_at_the_end_is_shown_as_cut() {
    let mut tree = Tree::default();
    tree.started(&identity("s", 1, "exec.run"), "sleep", at(0));
    assert_eq!(plain(&tree.finish(at(1500))), ["s  1.5 s", "└ … exec.run sleep  1.5 s"]);
}
