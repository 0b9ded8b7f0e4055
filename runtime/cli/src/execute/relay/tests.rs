//! What watchers are told, and what questions come to.

use journal::Place;

use super::*;

const BEYOND_PAUSES: Manner = Manner { until_over: true, looks_on: false };
const LOOKING_ON: Manner = Manner { until_over: false, looks_on: true };

fn says(relay: &Relay, line: &str) {
    relay.line(1, Level::Info, "", line, None);
}

fn lines(told: &mut mpsc::Receiver<Told>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Ok(told) = told.try_recv() {
        if let Told::Log { message, .. } = told {
            lines.push(message);
        }
    }
    lines
}

#[test]
fn a_watcher_that_is_slow_loses_its_place_and_delays_nobody() {
    let relay = Relay::default();
    let (mut slow, mut quick) =
        (relay.join(Manner::default()).unwrap(), relay.join(Manner::default()).unwrap());
    let mut heard = 0;
    for number in 0..=MOST_UNREAD {
        says(&relay, &number.to_string());
        heard += lines(&mut quick).len();
    }
    assert_eq!(heard, MOST_UNREAD + 1);
    assert_eq!(lines(&mut slow).len(), MOST_UNREAD, "what it was told in time is not taken back");
    says(&relay, "more");
    assert_eq!((lines(&mut slow).len(), slow.is_closed()), (0, true));
    assert_eq!(lines(&mut quick), ["more"]);
}

#[test]
fn there_are_not_more_watchers_than_bounds_allow() {
    let relay = Relay::default();
    let mut watchers: Vec<_> = (0..MOST_WATCHERS).map(|_| relay.join(BEYOND_PAUSES).unwrap()).collect();
    assert_eq!(relay.join(BEYOND_PAUSES).unwrap_err().code, Code::DaemonBusy);
    watchers.pop();
    relay.join(BEYOND_PAUSES).unwrap();
}

fn asker(relay: &Arc<Relay>) -> (watch::Sender<bool>, Arc<dyn Approver>) {
    let stopping = watch::Sender::new(false);
    let approver = relay.clone().approver(stopping.subscribe()).unwrap();
    (stopping, approver)
}

async fn ask(approver: Arc<dyn Approver>) -> Verdict {
    let place = Place { file: "a.lua".into(), line: 3 };
    let missing = ["files:write:/a".to_owned()];
    let question = Question { effect: "files.write", subject: "/a", place: Some(&place), missing: &missing };
    approver.ask(question).await
}

#[tokio::test]
async fn a_question_is_answered_once_by_whoever_watches() {
    let relay = Arc::new(Relay::default());
    let (_stopping, approver) = asker(&relay);
    assert_eq!(ask(approver.clone()).await, Verdict::Refused, "nobody is there");
    let mut told = relay.join(Manner::default()).unwrap();
    let asked = tokio::spawn(ask(approver.clone()));
    let Some(Told::Question { id, missing, .. }) = told.recv().await else { panic!("nothing was asked") };
    assert_eq!(missing, ["files:write:/a"]);
    // Whoever comes later is asked as well.
    let mut late = relay.join(Manner::default()).unwrap();
    assert!(matches!(late.recv().await, Some(Told::Question { id: same, .. }) if same == id));
    relay.answer(id, true).unwrap();
    assert_eq!(asked.await.unwrap(), Verdict::Granted);
    assert_eq!(relay.answer(id, true).unwrap_err().code, Code::QuestionGone);
}

#[tokio::test]
async fn nothing_is_decided_when_the_run_stops_or_everybody_leaves() {
    let relay = Arc::new(Relay::default());
    let (stopping, approver) = asker(&relay);
    let mut told = relay.join(Manner::default()).unwrap();
    let asked = tokio::spawn(ask(approver.clone()));
    told.recv().await.unwrap();
    stopping.send_replace(true);
    assert_eq!(asked.await.unwrap(), Verdict::Stopped);
    stopping.send_replace(false);
    let asked = tokio::spawn(ask(approver));
    told.recv().await.unwrap();
    drop(told);
    assert_eq!(asked.await.unwrap(), Verdict::Stopped);
}

#[tokio::test]
async fn a_question_waits_for_nobody_who_only_looks_on() {
    let relay = Arc::new(Relay::default());
    let (_stopping, approver) = asker(&relay);
    let mut looking = relay.join(LOOKING_ON).unwrap();
    assert_eq!(ask(approver.clone()).await, Verdict::Refused, "nobody is there who could answer");
    assert!(!relay.is_alone());
    let mut told = relay.join(Manner::default()).unwrap();
    let asked = tokio::spawn(ask(approver));
    told.recv().await.unwrap();
    assert!(matches!(looking.recv().await, Some(Told::Question { .. })), "it is told all the same");
    drop(told);
    assert_eq!(asked.await.unwrap(), Verdict::Stopped);
    assert!(!looking.is_closed());
}
