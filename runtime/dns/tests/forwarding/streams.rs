//! Connections to upstreams: shared, reopened, and given up when they are stuck.

use std::sync::Mutex;

use crate::*;

fn over_tcp(upstreams: &[&Fake]) -> Arc<Forwarder> {
    let written = upstreams.iter().map(|fake| format!("tcp://{}", fake.address).parse().unwrap());
    Forwarder::new(&Settings { fallback: written.collect(), ..Settings::default() }).unwrap()
}

async fn resolve_many(forwarder: &Arc<Forwarder>, count: usize) -> Vec<Message<Vec<u8>>> {
    let names: Vec<_> = (0..count).map(|number| format!("n{number}.example")).collect();
    futures_util::future::join_all(names.iter().map(|name| resolve(forwarder, name))).await
}

#[tokio::test(start_paused = true)]
async fn many_questions_share_one_connection() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = over_tcp(&[&upstream]);
    let answers = resolve_many(&forwarder, 200).await;
    for answer in &answers {
        assert_eq!(addresses(answer), [(7, 300)], "{:?}", ede(answer));
    }
    resolve(&forwarder, "later.example").await;
    assert_eq!((upstream.connections(), upstream.over_tcp()), (1, 201));
}

#[tokio::test(start_paused = true)]
async fn answers_may_come_in_any_order() {
    let held = Mutex::new(Vec::new());
    let upstream = Fake::start(move |query| {
        let mut held = held.lock().unwrap();
        held.extend(query.address(query.text().len() as u8, 300));
        if held.len() < 20 { Vec::new() } else { held.drain(..).rev().collect() }
    });
    let upstream = upstream.await;
    let forwarder = over_tcp(&[&upstream]);
    for (number, answer) in resolve_many(&forwarder, 20).await.iter().enumerate() {
        assert_eq!(addresses(answer), [(format!("n{number}.example").len() as u8, 300)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_closed_is_opened_again() {
    let upstream = Fake::start(|query| [query.address(7, 300), vec![Vec::new()]].concat()).await;
    let forwarder = over_tcp(&[&upstream]);
    for number in 0..5 {
        let answer = resolve(&forwarder, &format!("n{number}.example")).await;
        assert_eq!(addresses(&answer), [(7, 300)], "{number}");
    }
    assert_eq!(upstream.connections(), 5);
    assert_eq!(forwarder.metrics().upstreams[0].unreachable, 0);
}

#[tokio::test(start_paused = true)]
async fn a_question_on_a_connection_that_breaks_is_asked_once_more() {
    let upstream = Fake::start(|query| match query.number {
        // An empty answer closes the connection.
        1 => vec![Vec::new()],
        _ => query.address(7, 300),
    })
    .await;
    let forwarder = over_tcp(&[&upstream]);
    resolve(&forwarder, "a.example").await;
    assert_eq!(addresses(&resolve(&forwarder, "b.example").await), [(7, 300)]);
    assert_eq!((upstream.connections(), upstream.queries()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = over_tcp(&[&upstream]);
    resolve(&forwarder, "a.example").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    resolve(&forwarder, "b.example").await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_connection_is_passed_over_and_given_up() {
    let stuck = Fake::start(|query| match query.number {
        0 => query.address(1, 300),
        _ => Vec::new(),
    })
    .await;
    let good = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = over_tcp(&[&stuck, &good]);
    assert_eq!(addresses(&resolve(&forwarder, "a.example").await), [(1, 300)]);
    let begun = Instant::now();
    assert_eq!(addresses(&resolve(&forwarder, "b.example").await), [(7, 300)]);
    assert!(begun.elapsed() <= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_closed_port_costs_no_time() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = Fake::start(|query| query.address(7, 300)).await;
    for scheme in ["udp", "tcp"] {
        let mut settings = settings(&[&good]);
        settings.resolvers = vec![format!("{scheme}://{closed}").parse().unwrap()];
        let forwarder = Forwarder::new(&settings).unwrap();
        let question = question("www.example");
        let answer = forwarder.resolve(question.clone()).await;
        assert_eq!(addresses(&written(&answer, &question.borrow())), [(7, 300)]);
        assert!(matches!(outcomes(&answer)[0], Err(Failure::Unreachable(_))), "{:?}", answer.trace());
    }
}
