//! A writer that saves a hundred times a second.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::stage::{Stage, playbook};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_never_rests_is_followed_and_never_seen_half() {
    let stage = Stage::new();
    let text = |round: u64| playbook("a", &format!("round {round} {}", "x".repeat(50_000)));
    stage.write("a.lua", &text(0));
    stage.write("b.lua", &playbook("b", "calm"));
    let kept = stage.keep().await;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = std::thread::spawn({
        let (path, stop, rounds) = (stage.at("a.lua"), stop.clone(), rounds.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                let round = rounds.fetch_add(1, Ordering::Relaxed) + 1;
                fs::write(&path, text(round)).unwrap();
                std::thread::sleep(Duration::from_millis(9));
            }
        }
    });
    // It is followed while it goes on, not only when it rests.
    let mut seen = 1;
    for _ in 0..3 {
        seen = kept
            .until("a later version is active", |table| {
                let number = table.playbooks.get("a").expect("it is active all the time").number;
                (number > seen).then_some(number)
            })
            .await;
    }
    assert!(!writer.is_finished());
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let last = rounds.load(Ordering::Relaxed);
    kept.until_text("a", &format!("round {last} ")).await;
    kept.until_whole().await;
    assert_eq!(kept.told().await, 0, "no half of a file was taken for a broken one");
    let accepted = stage.reader.accepted.lock().unwrap();
    let whole = accepted.iter().filter(|text| text.contains("round")).all(|text| text.len() > 50_000);
    assert!(whole, "no half of a file was taken for a whole one");
}
