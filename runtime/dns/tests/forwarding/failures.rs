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

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_waited_for_where_there_is_no_other() {
    for milliseconds in [400, 1200, 2900] {
        let slow = Fake::slow(Duration::from_millis(milliseconds), |query| query.address(7, 300)).await;
        let forwarder = forwarder(&[&slow]);
        assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)], "{milliseconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_slow_ones_the_first_to_answer_counts() {
    let slow = Fake::slow(Duration::from_millis(700), |query| query.address(1, 300)).await;
    let quicker = Fake::slow(Duration::from_millis(100), |query| query.address(2, 300)).await;
    let forwarder = forwarder(&[&slow, &quicker]);
    let begun = Instant::now();
    let question = question("www.example");
    let answer = forwarder.resolve(question.clone()).await;
    assert_eq!(addresses(&written(&answer, &question.borrow())), [(2, 300)]);
    assert!(begun.elapsed() <= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(outcomes(&answer), [Ok(Rcode::NOERROR), Err(Failure::Overtaken)]);
    assert_eq!(forwarder.metrics().upstreams[0].overtaken, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_for_aliases_that_lead_from_zone_to_zone() {
    let next = |query: &fake::Query, zone: &str| {
        let target = format!("x{}.{zone}.example", query.number);
        vec![query.answer(Rcode::NOERROR).cname(&query.text(), &target, 300).bytes()]
    };
    let odd = Fake::start(move |query| next(query, "even")).await;
    let even = Fake::start(move |query| next(query, "odd")).await;
    let mut settings = settings(&[]);
    settings.zones.insert("odd.example".into(), vec![odd.address.to_string().parse().unwrap()]);
    settings.zones.insert("even.example".into(), vec![even.address.to_string().parse().unwrap()]);
    let forwarder = Forwarder::new(&settings).unwrap();
    let answer = resolve(&forwarder, "www.odd.example").await;
    assert_eq!(types(&answer), [Rtype::CNAME; 9]);
    assert_eq!(odd.queries() + even.queries(), 9);
}

#[tokio::test(start_paused = true)]
async fn each_upstream_can_be_tried_for_itself() {
    let good = Fake::start(|query| query.address(7, 300)).await;
    let silent = Fake::start(|_| Vec::new()).await;
    let unwilling = Fake::start(|query| query.refuse(Rcode::REFUSED)).await;
    let forwarder = forwarder(&[&good, &silent, &unwilling]);
    let steps = forwarder.probe(&question("www.example")).await;
    let told: Vec<_> = steps.iter().map(ToString::to_string).collect();
    assert!(told[0].contains(&good.address.to_string()) && told[0].contains("over udp answered NOERROR"));
    assert!(told[1].contains(&silent.address.to_string()) && told[1].contains("time-out after 3500 ms"));
    assert!(told[2].contains("answered REFUSED"), "{told:?}");
}
