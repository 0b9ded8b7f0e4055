//! Runs, their states and sources, and the locks on them.

use journal::{Error, Filter, NewCause, NewPlan, NewRun, PageOfRuns, RunId, RunState, Timestamp};
use serde_json::json;

use crate::support::{add_run, begin, end, new_run, open, started};

#[tokio::test]
async fn a_run_reads_back_as_it_was_recorded() {
    let (_folder, journal, _) = started().await;
    let new = new_run(&journal);
    journal.create_run(new.clone()).await.unwrap();
    let run = journal.run(new.id.as_str()).await.unwrap();
    assert_eq!((run.id, &run.name, &run.script), (new.id, &new.name, &new.script));
    assert_eq!(
        (&run.args, &run.params, &run.grants, &run.limits),
        (&new.args, &new.params, &new.grants, &new.limits)
    );
    assert_eq!(
        (run.seed, &run.node, &*run.source, &run.root),
        (new.seed, &new.node, new.source.as_str(), &new.root)
    );
    assert_eq!((run.state, run.outcome, run.exit_code), (RunState::Pending, None, None));
    assert_eq!((run.started, run.ended, run.effects, run.changed), (None, None, 0, 0));
}

#[tokio::test]
async fn a_run_cannot_be_recorded_twice() {
    let (_folder, journal, _) = started().await;
    let new = new_run(&journal);
    journal.create_run(new.clone()).await.unwrap();
    let conflict = Error::Conflict { kind: "run".into(), name: new.id.to_string() };
    assert_eq!(journal.create_run(new).await, Err(conflict));
}

#[tokio::test]
async fn states_keep_their_times_and_reasons() {
    let (folder, journal, id) = started().await;
    journal.set_state(&id, RunState::Running, None, None).await.unwrap();
    let running = journal.run(id.as_str()).await.unwrap();
    let reason = json!({ "code": "MC-J001" });
    journal.set_state(&id, RunState::Paused, Some(reason.clone()), Some(6)).await.unwrap();
    let paused = journal.run(id.as_str()).await.unwrap();
    assert_eq!((paused.state, paused.outcome, paused.exit_code), (RunState::Paused, Some(reason), Some(6)));
    assert_eq!((paused.started, paused.ended), (running.started, None));

    journal.set_state(&id, RunState::Running, None, None).await.unwrap();
    journal.set_state(&id, RunState::Done, None, Some(0)).await.unwrap();
    drop(journal);
    let done = open(folder.path()).run(id.as_str()).await.unwrap();
    assert_eq!((done.state, done.outcome, done.exit_code), (RunState::Done, None, Some(0)));
    assert_eq!(done.started, running.started);
    assert!(running.started.is_some() && done.ended > done.started && done.updated > running.updated);
}

#[tokio::test]
async fn a_run_counts_its_effects_and_changes() {
    let (_folder, journal, id) = started().await;
    let created = journal.run(id.as_str()).await.unwrap().created;
    for counter in 1..=5 {
        journal.begin(&id, begin(counter)).await.unwrap();
        let mut end = end(counter);
        end.changed = counter % 2 == 0;
        let _queued = journal.end(&id, end);
    }
    journal.begin(&id, begin(6)).await.unwrap();
    let run = journal.run(id.as_str()).await.unwrap();
    assert_eq!((run.effects, run.changed), (5, 2));
    assert!(run.updated > created);
}

#[tokio::test]
async fn a_unique_beginning_finds_the_run() {
    let (_folder, journal, _) = started().await;
    let mut ids = Vec::new();
    for days in [0, 1, 2] {
        for chance in [1, 2] {
            let id = RunId::new(Timestamp(1_700_000_000_000 + 200_000_000_000 + days * 86_400_000), chance);
            let mut run = new_run(&journal);
            run.id = id;
            journal.create_run(run).await.unwrap();
            ids.push(id);
        }
    }
    let common =
        ids[2].as_str().bytes().zip(ids[3].as_str().bytes()).take_while(|(one, other)| one == other).count();
    let ambiguous = &ids[2].as_str()[..common];
    let unique = &ids[2].as_str()[..=common].to_uppercase();
    assert_eq!(journal.run(unique).await.unwrap().id, ids[2]);
    let matches = vec![ids[3], ids[2]];
    assert_eq!(journal.run(ambiguous).await, Err(Error::AmbiguousRun { given: ambiguous.into(), matches }));
    for unknown in ["zzz", "0~", "%", "'"] {
        assert_eq!(journal.run(unknown).await, Err(Error::UnknownRun { given: unknown.into() }));
    }
    assert!(matches!(journal.run("").await, Err(Error::AmbiguousRun { .. })));
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_by_state() {
    let (_folder, journal, first) = started().await;
    let second = add_run(&journal).await;
    let third = add_run(&journal).await;
    journal.set_state(&second, RunState::Failed, Some(json!({ "message": "no" })), Some(1)).await.unwrap();
    let ids = async |filter| {
        let runs = journal.runs(filter).await.unwrap();
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Filter::default()).await, [third, second, first]);
    assert_eq!(ids(Filter { limit: 2, ..Filter::default() }).await, [third, second]);
    assert_eq!(ids(Filter { state: Some(RunState::Failed), limit: 9 }).await, [second]);
    assert_eq!(ids(Filter { state: Some(RunState::Waiting), limit: 9 }).await, []);
}

