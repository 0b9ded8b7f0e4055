//! What callers of the API hear of runs that the executor has, without a worker.

use std::time::Duration;

use daemon::api::client::{Client, Heard, Watch};
use daemon::api::{Api, Rooms, Settings, open_socket, serve_socket};
use daemon::feed::Feed;
use daemon::runs::By;
use jiff::tz::TimeZone;
use script::Interrupt;
use tokio::time::timeout;

use super::*;
use crate::app::App;
use crate::arguments::Global;
use crate::execute::executor::{Bounds, Executor};

/// Whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn app(folder: &std::path::Path) -> App {
    let global = Global {
        state: Some(folder.join("state")),
        config: Some("/dev/null".into()),
        yes: false,
        no_input: true,
        verbose: 0,
    };
    App::open(&global).unwrap()
}

fn submission() -> Submission {
    Submission {
        name: "a.lua".into(),
        source: "print(1)\n".into(),
        modules: Vec::new(),
        args: Vec::new(),
        params: json!({}),
        allow: Vec::new(),
        deny: Vec::new(),
        limits: Vec::new(),
        cause: Cause { by: By::Caller { caller: "user:test".into() }, event: Value::Null, within: None },
        writes: Vec::new(),
    }
}

/// The state in which a watch ends.
async fn end(watch: &mut Watch) -> String {
    loop {
        match timeout(PATIENCE, watch.next()).await.unwrap().unwrap() {
            Some(Heard::End { run, .. }) => return run.state.clone(),
            Some(_) => {}
            None => panic!("it ended without an end"),
        }
    }
}

#[tokio::test]
async fn whoever_follows_a_run_until_it_is_over_hears_of_no_pause() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path());
    let leaving = watch::Sender::new(Interrupt::None);
    let (executor, desk) = Executor::new(&app, Bounds { workers: 0, queue: 10 }, leaving.subscribe());
    let over = watch::Sender::new(false);
    let calls = async {
        // What whoever started it may have runs do is recorded with the run.
        let cause = Cause { within: Some(vec!["images".to_owned()]), ..submission().cause };
        let bounded = desk.submit(Submission { cause, ..submission() }).await.unwrap();
        let recorded = app.journal.run(bounded.as_str()).await.unwrap();
        assert_eq!(recorded.grants["within"], json!([["images"]]));
        let api = Api::new(Rooms {
            runs: Arc::new(desk.clone()),
            journal: app.journal.clone(),
            feed: Feed::start(app.journal.clone(), over.subscribe()),
            playbooks: watch::channel(Arc::default()).1,
            zone: TimeZone::UTC,
            access: Arc::new(|| Arc::new(effect::access::Policy::default())),
            accounts: None,
            tokens: None,
            reload: None,
            node: app.node.clone(),
            started: app.clock.now(),
        });
        let settings = Settings::default();
        let opened = open_socket(&settings, &app.state).await.unwrap();
        tokio::spawn(serve_socket(opened, api, over.subscribe()));
        let client = Client::connect(&settings.socket_in(&app.state)).await.unwrap();
        let run = desk.submit(submission()).await.unwrap();
        let mut to_the_pause = client.watch(&run, false, false).await.unwrap();
        let mut to_the_end = client.watch(&run, false, true).await.unwrap();
        client.interrupt(&run, false).await.unwrap();
        assert_eq!(end(&mut to_the_pause).await, "paused");
        client.cancel(&run).await.unwrap();
        assert_eq!(end(&mut to_the_end).await, "cancelled");
    };
    tokio::select! {
        () = calls => {}
        ran = executor.run() => panic!("it ended: {ran:?}"),
    }
}
