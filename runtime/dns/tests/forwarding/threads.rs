//! One forwarder for several threads, each with a runtime of its own; and memory that stays within its bounds.

use crate::*;

fn on_a_thread_of_its_own<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        };
        scope.spawn(run).join().unwrap()
    })
}

#[tokio::test]
async fn connections_of_a_thread_that_ended_are_replaced() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let fallback = vec![format!("tcp://{}", upstream.address).parse().unwrap()];
    let settings = Settings { fallback, ..Settings::default() };
    let forwarder = Forwarder::new(&settings).unwrap();
    for number in 0..4 {
        let (forwarder, name) = (Arc::clone(&forwarder), format!("n{number}.example"));
        let work = async move || addresses(&resolve(&forwarder, &name).await);
        let there = tokio::task::spawn_blocking(|| on_a_thread_of_its_own(work));
        assert_eq!(there.await.unwrap(), [(7, 300)]);
    }
    assert_eq!(upstream.connections(), 4);
}

#[tokio::test]
async fn threads_share_questions_under_way_and_answers() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = forwarder(&[&upstream]);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let forwarder = Arc::clone(&forwarder);
            let work = async move || {
                let names: Vec<_> = (0..50).map(|number| format!("n{number}.example")).collect();
                let all = names.iter().map(|name| resolve(&forwarder, name));
                let answers = futures_util::future::join_all(all).await;
                answers.iter().all(|answer| addresses(answer) == [(7, 300)])
            };
            tokio::task::spawn_blocking(|| on_a_thread_of_its_own(work))
        })
        .collect();
    for thread in threads {
        assert!(thread.await.unwrap());
    }
    assert_eq!(upstream.queries(), 50);
}

#[tokio::test(start_paused = true)]
async fn the_cache_keeps_its_bound_and_what_is_in_use() {
    let upstream = Fake::start(|query| query.address(7, 86_400)).await;
    let mut settings = settings(&[&upstream]);
    settings.cache = "256KiB".parse().unwrap();
    let forwarder = Forwarder::new(&settings).unwrap();
    resolve(&forwarder, "hot.example").await;
    let mut misses = 0;
    for number in 0..5000 {
        resolve(&forwarder, &format!("once{number}.example")).await;
        let is_hit = matches!(cached(&forwarder, "hot.example").0, Lookup::Hit { .. });
        if !is_hit {
            misses += 1;
            resolve(&forwarder, "hot.example").await;
        }
    }
    let metrics = forwarder.metrics();
    assert!(metrics.bytes <= 256 * 1024, "{}", metrics.bytes);
    assert!(metrics.entries > 200, "{}", metrics.entries);
    assert!(misses <= 5, "{misses}");
}

#[tokio::test(start_paused = true)]
async fn too_many_different_questions_are_refused_and_the_rest_answered() {
    let upstream = Fake::start(|_| Vec::new()).await;
    let forwarder = forwarder(&[&upstream]);
    let names: Vec<_> = (0..1100).map(|number| format!("n{number}.example")).collect();
    let all = futures_util::future::join_all(names.iter().map(|name| resolve(&forwarder, name))).await;
    assert!(all.iter().all(|answer| answer.header().rcode() == Rcode::SERVFAIL));
    assert_eq!(forwarder.metrics().crowded, 1100 - 1024);
}
