use jiff::ToSpan as _;
use jiff::civil::DateTime;

use super::*;
use crate::playbooks::At;

fn cron(expression: &str, zone: &str) -> Times {
    try_cron(expression, zone).unwrap()
}

fn try_cron(expression: &str, zone: &str) -> Result<Times> {
    let trigger = Trigger::Cron(Cron {
        expression: expression.into(),
        zone: Some(zone.into()),
        jitter: Duration::ZERO,
    });
    Times::of(&trigger, "", &TimeZone::UTC).map(Option::unwrap)
}

fn every(seconds: u64, jitter: u64) -> Times {
    let trigger =
        Trigger::Every(Every { every: Duration::from_secs(seconds), jitter: Duration::from_secs(jitter) });
    Times::of(&trigger, "p/t", &TimeZone::UTC).unwrap().unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn some(times: &Times, after: &str, count: usize) -> Vec<String> {
    std::iter::successors(times.next(at(after)), |time| times.next(*time))
        .take(count)
        .map(|time| time.to_string())
        .collect()
}

type Matches = fn(&DateTime) -> bool;

/// Expressions beside what they mean, told minute by minute. The last word: whether they name hours.
const EXPRESSIONS: &[(&str, Matches, bool)] = &[
    ("* * * * *", |_| true, false),
    ("*/15 * * * *", |t| t.minute() % 15 == 0, false),
    ("7 * * * SUN", |t| t.minute() == 7 && t.weekday().to_sunday_zero_offset() == 0, false),
    ("30 2 * * *", |t| t.hour() == 2 && t.minute() == 30, true),
    ("0,15,45 1-3 * * *", |t| [0, 15, 45].contains(&t.minute()) && (1..=3).contains(&t.hour()), true),
    ("*/10 */2 * * *", |t| t.minute() % 10 == 0 && t.hour() % 2 == 0, true),
    ("0 0 29 2 *", |t| (t.month(), t.day(), t.hour(), t.minute()) == (2, 29, 0, 0), true),
    ("5 2 1-7 OCT,APR MON-FRI", any_day, true),
    ("59 1 L * *", |t| (t.hour(), t.minute()) == (1, 59) && t.date() == t.date().last_of_month(), true),
    ("@daily", |t| (t.hour(), t.minute()) == (0, 0), true),
    ("@hourly", |t| t.minute() == 0, false),
];

/// As with cron since 1979: where day and weekday are both given, either will do.
fn any_day(time: &DateTime) -> bool {
    let weekday = time.weekday().to_sunday_zero_offset();
    let is_day = (1..=7).contains(&time.day()) || (1..=5).contains(&weekday);
    [4, 10].contains(&time.month()) && is_day && (time.hour(), time.minute()) == (2, 5)
}

/// Every moment at which an expression goes off, found by looking at the wall clock minute by minute.
fn model(minutes: &[(i64, DateTime)], matches: Matches, names_hours: bool) -> Vec<i64> {
    let mut due = Vec::new();
    let mut latest: Option<DateTime> = None;
    for (moment, shown) in minutes {
        if !names_hours {
            due.extend(matches(shown).then_some(*moment));
            continue;
        }
        let is_repeated = latest.is_some_and(|latest| *shown <= latest);
        if is_repeated {
            continue;
        }
        // What the clock has left out counts here.
        let left_out = latest.is_some_and(|latest| {
            let is_moved = (shown.minute() + 59) % 60 != latest.minute() || shown.hour() - latest.hour() > 1;
            is_moved
                && (1..120).any(|minutes| {
                    let before = *shown - minutes.minutes();
                    before > latest && matches(&before)
                })
        });
        due.extend((left_out || matches(shown)).then_some(*moment));
        latest = Some(*shown);
    }
    due
}

#[test]
fn expressions_go_off_when_a_wall_clock_that_is_looked_at_every_minute_says_so() {
    let (begin, end) = (at("2027-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z"));
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        let clock = TimeZone::get(zone).unwrap();
        let show = |moment| clock.to_datetime(jiff::Timestamp::from_millisecond(moment).unwrap());
        let moments = (begin.0..end.0).step_by(60_000);
        let minutes: Vec<(i64, DateTime)> = moments.map(|moment| (moment, show(moment))).collect();
        for (expression, matches, names_hours) in EXPRESSIONS {
            let times = cron(expression, zone);
            let first = times.next(Timestamp(begin.0 - 1)).unwrap();
            let found = std::iter::successors(Some(first), |time| times.next(*time));
            let found: Vec<i64> = found.map(|time| time.0).take_while(|time| *time < end.0).collect();
            let expected = model(&minutes, *matches, *names_hours);
            let differs = found.iter().zip(&expected).position(|(one, other)| one != other);
            assert_eq!(
                differs,
                None,
                "{expression} in {zone}: {:?}",
                differs.map(|at| (show(found[at]), show(expected[at])))
            );
            assert_eq!(found.len(), expected.len(), "{expression} in {zone}");
        }
    }
}

