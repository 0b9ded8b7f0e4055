//! Answers that were not given to the question: forged, broken, or of other names.

use crate::*;

#[tokio::test(start_paused = true)]
async fn forged_answers_are_ignored_and_the_true_one_is_taken() {
    let upstream = Fake::start(|query| {
        let mut wrong_id = query.address(66, 300).remove(0);
        wrong_id[0] ^= 0x55;
        let mut other = query.clone();
        other.bytes[13] = b'x';
        let wrong_question = other.address(66, 300).remove(0);
        vec![wrong_id, wrong_question, query.address(7, 300).remove(0)]
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)]);
    assert_eq!(upstream.over_tcp(), 0);
    assert_eq!(forwarder.metrics().upstreams[0].mismatched, 2);
}

#[tokio::test(start_paused = true)]
async fn under_attack_the_question_goes_over_tcp() {
    let upstream = Fake::start(|query| {
        if query.over_tcp {
            return query.address(7, 300);
        }
        let forged = |number: u8| {
            let mut bytes = query.address(66, 300).remove(0);
            bytes[1] = bytes[1].wrapping_add(number + 1);
            bytes
        };
        (0..200).map(forged).collect()
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)]);
    assert_eq!(upstream.over_tcp(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_lost_the_case_is_checked_over_tcp() {
    let forger = Fake::start(|query| {
        if query.over_tcp {
            return query.address(7, 300);
        }
        let mut guess = query.clone();
        guess.bytes[12..].make_ascii_lowercase();
        guess.address(66, 300)
    })
    .await;
    let forwarder = forwarder(&[&forger]);
    let name = "a-name-with-many-letters.example";
    assert_eq!(addresses(&resolve(&forwarder, name).await), [(7, 300)]);
    assert_eq!(forger.over_tcp(), 1);
    resolve(&forwarder, "another-name-with-many-letters.example").await;
    assert_eq!(forger.over_tcp(), 2, "it keeps the case over TCP, so what came over UDP was forged");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_keeps_the_case_is_found_out_over_tcp() {
    let lowering = Fake::start(|query| {
        let mut lowered = query.clone();
        lowered.bytes[12..].make_ascii_lowercase();
        lowered.address(7, 300)
    })
    .await;
    let forwarder = forwarder(&[&lowering]);
    for number in 0..5 {
        let name = format!("a-name-with-many-letters-{number}.example");
        assert_eq!(addresses(&resolve(&forwarder, &name).await), [(7, 300)]);
    }
    assert_eq!(lowering.over_tcp(), 1);
}

#[tokio::test(start_paused = true)]
async fn broken_answers_count_as_failure() {
    type Breakage = fn(&mut Vec<u8>);
    let breakages: [(&str, Breakage); 6] = [
        ("counts that lie", |bytes| bytes[7] = 9),
        ("cut off", |bytes| bytes.truncate(bytes.len() - 14)),
        ("a name that points at itself", |bytes| {
            let at = bytes.len() as u16;
            bytes[11] += 1;
            bytes.extend((0xc000 | at).to_be_bytes());
            bytes.extend([0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
        }),
        ("a name that points ahead", |bytes| {
            let at = bytes.len() as u16;
            bytes[11] += 1;
            bytes.extend((0xc000 | (at + 2)).to_be_bytes());
            bytes.extend([0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
        }),
        ("an address of three bytes", |bytes| {
            bytes[7] += 1;
            let name = bytes[12..].split(|byte| *byte == 0).next().unwrap().len() + 1;
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3];
            let at = 12 + name + 4;
            bytes.splice(at..at, record);
        }),
        ("a header alone", |bytes| bytes.truncate(12)),
    ];
    for (what, breakage) in breakages {
        let broken = Fake::start(move |query| {
            let mut bytes = query.address(66, 300).remove(0);
            breakage(&mut bytes);
            vec![bytes]
        })
        .await;
        let good = Fake::start(|query| query.address(7, 300)).await;
        let forwarder = forwarder(&[&broken, &good]);
        assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_do_not_follow_from_the_question_are_dropped() {
    let upstream = Fake::start(|query| {
        let name = query.text();
        let answer = query.answer(Rcode::NOERROR).cname(&name, "web.example", 600).a("web.example", 7, 300);
        vec![answer.a("bank.example", 66, 300).ns("example", "evil.example").bytes()]
    })
    .await;
    let forwarder = forwarder(&[&upstream]);
    let answer = resolve(&forwarder, "www.example").await;
    assert_eq!(types(&answer), [Rtype::CNAME, Rtype::A]);
    assert_eq!(addresses(&answer), [(7, 300)]);
    assert_eq!(answer.header_counts().nscount(), 0);
    advance(Duration::from_secs(301)).await;
    assert_eq!(cached(&forwarder, "www.example").0, Lookup::Stale, "the shortest TTL counts");
}

#[tokio::test(start_paused = true)]
async fn answers_to_other_questions_referrals_and_loops_of_aliases_are_failures() {
    type Lie = fn(&fake::Query) -> fake::Answer;
    let lies: [Lie; 3] = [
        |query| query.answer(Rcode::NOERROR).a("other.example", 66, 300),
        |query| query.answer(Rcode::NOERROR).ns("example", "ns.example"),
        |query| {
            let name = query.text();
            query.answer(Rcode::NOERROR).cname(&name, "b.example", 60).cname("b.example", &name, 60)
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let liar = Fake::start(move |query| vec![lie(query).bytes()]).await;
        let good = Fake::start(|query| query.address(7, 300)).await;
        let forwarder = forwarder(&[&liar, &good]);
        assert_eq!(addresses(&resolve(&forwarder, "www.example").await), [(7, 300)], "lie {number}");
    }
}
