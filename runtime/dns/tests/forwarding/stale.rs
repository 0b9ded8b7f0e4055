//! Answers past their end.

use crate::*;

#[tokio::test(start_paused = true)]
async fn nobody_answers_any_more_and_the_old_answer_is_given() {
    let upstream = Fake::start(|query| match query.number {
        0 => query.address(7, 60),
        _ => Vec::new(),
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    resolve(&forwarder, "www.example").await;
    advance(Duration::from_secs(100)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Stale);
    let begun = Instant::now();
    let answer = resolve(&forwarder, "www.example").await;
    assert_eq!(begun.elapsed().as_millis() / 100, 18);
    assert_eq!((addresses(&answer), ede(&answer)), (vec![(7, 30)], Some(3)));
    let (lookup, message) = cached(&forwarder, "www.example");
    assert_eq!(lookup, Lookup::Hit { prefetch: false }, "the next client does not wait");
    assert_eq!(addresses(&message.unwrap()), [(7, 30)]);
    advance(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Miss, "too old for anybody");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_replaced_once_somebody_answers() {
    let upstream = Fake::start(|query| match query.number {
        0 => query.address(7, 60),
        1 => query.refuse(Rcode::SERVFAIL),
        _ => query.address(8, 60),
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    resolve(&forwarder, "www.example").await;
    advance(Duration::from_secs(100)).await;
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 30)]);
    advance(Duration::from_secs(31)).await;
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(8, 60)]);
}

#[tokio::test(start_paused = true)]
async fn without_stale_there_is_no_old_answer() {
    let upstream = Fake::start(|query| match query.number {
        0 => query.address(7, 60),
        _ => query.refuse(Rcode::SERVFAIL),
    })
    .await;
    let mut settings = settings(&[&upstream]);
    settings.stale = "0s".parse().unwrap();
    let forwarder = Forwarder::new(&settings).unwrap();
    resolve(&forwarder, "www.example").await;
    advance(Duration::from_secs(61)).await;
    assert_eq!(resolve(&forwarder, "www.example").await.header().rcode(), Rcode::SERVFAIL);
}

#[tokio::test(start_paused = true)]
async fn a_prefetch_that_fails_takes_nothing_away() {
    let upstream = Fake::start(|query| match query.number {
        0 => query.address(7, 100),
        _ => query.refuse(Rcode::SERVFAIL),
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    resolve(&forwarder, "www.example").await;
    advance(Duration::from_secs(95)).await;
    forwarder.refresh(question("www.example")).await;
    assert_eq!(addresses(&cached(&forwarder, "www.example").1.unwrap()), [(7, 5)]);
}
