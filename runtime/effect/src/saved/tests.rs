//! What moved, and what the hold refuses.

use serde_json::json;

use super::*;
use crate::Code;

fn step(counter: u32, action: Action) -> SavedStep {
    SavedStep {
        identity: Identity { scope: String::new(), counter, name: "files.write".into() },
        kind: Kind::Ensure,
        action,
        subject: "a".into(),
        fields: Vec::new(),
        place: Some(Place { file: "a.lua".into(), line: counter }),
        arguments: hexadecimal(&[counter as u8; 16]),
        answer: None,
        lease: Some("web".into()),
        error: None,
    }
}

fn field(path: &str, before: Value, after: Value) -> FieldChange {
    FieldChange { path: path.into(), before: Some(before), after: Some(after), replaces: false }
}

fn moved(was: Vec<SavedStep>, is: Vec<SavedStep>) -> Vec<String> {
    Saved { steps: was }.moved(&Saved { steps: is })
}

#[test]
fn a_plan_that_still_holds_has_not_moved() {
    let steps = || vec![step(1, Action::Create), step(2, Action::None)];
    assert_eq!(moved(steps(), steps()), Vec::<String>::new());
    let saved = Saved { steps: steps() };
    let read: Saved = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    assert_eq!(saved.moved(&read), Vec::<String>::new());
    assert_eq!(read.services().into_iter().collect::<Vec<_>>(), ["web"]);
}

#[test]
fn what_moved_is_told_field_by_field() {
    let with = |before: &str| SavedStep {
        fields: vec![field("mode", json!(before), json!("0600")), field("owner", json!(0), json!(1))],
        ..step(1, Action::Update)
    };
    assert_eq!(
        moved(vec![with("0644")], vec![with("0640")]),
        [r#"files.write a (a.lua:1): mode: was "0644" → "0600", is "0640" → "0600""#]
    );
    assert_eq!(
        moved(vec![step(1, Action::Create)], vec![step(1, Action::None), step(2, Action::Remove)]),
        [
            "files.write a (a.lua:1): was to create, now find it as it should be",
            "files.write a (a.lua:2): was not planned"
        ]
    );
    assert_eq!(
        moved(vec![step(1, Action::Create)], vec![]),
        ["files.write a (a.lua:1): was planned, is not asked for any more"]
    );
}

#[test]
fn an_answer_is_compared_by_its_hash_and_told_by_its_fields() {
    let with = |tag: &str, value: Option<Value>| SavedStep {
        answer: Some(Answered { tag: tag.into(), value }),
        ..step(1, Action::Read)
    };
    let one = json!({ "state": "running", "ports": [1, 2] });
    let two = json!({ "state": "exited", "ports": [1, 3] });
    assert_eq!(
        moved(vec![with("a", Some(one.clone()))], vec![with("b", Some(two))]),
        [
            "files.write a (a.lua:1): ports[2]: was 2, is 3",
            r#"files.write a (a.lua:1): state: was "running", is "exited""#
        ]
    );
    assert_eq!(
        moved(vec![with("a", Some(one))], vec![with("b", None)]),
        ["files.write a (a.lua:1): its answer is different"]
    );
}

#[test]
fn the_hold_ends_with_what_failed() {
    let bound = Bound::to(Saved { steps: vec![step(1, Action::Create), step(2, Action::Update)] });
    let identity = |counter| step(counter, Action::None).identity;
    let check = |counter: u32, action| bound.check(&identity(counter), &[counter as u8; 16], action, &[]);
    check(1, Action::Create).unwrap();
    assert_eq!(check(1, Action::Replace).unwrap_err().code, Code::PlanStale);
    assert_eq!(check(3, Action::Create).unwrap_err().code, Code::PlanStale);
    bound.check(&identity(1), &[9; 16], Action::Create, &[]).unwrap_err();
    let restore = Identity { name: "runs.restore".into(), ..identity(9) };
    bound.check(&restore, &[0; 16], Action::Update, &[]).unwrap();
    bound.failed(&identity(1));
    check(3, Action::Create).unwrap();
}

#[test]
fn many_differences_are_cut_short() {
    let steps: Vec<_> = (1..=100).map(|counter| step(counter, Action::Create)).collect();
    let lines = moved(steps, vec![]);
    assert_eq!((lines.len(), lines.last().unwrap().as_str()), (MOST_LINES + 1, "and 60 more"));
}