#[test]
fn a_time_that_the_clock_leaves_out_goes_off_at_the_first_moment_after_the_gap() {
    let times = cron("30 2 * * *", "Europe/Berlin");
    let expected = ["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"];
    assert_eq!(some(&times, "2027-03-27T00:00:00Z", 3), expected);
    // Half an hour, and several of them go off once.
    let times = cron("5,10,20,45 2 * * *", "Australia/Lord_Howe");
    let expected = ["2027-10-02T15:30:00Z", "2027-10-02T15:45:00Z", "2027-10-03T15:05:00Z"];
    assert_eq!(some(&times, "2027-10-02T15:29:59Z", 3), expected);
}

#[test]
fn a_time_that_the_clock_shows_twice_goes_off_at_the_first() {
    let times = cron("30 1 * * *", "America/New_York");
    let expected = ["2027-11-07T05:30:00Z", "2027-11-08T06:30:00Z"];
    assert_eq!(some(&times, "2027-11-07T00:00:00Z", 2), expected);
    // Asked in the middle of the second time round.
    assert_eq!(some(&times, "2027-11-07T06:10:00Z", 1), expected[1..]);
}

#[test]
fn every_hour_goes_on_while_the_clock_shows_an_hour_twice() {
    let times = cron("30 * * * *", "Europe/Berlin");
    let expected = ["2027-10-30T23:30:00Z", "2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"];
    assert_eq!(some(&times, "2027-10-30T23:00:00Z", 3), expected);
}

#[test]
fn seconds_are_a_sixth_field_before_the_others() {
    let times = cron("*/20 0 12 * * *", "UTC");
    let expected =
        ["2027-01-01T12:00:00Z", "2027-01-01T12:00:20Z", "2027-01-01T12:00:40Z", "2027-01-02T12:00:00Z"];
    assert_eq!(some(&times, "2027-01-01T11:59:59.5Z", 4), expected);
    assert_eq!(some(&times, "2027-01-01T12:00:00.5Z", 1), expected[1..2]);
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let code = |expression: &str| try_cron(expression, "UTC").unwrap_err().code;
    let long = format!("{}1 * * * *", "1,".repeat(300));
    for wrong in [
        "",
        "*",
        "* * * *",
        "* * * * * * *",
        "61 * * * *",
        "* 25 * * *",
        "* * * * NIX",
        "@never",
        "@reboot",
        "@daily @daily",
        "x@daily",
        "a b c d e",
        "\u{1b}[31m * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "- - - - -",
        &long,
    ] {
        assert_eq!(code(wrong), Code::TriggerTime, "{wrong}");
    }
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 0 31 2 *"] {
        assert_eq!(code(never), Code::CronNever, "{never}");
    }
    assert_eq!(try_cron("@daily", "Mars/Olympus").unwrap_err().code, Code::ZoneUnknown);
    let often = Trigger::Every(Every { every: Duration::from_millis(10), jitter: Duration::ZERO });
    assert_eq!(check(&often).unwrap_err().code, Code::TriggerTime);
    let late = Trigger::Every(Every { every: SHORTEST, jitter: LONGEST_JITTER * 2 });
    assert_eq!(check_jitter(&late).unwrap_err().code, Code::TriggerTime);
}

#[test]
fn every_counts_from_1970() {
    let expected = ["2027-01-01T00:10:00Z", "2027-01-01T00:20:00Z"];
    assert_eq!(some(&every(600, 0), "2027-01-01T00:09:59.999Z", 2), expected);
    assert_eq!(some(&every(600, 0), "2027-01-01T00:10:00Z", 1), expected[1..]);
}

