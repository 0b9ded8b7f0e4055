//! Records, with ends and alone.

use journal::{Error, Expect, Followed, Follower, Look, Topic, Write};

use crate::support::{begin, completed, end_with, open_counters, started};

fn port(name: &str, value: &str, expect: Expect) -> Write {
    Write { kind: "port".into(), node: "rift".into(), name: name.into(), value: Some(value.into()), expect }
}

fn conflict(name: &str) -> Error {
    Error::Conflict { kind: "port".into(), name: name.into() }
}

#[tokio::test]
async fn records_change_together_with_the_end() {
    let (_folder, journal, run) = started().await;
    journal.end(&run, end_with(1, vec![port("web", "10000", Expect::Absent)])).await.unwrap();
    let record = journal.record("port", "rift", "web").await.unwrap().unwrap();
    assert_eq!((record.value.as_str(), record.run), ("10000", Some(run)));

    let removal = Write { value: None, ..port("web", "", Expect::Present) };
    journal.end(&run, end_with(2, vec![removal])).await.unwrap();
    assert_eq!(journal.record("port", "rift", "web").await.unwrap(), None);
}

#[tokio::test]
async fn a_conflict_leaves_nothing_of_its_end_and_everything_of_its_group() {
    let (_folder, journal, run) = started().await;
    for counter in 1..=3 {
        journal.begin(&run, begin(counter)).await.unwrap();
    }
    let first = journal.end(&run, end_with(1, vec![port("web", "1", Expect::Absent)]));
    let writes = vec![port("api", "2", Expect::Absent), port("web", "2", Expect::Absent)];
    let second = journal.end(&run, end_with(2, writes));
    let third = journal.end(&run, end_with(3, vec![port("db", "3", Expect::Any)]));
    journal.barrier().await.unwrap();

    first.await.unwrap();
    assert_eq!(second.await, Err(conflict("web")));
    third.await.unwrap();
    assert_eq!(completed(&journal, &run).await, [1, 3]);
    assert_eq!(open_counters(&journal, &run).await, [2]);
    assert_eq!(journal.record("port", "rift", "api").await.unwrap(), None);
    let ports = journal.records("port", None).await.unwrap();
    let found: Vec<_> = ports.iter().map(|port| (port.name.as_str(), port.value.as_str())).collect();
    assert_eq!(found, [("db", "3"), ("web", "1")]);
}

#[tokio::test]
async fn a_write_outside_a_run_is_made_whole_or_not_at_all() {
    let (_folder, journal, _run) = started().await;
    let missing = port("web", "2", Expect::Present);
    let refused = journal.write(vec![port("api", "1", Expect::Any), missing]).await;
    assert_eq!(refused, Err(conflict("web")));
    assert_eq!(journal.records("port", None).await.unwrap(), []);

    journal.write(vec![port("api", "1", Expect::Any)]).await.unwrap();
    journal.write(vec![port("api", "2", Expect::Present)]).await.unwrap();
    let record = journal.record("port", "rift", "api").await.unwrap().unwrap();
    assert_eq!((record.value.as_str(), record.run), ("2", None));
}

#[tokio::test]
async fn records_are_told_apart_by_kind_and_node() {
    let (_folder, journal, _run) = started().await;
    let elsewhere = Write { node: "straylight".into(), ..port("web", "2", Expect::Any) };
    let otherwise = Write { kind: "service".into(), ..port("web", "3", Expect::Any) };
    journal.write(vec![port("web", "1", Expect::Any), elsewhere, otherwise]).await.unwrap();
    let of = async |node| {
        let records = journal.records("port", node).await.unwrap();
        records.into_iter().map(|record| record.value).collect::<Vec<_>>()
    };
    assert_eq!(of(Some("rift")).await, ["1"]);
    assert_eq!(of(Some("straylight")).await, ["2"]);
    assert_eq!(of(Some("orion")).await, [""; 0]);
    assert_eq!(of(None).await, ["1", "2"]);
}

#[tokio::test]
async fn a_write_may_expect_the_value_that_it_was_made_from() {
    let (_folder, journal, _run) = started().await;
    let from = |old: &str, new: &str| vec![port("web", new, Expect::Value(old.into()))];
    assert_eq!(journal.write(from("1", "2")).await, Err(conflict("web")));
    journal.write(vec![port("web", "1", Expect::Absent)]).await.unwrap();
    journal.write(from("1", "2")).await.unwrap();
    assert_eq!(journal.write(from("1", "3")).await, Err(conflict("web")));
    assert_eq!(journal.record("port", "rift", "web").await.unwrap().unwrap().value, "2");
}