#[tokio::test]
async fn a_request_to_cancel_is_seen_by_every_process_until_the_run_ends() {
    let (folder, journal, id) = started().await;
    let other = open(folder.path());
    assert!(!journal.cancel_requested(&id).await.unwrap());
    other.request_cancel(&id).await.unwrap();
    assert!(journal.cancel_requested(&id).await.unwrap());
    journal.set_state(&id, RunState::Running, None, None).await.unwrap();
    assert!(journal.run(id.as_str()).await.unwrap().cancel_requested);
    journal.set_state(&id, RunState::Cancelled, None, Some(130)).await.unwrap();
    assert!(!journal.cancel_requested(&id).await.unwrap());
}

#[tokio::test]
async fn the_last_wish_is_what_the_next_process_reads() {
    let (folder, journal, id) = started().await;
    assert_eq!(journal.run(id.as_str()).await.unwrap().wish, None);
    journal.set_wish(&id, Some(json!({ "patience": 1 }))).await.unwrap();
    journal.set_wish(&id, Some(json!({ "patience": 2 }))).await.unwrap();
    let next = open(folder.path());
    assert_eq!(next.run(id.as_str()).await.unwrap().wish, Some(json!({ "patience": 2 })));
    next.set_wish(&id, None).await.unwrap();
    assert_eq!(journal.run(id.as_str()).await.unwrap().wish, None);
}

#[tokio::test]
async fn sources_stay_as_they_were_first_pinned() {
    let (folder, journal, id) = started().await;
    journal.pin_source(&id, "./services", "return {}").await.unwrap();
    journal.pin_source(&id, "@std/deploy", "return { rollout = 1 }").await.unwrap();
    journal.pin_source(&id, "./services", "return { changed = true }").await.unwrap();
    drop(journal);
    let sources = open(folder.path()).sources(&id).await.unwrap();
    let found: Vec<_> = sources.iter().map(|(module, source)| (module.as_str(), source.as_str())).collect();
    assert_eq!(found, [("./services", "return {}"), ("@std/deploy", "return { rollout = 1 }")]);
}

#[tokio::test]
async fn a_run_is_executed_by_one_holder_at_a_time() {
    let (folder, journal, id) = started().await;
    let other = open(folder.path());
    assert_eq!(other.holder_of_run(&id), None);
    let lock = journal.lock_run(&id).unwrap();
    let holder = other.holder_of_run(&id).unwrap();
    assert_eq!((holder.pid, holder.run), (std::process::id(), Some(id)));
    let refused = other.lock_run(&id).unwrap_err();
    assert_eq!(refused, Error::Locked { what: format!("run {id}"), holder: Some(holder) });
    drop(lock);
    let _taken_over = other.lock_run(&id).unwrap();
}

#[tokio::test]
async fn a_saved_plan_is_taken_by_one_run_only() {
    let (folder, journal, _) = started().await;
    let plan = NewPlan { name: "0123456789abc".into(), steps: "[1]".into() };
    assert_eq!(journal.taker_of_plan(&plan.name).await.unwrap(), None);
    let modules = [("./services".to_owned(), "return {}".to_owned())].into();
    let taker = NewRun { plan: Some(plan.clone()), modules, ..new_run(&journal) };
    journal.create_run(taker.clone()).await.unwrap();
    let late = NewRun { plan: Some(plan.clone()), ..new_run(&journal) };
    let conflict = Error::Conflict { kind: "plan".into(), name: plan.name.clone() };
    assert_eq!(journal.create_run(late.clone()).await, Err(conflict));
    assert!(matches!(journal.run(late.id.as_str()).await, Err(Error::UnknownRun { .. })));
    drop(journal);
    let journal = open(folder.path());
    assert_eq!(journal.taker_of_plan(&plan.name).await.unwrap(), Some(taker.id));
    assert_eq!(journal.sources(&taker.id).await.unwrap(), taker.modules);
    assert_eq!(journal.planned(&taker.id).await.unwrap().as_deref(), Some("[1]"));
    assert_eq!(journal.run(taker.id.as_str()).await.unwrap().plan, Some(plan.name));
}

#[tokio::test]
async fn pages_of_runs_hold_each_once_the_newest_first() {
    let (_folder, journal, first) = started().await;
    let mut all = vec![first];
    for number in 0..6 {
        let playbook = (number % 2 == 0).then(|| "nightly".to_owned());
        let cause = playbook.map(|playbook| NewCause {
            playbook: Some(playbook),
            told: json!({ "by": "daemon" }),
            writes: Vec::new(),
        });
        let run = NewRun { cause, ..new_run(&journal) };
        all.push(run.id);
        journal.create_run(run).await.unwrap();
    }
    all.reverse();
    let none = PageOfRuns { state: None, playbook: None, before: None, limit: 3 };
    let mut found: Vec<RunId> = Vec::new();
    loop {
        let page = PageOfRuns { before: found.last().copied(), ..none.clone() };
        let page = journal.page_of_runs(page).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|run| run.id));
    }
    assert_eq!(found, all);
    let nightly = PageOfRuns { playbook: Some("nightly".into()), limit: 9, ..none.clone() };
    assert_eq!(journal.page_of_runs(nightly.clone()).await.unwrap().len(), 3);
    journal.set_state(&all[1], RunState::Running, None, None).await.unwrap();
    let running = PageOfRuns { state: Some(RunState::Running), ..nightly };
    let running = journal.page_of_runs(running).await.unwrap();
    assert_eq!(running.iter().map(|run| run.id).collect::<Vec<_>>(), [all[1]]);
    let gone = PageOfRuns { before: Some(RunId::new(Timestamp(0), 7)), ..none };
    assert!(journal.page_of_runs(gone).await.unwrap().is_empty(), "nothing lies behind what is gone");
}
