//! Answers as clients get them: kept, counted down, cut, and shared.

use crate::*;

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_and_counts_down() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Miss);
    let answer = resolve(&forwarder, "www.example").await;
    assert_eq!(addresses(&answer), [(7, 300)]);
    advance(Duration::from_secs(100)).await;
    let (lookup, message) = cached(&forwarder, "www.example");
    assert_eq!(lookup, Lookup::Hit { prefetch: false });
    assert_eq!(addresses(&message.unwrap()), [(7, 200)]);
    assert_eq!(upstream.queries(), 1);
    let metrics = forwarder.metrics();
    assert_eq!((metrics.hits, metrics.misses, metrics.entries), (1, 1, 1));
    assert_eq!((metrics.upstreams[0].queries, metrics.upstreams[0].answers), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_its_own_id_case_and_flags() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = forwarder(&[&upstream]);
    resolve(&forwarder, "www.example").await;
    let original = b"\x03wWw\x07eXaMpLe\x00\x00\x01\x00\x01";
    let owned = question("www.example");
    let asked = Question {
        id: 0xbeef,
        checking_disabled: false,
        edns: false,
        original,
        limit: 512,
        ..owned.borrow()
    };
    let mut out = b"in front".to_vec();
    assert_eq!(forwarder.cached(&asked, now(), &mut out), Lookup::Hit { prefetch: false });
    let message = parse(&out[8..]);
    let header = message.header();
    assert_eq!(header.id(), 0xbeef);
    assert!(header.qr() && header.rd() && header.ra() && !header.aa() && !header.tc() && !header.cd());
    assert!(!header.ad(), "nothing is validated here, whatever the upstream says");
    assert_eq!(&out[8 + 12..8 + 12 + original.len()], original);
    let owner = message.answer().unwrap().next().unwrap().unwrap().owner().to_string();
    assert_eq!(owner, "wWw.eXaMpLe", "the answer is compressed against the question");
    assert!(message.opt().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_same_question_is_asked_once_for_many_clients() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = forwarder(&[&upstream]);
    let all = futures_util::future::join_all((0..500).map(|_| resolve(&forwarder, "www.example"))).await;
    assert!(all.iter().all(|answer| addresses(answer) == [(7, 300)]));
    assert_eq!(upstream.queries(), 1);
    assert_eq!(forwarder.metrics().joined, 499);
}

#[tokio::test(start_paused = true)]
async fn nxdomain_and_nodata_are_answers() {
    for rcode in [Rcode::NXDOMAIN, Rcode::NOERROR] {
        let first =
            Fake::start(move |query| vec![query.answer(rcode).soa("example", 7200, 600).bytes()]).await;
        let second = Fake::start(|query| query.address(7, 300)).await;
        let forwarder = forwarder(&[&first, &second]);
        let answer = resolve(&forwarder, "no.example").await;
        assert_eq!(answer.header().rcode(), rcode);
        let soa = answer.authority().unwrap().next().unwrap().unwrap();
        assert_eq!((soa.rtype(), soa.ttl().as_secs()), (Rtype::SOA, 600));
        assert_eq!(second.queries(), 0);
        advance(Duration::from_secs(599)).await;
        assert!(matches!(cached(&forwarder, "no.example").0, Lookup::Hit { .. }));
        advance(Duration::from_secs(2)).await;
        assert_eq!(cached(&forwarder, "no.example").0, Lookup::Stale);
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_not_how_long_it_is_missing_is_not_kept() {
    let upstream = Fake::start(|query| query.refuse(Rcode::NXDOMAIN)).await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(resolve(&forwarder, "no.example").await.header().rcode(), Rcode::NXDOMAIN);
    assert_eq!(cached(&forwarder, "no.example").0, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_less_is_told_to_use_tcp() {
    let upstream =
        Fake::start(|query| vec![query.answer(Rcode::NOERROR).txt(&query.text(), 900, 300).bytes()]);
    let upstream = upstream.await;
    let forwarder = forwarder(&[&upstream]);
    let owned = OwnedQuestion::new("long.example", Rtype::TXT).unwrap();
    let answer = forwarder.resolve(owned.clone()).await;
    let small = Question { limit: 512, edns: false, ..owned.borrow() };
    let message = written(&answer, &small);
    assert!(message.header().tc() && message.as_slice().len() <= 512);
    assert_eq!(message.header_counts().ancount(), 0);
    let with_edns = written(&answer, &Question { limit: 512, ..owned.borrow() });
    assert!(with_edns.header().tc() && with_edns.opt().is_some());
    let large = written(&answer, &Question { limit: 1232, ..owned.borrow() });
    assert!(!large.header().tc());
    assert_eq!(types(&large), [Rtype::TXT]);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_asked_for_before_it_ends() {
    let upstream = Fake::start(|query| query.address(query.number as u8, 100)).await;
    let forwarder = forwarder(&[&upstream]);
    resolve(&forwarder, "www.example").await;
    advance(Duration::from_secs(89)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Hit { prefetch: false });
    advance(Duration::from_secs(2)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Hit { prefetch: true });
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Hit { prefetch: false }, "said once");
    forwarder.refresh(question("www.example")).await;
    assert_eq!(addresses(&cached(&forwarder, "www.example").1.unwrap()), [(1, 100)]);
    assert_eq!(forwarder.metrics().prefetches, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_the_cache_without_asking_for_recursion_and_meta_types_are_refused() {
    let upstream = Fake::start(|query| query.address(7, 300)).await;
    let forwarder = forwarder(&[&upstream]);
    resolve(&forwarder, "www.example").await;
    let owned = question("www.example");
    let snoop = Question { recursion_desired: false, ..owned.borrow() };
    assert_eq!(forwarder.cached(&snoop, now(), &mut Vec::new()), Lookup::Miss);
    let answer = forwarder.resolve(snoop.to_owned()).await;
    assert_eq!(answer.rcode(), Rcode::REFUSED);
    for rtype in [Rtype::AXFR, Rtype::IXFR, Rtype::TSIG, Rtype::OPT] {
        let answer = forwarder.resolve(OwnedQuestion::new("www.example", rtype).unwrap()).await;
        assert_eq!(answer.rcode(), Rcode::NOTIMP);
    }
    assert_eq!(upstream.queries(), 1);
}

#[tokio::test(start_paused = true)]
async fn clients_that_want_signatures_have_answers_of_their_own() {
    let upstream = Fake::start(|query| {
        let signed = query.message().opt().is_some_and(|opt| opt.dnssec_ok());
        query.address(u8::from(signed), 300)
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(0, 300)]);
    let owned = question("www.example");
    let signed = Question { dnssec_ok: true, ..owned.borrow() };
    let answer = written(&forwarder.resolve(signed.to_owned()).await, &signed);
    assert_eq!(addresses(&answer), [(1, 300)]);
    assert!(answer.opt().unwrap().dnssec_ok());
}

#[tokio::test(start_paused = true)]
async fn ttls_are_bounded_and_nothing_is_kept_for_no_time() {
    let upstream = Fake::start(|query| {
        let zero = query.text().to_lowercase().starts_with("zero");
        query.address(7, if zero { 0 } else { 1_000_000 })
    });
    let upstream = upstream.await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(addresses(&resolve(&forwarder, "long.example").await), [(7, 86_400)]);
    assert_eq!(addresses(&resolve(&forwarder, "zero.example").await), [(7, 0)]);
    assert_eq!(cached(&forwarder, "zero.example").0, Lookup::Miss);
}
