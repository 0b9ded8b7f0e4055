//! What becomes of an act that is cut half-way, under each `on_doubt`; and of a run whose worker dies.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::harness::{Place, Seen, until};
use crate::processes;

/// An act that can be seen from outside, and that takes until it is let go.
trait Cut {
    /// The script's call of it.
    fn script(&self, place: &Place, on_doubt: &str) -> String;
    /// The idempotency key of each time that it took place.
    fn keys(&self, place: &Place) -> Vec<String>;
    /// Lets it come to its end from now on.
    fn let_go(&self, place: &Place);
}

/// A program that writes its key and waits for a file.
struct Program;

impl Cut for Program {
    fn script(&self, place: &Place, on_doubt: &str) -> String {
        let text = "echo $MCRUN_IDEMPOTENCY_KEY >> keys; until [ -e go ]; do sleep 0.02; done";
        format!(
            "local result = exec.run {{ argv = {{ \"/bin/sh\", \"-c\", \"{text}\", \"{}\" }}, cwd = \"{}\", \
             on_doubt = \"{on_doubt}\", assume = {{ code = 77 }} }}\nprint(\"code\", result.code)\n",
            place.at("marker"),
            place.at("")
        )
    }

    fn keys(&self, place: &Place) -> Vec<String> {
        place.read("keys").lines().map(str::to_owned).collect()
    }

    fn let_go(&self, place: &Place) {
        fs::write(place.at("go"), "").unwrap();
    }
}

/// A server that takes the request and keeps its answer.
struct Server {
    port: u16,
    keys: Arc<Mutex<Vec<String>>>,
    answers: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let keys = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(AtomicBool::new(false));
        let (seen, answering) = (keys.clone(), answers.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut connection in listener.incoming().flatten() {
                let lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let key = head
                    .iter()
                    .find_map(|line| Some(line.to_lowercase().strip_prefix("idempotency-key: ")?.to_owned()));
                seen.lock().unwrap().extend(key);
                if answering.load(Ordering::SeqCst) {
                    let _ = connection
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                } else {
                    kept.push(connection);
                }
            }
        });
        Self { port, keys, answers }
    }
}

impl Cut for Server {
    fn script(&self, _: &Place, on_doubt: &str) -> String {
        format!(
            "local result = http.request {{ url = \"http://127.0.0.1:{}/\", on_doubt = \"{on_doubt}\", \
             assume = {{ status = 77 }} }}\nprint(\"code\", result.status)\n",
            self.port
        )
    }

    fn keys(&self, _: &Place) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }

    fn let_go(&self, _: &Place) {
        self.answers.store(true, Ordering::SeqCst);
    }
}

fn both(check: impl Fn(&dyn Cut)) {
    check(&Program);
    check(&Server::start());
}

/// Kills the host in the middle of the act, and lets later attempts come to their end.
fn cut(act: &dyn Cut, on_doubt: &str) -> Place {
    let place = Place::new();
    let script = place.script("a.lua", &act.script(&place, on_doubt));
    let mut host = place.start(&[&script, "--allow", "*"]);
    let before = act.keys(&place).len();
    until("the act has begun", || (act.keys(&place).len() > before).then_some(()));
    host.kill();
    until("the program dies with its host", || {
        processes::with_word(&place.at("marker")).is_empty().then_some(())
    });
    assert_eq!(place.newest()["killed"], true);
    assert_eq!(place.newest_shown()["entries"][0]["status"], "begun");
    act.let_go(&place);
    place
}

fn resume(place: &Place, words: &[&str]) -> Seen {
    let id = place.newest_id();
    place.run(&[&["resume", &id], words].concat())
}

/// How often the act took place; each time under the same key.
fn times(act: &dyn Cut, place: &Place) -> usize {
    let keys = act.keys(place);
    assert!(keys.iter().all(|key| key == &keys[0] && key.len() == 32), "{keys:?}");
    keys.len()
}

#[test]
fn an_act_in_doubt_pauses_until_somebody_says_what_became_of_it() {
    both(|act| {
        let place = cut(act, "ask");
        for _ in 0..2 {
            let paused = resume(&place, &[]);
            assert_eq!(paused.code, Some(6), "{paused}");
            paused.says(&["MC-J002", "--doubt redo"]);
            assert_eq!(place.newest()["state"], "paused");
        }
        assert_eq!(times(act, &place), 1, "asking changes nothing");
        let redone = resume(&place, &["--doubt", "redo"]);
        assert_eq!(redone.code, Some(0), "{redone}");
        assert!(!redone.stdout.contains("77"), "{redone}");
        assert_eq!(times(act, &place), 2);
    });
}

#[test]
fn an_act_that_is_said_to_be_done_is_not_repeated() {
    both(|act| {
        let place = cut(act, "ask");
        let done = resume(&place, &["--doubt", "done"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "code\t77\n"), "{done}");
        assert_eq!(times(act, &place), 1);
    });
}

#[test]
fn an_act_that_is_given_up_fails_the_script() {
    both(|act| {
        let place = cut(act, "ask");
        let failed = resume(&place, &["--doubt", "fail"]);
        assert_eq!(failed.code, Some(1), "{failed}");
        failed.says(&["MC-J002"]);
        assert_eq!(place.newest()["state"], "failed");
        assert_eq!(times(act, &place), 1);
    });
}

#[test]
fn an_act_may_be_declared_repeatable() {
    both(|act| {
        let place = cut(act, "redo");
        let redone = resume(&place, &[]);
        assert_eq!(redone.code, Some(0), "{redone}");
        assert_eq!(times(act, &place), 2);
    });
}

#[test]
fn an_act_may_be_declared_to_fail_in_doubt() {
    both(|act| {
        let place = cut(act, "fail");
        let failed = resume(&place, &[]);
        assert_eq!(failed.code, Some(1), "{failed}");
        failed.says(&["MC-J002"]);
        assert_eq!(place.newest()["state"], "failed");
        assert_eq!(times(act, &place), 1);
    });
}

#[test]
fn a_run_whose_worker_is_killed_is_paused_and_resumed() {
    let place = Place::new();
    let script = place.script(
        "a.lua",
        "local folder = args[1]\n\
         files.write { path = folder .. \"/begun\", content = \"x\" }\n\
         while not files.stat({ path = folder .. \"/go\" }).exists do sleep(\"10ms\") end\n\
         files.write { path = folder .. \"/ended\", content = \"x\" }\n",
    );
    let host = place.start(&[&script, &place.at(""), "--allow", "*"]);
    until("the run is under way", || (place.read("begun") == "x").then_some(()));
    let worker = processes::worker_of(host.pid()).expect("a host has a worker");
    processes::signal(worker, Signal::KILL);
    let seen = host.end();
    assert_eq!(seen.code, Some(6), "{seen}");
    seen.says(&["MC-S020", "mcrun resume"]);
    assert_eq!(place.newest()["state"], "paused");
    fs::write(place.at("go"), "").unwrap();
    let resumed = resume(&place, &[]);
    assert_eq!(resumed.code, Some(0), "{resumed}");
    assert_eq!(place.read("ended"), "x");
}