#[test]
fn a_moment_comes_once() {
    let moment = at("2026-12-24T17:00:00Z");
    let trigger = Trigger::At(At { at: moment, text: String::new() });
    let times = Times::of(&trigger, "", &TimeZone::UTC).unwrap().unwrap();
    assert_eq!(times.next(Timestamp(moment.0 - 1)), Some(moment));
    assert_eq!(times.next(moment), None);
}

#[test]
fn jitter_puts_each_time_off_by_a_share_that_stays_the_same() {
    let (one, other) = (every(600, 60), every(600, 60));
    let mut shares = std::collections::BTreeSet::new();
    for count in 0..100 {
        let time = Timestamp(count * 600_000);
        let late = one.goes_off(time).since(time);
        assert_eq!(one.goes_off(time), other.goes_off(time));
        assert!(late < Duration::from_secs(60));
        shares.insert(late);
    }
    assert!(shares.len() > 90, "{shares:?}");
}

fn jittered(expression: &str, zone: &str, jitter: u64) -> Result<Times> {
    let (expression, zone) = (expression.into(), Some(zone.into()));
    let trigger = Trigger::Cron(Cron { expression, zone, jitter: Duration::from_secs(jitter) });
    Times::of(&trigger, "", &TimeZone::UTC).map(Option::unwrap)
}

#[test]
fn a_jitter_that_reaches_beyond_the_next_time_is_refused() {
    let every = |seconds, jitter| {
        let (every, jitter) = (Duration::from_secs(seconds), Duration::from_secs(jitter));
        Times::of(&Trigger::Every(Every { every, jitter }), "", &TimeZone::UTC)
    };
    assert!(every(60, 59).is_ok());
    for jitter in [60, 120] {
        let error = every(60, jitter).unwrap_err();
        assert_eq!(error.code, Code::TriggerTime);
        assert!(error.message.ends_with("is not shorter than the 1m from one time to the next"), "{error}");
    }
    let (minute, hour) = (60, 3600);
    for (expression, zone, longest) in [
        ("* * * * *", "UTC", minute),
        ("0 9,17 * * *", "UTC", 8 * hour),
        // The first two are not the nearest.
        ("0 0,1 * * *", "UTC", hour),
        ("*/40 * * * *", "Europe/Berlin", 20 * minute),
        ("0 9 * * SUN,WED,THU", "America/New_York", 24 * hour),
        // Also where a day has 23 hours.
        ("30 2 * * *", "Europe/Berlin", 24 * hour),
        ("0 0 29 2 *", "UTC", 24 * hour),
    ] {
        assert!(jittered(expression, zone, longest).is_ok(), "{expression}");
        let error = jittered(expression, zone, longest + 1).unwrap_err();
        assert_eq!(error.code, Code::TriggerTime, "{expression}");
    }
}

#[test]
fn what_has_passed_is_counted_and_its_end_known_however_long_it_was() {
    let minutely = cron("* * * * *", "UTC");
    let now = at("2027-06-01T12:00:30Z");
    let passed = minutely.passed(at("2027-06-01T11:00:30Z"), now, 3);
    assert_eq!((passed.last.len(), passed.before, passed.is_more), (3, 57, false));
    assert_eq!(passed.last.back(), Some(&at("2027-06-01T12:00:00Z")));
    let passed = minutely.passed(at("2025-06-01T11:00:30Z"), now, 1000);
    assert_eq!((passed.last.len(), passed.is_more), (1000, true));
    assert_eq!(passed.last.back(), Some(&at("2027-06-01T12:00:00Z")));
    let secondly = cron("* * 2 1 1 *", "UTC").passed(at("2020-01-01T00:00:00Z"), now, 1);
    assert_eq!(secondly.last, [at("2027-01-01T02:59:59Z")]);
    assert!(secondly.is_more);
    assert_eq!(minutely.passed(now, now, 3), Passed::default());
    // Set back by a day: nothing has passed.
    assert_eq!(minutely.passed(now, at("2027-05-31T12:00:30Z"), 3), Passed::default());
}
