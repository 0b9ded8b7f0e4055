//! Every way in which a decision counts, or does not.

use proptest::prelude::*;

use super::*;
use crate::approvals::{Asked, OnTimeout};

fn approval(quorum: u32, rejections: u32) -> Approval {
    Approval {
        id: "0123456789abc-1".into(),
        asked: Asked {
            title: "Switch?".into(),
            body: String::new(),
            plan: None,
            by: vec!["role:admin".into(), "account:*".into(), "certificate:*".into(), "user:ada".into()],
            quorum,
            rejections,
            on_timeout: OnTimeout::Fail,
            document: None,
            run: "0123456789abc".into(),
            script: "0".repeat(64),
            saved_plan: None,
        },
        object: "deploy/0123456789abc".into(),
        starter: Some("user:ada".into()),
        scope: String::new(),
        counter: 1,
        begun: Timestamp(1),
        at: Timestamp(1),
        until: Some(Timestamp(1000)),
        state: State::Open,
        decisions: Vec::new(),
        settled: None,
    }
}

fn now(approval: &Approval) -> Circumstances {
    Circumstances {
        hash: approval.asked.hash(None),
        now: Timestamp(10),
        is_waited_for: true,
        four_eyes: false,
        has_read: false,
    }
}

fn ballot(who: &str, verdict: Verdict, hash: &str) -> Ballot {
    let (principal, hash) = (who.parse().unwrap(), hash.to_owned());
    Ballot { principal, address: None, verdict, comment: None, hash }
}

fn said(approval: &Approval, who: &str, verdict: Verdict) -> Result<Option<Approval>> {
    let circumstances = now(approval);
    decide(approval, &ballot(who, verdict, &circumstances.hash), &circumstances)
}

fn code(result: Result<Option<Approval>>) -> Code {
    result.unwrap_err().code
}

const YES: Verdict = Verdict::Approved;
const NO: Verdict = Verdict::Rejected;

#[test]
fn a_quorum_is_so_many_people_and_one_who_comes_twice_is_one() {
    let first = said(&approval(2, 1), "account:bob", YES).unwrap().unwrap();
    assert_eq!((first.state, first.decisions.len()), (State::Open, 1));
    assert_eq!(said(&first, "account:bob", YES).unwrap(), None);
    // The certificate of the same name is the same person.
    let again = said(&first, "certificate:bob", YES).unwrap();
    assert_eq!(again, None);
    let second = said(&first, "account:eve", YES).unwrap().unwrap();
    assert_eq!((second.state, second.settled), (State::Approved, Some(Timestamp(10))));
    assert_eq!(code(said(&second, "account:carl", NO)), Code::ApprovalOver);
}

#[test]
fn one_rejection_is_the_end_unless_more_are_wanted() {
    assert_eq!(said(&approval(1, 1), "account:bob", NO).unwrap().unwrap().state, State::Rejected);
    let first = said(&approval(1, 2), "account:bob", NO).unwrap().unwrap();
    assert_eq!(first.state, State::Open);
    // Whoever changes his mind is counted as he says last.
    let changed = said(&first, "account:bob", YES).unwrap().unwrap();
    assert_eq!((changed.state, changed.decisions.len()), (State::Approved, 1));
    assert_eq!(said(&first, "account:eve", NO).unwrap().unwrap().state, State::Rejected);
}

#[test]
fn a_decision_names_what_was_shown() {
    let asked = approval(2, 1);
    let circumstances = now(&asked);
    for wrong in ["", "0", &circumstances.hash[..11], &"0".repeat(64), &format!("{}0", circumstances.hash)] {
        assert_eq!(
            code(decide(&asked, &ballot("account:bob", YES, wrong), &circumstances)),
            Code::ApprovalChanged
        );
    }
    assert!(decide(&asked, &ballot("account:bob", YES, &circumstances.hash[..12]), &circumstances).is_ok());
    // Whatever is asked otherwise has another hash.
    let mut others = vec![circumstances.hash.clone(), asked.asked.hash(Some("story@1 00"))];
    let change: [fn(&mut Asked); 9] = [
        |asked| asked.title.push('x'),
        |asked| asked.body.push('x'),
        |asked| asked.plan = Some(String::new()),
        |asked| asked.by.truncate(1),
        |asked| asked.quorum = 1,
        |asked| asked.on_timeout = OnTimeout::Approve,
        |asked| asked.script.replace_range(..1, "1"),
        |asked| asked.run.replace_range(..1, "1"),
        |asked| asked.document = Some("story".into()),
    ];
    for change in change {
        let mut other = asked.asked.clone();
        change(&mut other);
        others.push(other.hash(None));
    }
    let count = others.len();
    others.sort();
    others.dedup();
    assert_eq!(others.len(), count);
}