#[tokio::test]
async fn records_are_found_by_how_their_names_begin() {
    let (_folder, journal, _run) = started().await;
    let names = ["a A", "a AAAA", "a.b A", "aa A", "b A"];
    journal.write(names.iter().map(|name| port(name, "1", Expect::Any)).collect()).await.unwrap();
    let beneath = |prefix: &str| Look::Beneath { kind: "port".into(), prefix: prefix.into() };
    let one = Look::One { kind: "port".into(), name: "b A".into() };
    let found = journal.look("rift", vec![beneath("a "), one, beneath("")]).await.unwrap();
    assert_eq!(found[0].iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["a A", "a AAAA"]);
    assert_eq!((found[1].len(), found[2].len()), (1, 5));
}

const NAMES: &[Topic] = &[Topic::Kinds("dns")];

fn name_record(name: &str, value: Option<&str>) -> Write {
    let value = value.map(str::to_owned);
    Write { kind: "dns:a".into(), value, ..port(name, "", Expect::Any) }
}

#[tokio::test]
async fn who_follows_sees_each_write_once_and_whole() {
    let (folder, journal, _run) = started().await;
    journal.write(vec![name_record("x", Some("1")), port("web", "1", Expect::Any)]).await.unwrap();
    let mut follower = Follower::open(folder.path(), "rift", NAMES).unwrap();
    let Followed::All(all) = follower.look().unwrap() else { panic!("the first look shows everything") };
    assert_eq!(all.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["x"]);
    assert_eq!(follower.look().unwrap(), Followed::Nothing);

    journal.write(vec![port("web", "2", Expect::Any)]).await.unwrap();
    assert_eq!(follower.look().unwrap(), Followed::Nothing);
    journal.write(vec![name_record("x", None), name_record("y", Some("2"))]).await.unwrap();
    journal.write(vec![name_record("y", Some("3"))]).await.unwrap();
    let Followed::Some(written) = follower.look().unwrap() else { panic!("two records were written") };
    let found: Vec<_> = written.iter().map(|one| (one.name.as_str(), one.value.as_deref())).collect();
    assert_eq!(found, [("x", None), ("y", Some("3"))]);
    assert_eq!(follower.look().unwrap(), Followed::Nothing);
}

#[tokio::test]
async fn who_follows_begins_anew_where_another_database_lies_in_its_place() {
    let (folder, journal, _run) = started().await;
    journal.write(vec![name_record("x", Some("1"))]).await.unwrap();
    let mut follower = Follower::open(folder.path(), "rift", NAMES).unwrap();
    follower.look().unwrap();
    drop(journal);
    let other = tempfile::tempdir().unwrap();
    let journal = journal::Journal::open(other.path(), std::sync::Arc::new(journal::SystemClock)).unwrap();
    journal.write(vec![name_record("z", Some("1"))]).await.unwrap();
    drop(journal);
    for file in ["journal.db-wal", "journal.db-shm", "journal.db"] {
        let _ = std::fs::remove_file(folder.path().join(file));
        if other.path().join(file).exists() {
            std::fs::rename(other.path().join(file), folder.path().join(file)).unwrap();
        }
    }
    let Followed::All(all) = follower.look().unwrap() else { panic!("it is another database") };
    assert_eq!(all.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["z"]);
}

#[tokio::test]
async fn who_follows_sees_what_it_asked_for_and_nothing_else() {
    let (folder, journal, _run) = started().await;
    let record = |kind: &str, name: &str| Write { kind: kind.into(), ..port(name, "1", Expect::Any) };
    let (route, order) = (record("route", "a:443"), record("certificate-order", "a"));
    journal.write(vec![route, order, record("certificate", "a"), name_record("x", Some("1"))]).await.unwrap();
    let topics = &[Topic::Kind("route"), Topic::Kind("certificate")];
    let mut follower = Follower::open(folder.path(), "rift", topics).unwrap();
    let Followed::All(all) = follower.look().unwrap() else { panic!("the first look shows everything") };
    let found: Vec<_> = all.iter().map(|record| (&*record.kind, &*record.name)).collect();
    assert_eq!(found, [("route", "a:443"), ("certificate", "a")]);

    journal.write(vec![name_record("x", Some("2")), record("route-challenge", "t")]).await.unwrap();
    assert_eq!(follower.look().unwrap(), Followed::Nothing);
    journal.write(vec![Write { value: None, ..record("route", "a:443") }]).await.unwrap();
    let Followed::Some(written) = follower.look().unwrap() else { panic!("a record is gone") };
    assert_eq!((written.len(), written[0].value.as_deref()), (1, None));
    assert!(follower.remembers("route", "a:443").unwrap() && !follower.remembers("route", "b:443").unwrap());
}
