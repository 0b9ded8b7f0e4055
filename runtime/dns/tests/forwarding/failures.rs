//! Upstreams that fail, hang or lose things: the next one is asked, and nobody waits for long.

use crate::*;

#[tokio::test(start_paused = true)]
async fn the_next_is_asked_after_servfail_refused_formerr_and_notimp() {
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED, Rcode::FORMERR, Rcode::NOTIMP] {
        let bad = Fake::start(move |query| query.refuse(rcode)).await;
        let good = Fake::start(|query| query.address(7, 300)).await;
        let forwarder = forwarder(&[&bad, &good]);
        let question = question("www.example");
        let answer = forwarder.resolve(question.clone()).await;
        assert_eq!(addresses(&written(&answer, &question.borrow())), [(7, 300)], "{rcode}");
        let refused = Err(Failure::Refused { rcode: rcode.to_int().into(), ede: None });
        assert_eq!(outcomes(&answer), [refused, Ok(Rcode::NOERROR)]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_hangs_is_passed_over_and_then_asked_last() {
    let silent = Fake::start(|_| Vec::new()).await;
    let good = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = forwarder(&[&silent, &good]);
    for number in 0..3 {
        let begun = Instant::now();
        let answer = resolve(&forwarder, &format!("n{number}.example")).await;
        assert_eq!(addresses(&answer), [(7, 300)]);
        assert!(begun.elapsed() <= Duration::from_millis(260), "{:?}", begun.elapsed());
    }
    let before = silent.queries();
    assert!(forwarder.metrics().upstreams[0].last);
    resolve(&forwarder, "after.example").await;
    assert_eq!(silent.queries(), before, "it was silent three times in a row");
    advance(Duration::from_secs(2)).await;
    resolve(&forwarder, "later.example").await;
    assert_eq!(silent.queries(), before + 1, "a real question finds out whether it is back");
}

#[tokio::test(start_paused = true)]
async fn when_all_hang_the_client_is_told_in_time_and_the_failure_is_kept_briefly() {
    let (first, second) = (Fake::start(|_| Vec::new()).await, Fake::start(|_| Vec::new()).await);
    let forwarder = forwarder(&[&first, &second]);
    let begun = Instant::now();
    let answer = resolve(&forwarder, "www.example").await;
    assert!(begun.elapsed() <= Duration::from_millis(5100), "{:?}", begun.elapsed());
    assert_eq!((answer.header().rcode(), ede(&answer)), (Rcode::SERVFAIL, Some(22)));
    let (lookup, message) = cached(&forwarder, "www.example");
    assert_eq!(lookup, Lookup::Hit { prefetch: false });
    assert_eq!(message.unwrap().header().rcode(), Rcode::SERVFAIL);
    advance(Duration::from_secs(6)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_lost_datagram_is_sent_again_from_elsewhere() {
    let upstream = Fake::start(|query| match query.number {
        0 => Vec::new(),
        _ => query.address(7, 300),
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)]);
    let seen = upstream.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].bytes, seen[1].bytes, "id and case are new");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_fetched_over_tcp() {
    let upstream = Fake::start(|query| {
        let mut answer = query.answer(Rcode::NOERROR);
        if query.over_tcp {
            answer = answer.a(&query.text(), 7, 300).txt("unrelated.example", 3000, 300);
        } else {
            answer.truncated = true;
        }
        vec![answer.bytes()]
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)]);
    assert_eq!(upstream.queries(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_anybody_to_ask_everything_is_refused() {
    let forwarder = Forwarder::new(&Settings::default()).unwrap();
    let answer = resolve(&forwarder, "www.example").await;
    assert_eq!(answer.header().rcode(), Rcode::REFUSED);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_edns_is_asked_without() {
    let old = Fake::start(|query| match query.message().opt() {
        Some(_) => {
            let mut bytes = query.bytes[..12].to_vec();
            bytes[2] |= 0x80;
            bytes[3] = 1;
            bytes[4..12].fill(0);
            vec![bytes]
        }
        None => query.address(7, 300),
    })
    .await;
    let forwarder = forwarder(&[&old]);
    assert_eq!(addresses(&resolve(&forwarder, "a.example").await), [(7, 300)]);
    assert_eq!(addresses(&resolve(&forwarder, "b.example").await), [(7, 300)]);
    assert_eq!(old.queries(), 3, "it is remembered");
}