#[test]
fn what_was_said_of_something_else_is_void() {
    let first = said(&approval(2, 1), "account:bob", YES).unwrap().unwrap();
    let changed = Circumstances { hash: first.asked.hash(Some("story@2 00")), ..now(&first) };
    let second = decide(&first, &ballot("account:eve", YES, &changed.hash), &changed).unwrap().unwrap();
    assert_eq!((second.state, second.decisions.len()), (State::Open, 1));
    let third = decide(&second, &ballot("account:bob", YES, &changed.hash), &changed).unwrap().unwrap();
    assert_eq!(third.state, State::Approved);
}

#[test]
fn only_those_who_are_named_decide() {
    let asked = approval(1, 1);
    for other in ["user:bob", "system:mcq", "daemon"] {
        for verdict in [YES, NO] {
            assert_eq!(code(said(&asked, other, verdict)), Code::ApprovalDenied, "{other}");
        }
    }
    let guest = "account:gina".parse::<Principal>().unwrap().with(&["guest".to_owned()], &[]);
    let circumstances = now(&asked);
    let ballot = Ballot { principal: guest, ..ballot("account:gina", YES, &circumstances.hash) };
    assert_eq!(code(decide(&asked, &ballot, &circumstances)), Code::ApprovalDenied);
}

#[test]
fn with_four_eyes_the_starter_rejects_and_does_not_approve() {
    let asked = approval(1, 1);
    let strict = Circumstances { four_eyes: true, ..now(&asked) };
    // Under whatever kind of name he comes.
    for own in ["user:ada", "account:ada", "certificate:ada"] {
        assert_eq!(code(decide(&asked, &ballot(own, YES, &strict.hash), &strict)), Code::ApprovalDenied);
        assert!(decide(&asked, &ballot(own, NO, &strict.hash), &strict).is_ok());
    }
    let other = decide(&asked, &ballot("account:bob", YES, &strict.hash), &strict).unwrap().unwrap();
    assert_eq!(other.state, State::Approved);
    assert!(said(&asked, "user:ada", YES).is_ok());
}

#[test]
fn a_document_is_read_before_it_is_approved_and_not_before_it_is_rejected() {
    let mut asked = approval(1, 1);
    asked.asked.document = Some("story".into());
    assert_eq!(code(said(&asked, "account:bob", YES)), Code::ApprovalDenied);
    assert!(said(&asked, "account:bob", NO).is_ok());
    let read = Circumstances { has_read: true, ..now(&asked) };
    assert!(decide(&asked, &ballot("account:bob", YES, &read.hash), &read).is_ok());
}

#[test]
fn what_is_over_takes_no_decision() {
    let asked = approval(1, 1);
    let late = Circumstances { now: Timestamp(1000), ..now(&asked) };
    let alone = Circumstances { is_waited_for: false, ..now(&asked) };
    for circumstances in [late, alone] {
        let vote = ballot("account:bob", YES, &circumstances.hash);
        assert_eq!(code(decide(&asked, &vote, &circumstances)), Code::ApprovalOver);
    }
}

#[test]
fn a_comment_is_bounded_and_moves_no_terminal() {
    let asked = approval(1, 1);
    let circumstances = now(&asked);
    let comment = Some(format!(" \u{1b}[31mfine\u{202e}{}", "ä".repeat(2000)));
    let vote = Ballot { comment, ..ballot("account:bob", YES, &circumstances.hash) };
    let after = decide(&asked, &vote, &circumstances).unwrap().unwrap();
    let kept = after.decisions[0].comment.clone().unwrap();
    assert!(kept.starts_with("[31mfineä") && kept.len() <= LONGEST_COMMENT, "{kept}");
}

proptest! {
    /// Whoever says what in whatever order: nobody is counted twice, and it is approved only by as many as are wanted.
    #[test]
    fn nobody_counts_twice(
        quorum in 1..4_u32, rejections in 1..3_u32,
        said_by in proptest::collection::vec((0..6_usize, any::<bool>()), 0..20),
    ) {
        let names = ["account:a", "certificate:a", "account:b", "account:c", "account:d", "certificate:d"];
        let mut asked = approval(quorum, rejections);
        let mut people = std::collections::BTreeMap::new();
        for (who, yes) in said_by {
            let verdict = if yes { YES } else { NO };
            match said(&asked, names[who], verdict) {
                Ok(after) => {
                    people.insert(names[who].split(':').nth(1).unwrap(), yes);
                    asked = after.unwrap_or(asked);
                }
                Err(error) => {
                    prop_assert_eq!(error.code, Code::ApprovalOver);
                    prop_assert_ne!(asked.state, State::Open);
                }
            }
        }
        let approved = people.values().filter(|yes| **yes).count() as u32;
        let rejected = people.len() as u32 - approved;
        let expected = if rejected >= rejections { State::Rejected }
            else if approved >= quorum { State::Approved } else { State::Open };
        prop_assert_eq!(asked.state, expected);
        prop_assert_eq!(asked.decisions.len(), people.len());
    }
}
