//! What every driver does, whatever it runs.

use std::time::Duration;

use containers::{Action, Attach, Attached, Exec, LogQuery, Port, Secrets, State, Stream, Window};
use effect::Code;
use effect::units::Span;
use tokio::io::AsyncWriteExt as _;

use crate::bench::{Bench, free_port, secrets};

pub(crate) async fn a_second_ensure_changes_nothing(bench: &Bench) {
    let spec = bench.sleeping("twice");
    assert_eq!(bench.ensured(&spec).await.action, Action::Create);
    let first = bench.inspect(&spec).await.unwrap();
    assert_eq!(bench.ensured(&spec).await.action, Action::None);
    let second = bench.inspect(&spec).await.unwrap();
    assert_eq!((first.id, first.pid), (second.id, second.pid));
    assert!(bench.driver.list().await.unwrap().iter().any(|one| one.name == spec.name && one.managed));
}

/// What is remembered between two glances must not hide what happened.
pub(crate) async fn a_glance_sees_what_has_started_and_ended(bench: &Bench) {
    let spec = bench.sleeping("glance");
    let glance = async || {
        let seen = bench.driver.glance().await.unwrap();
        let one = seen.into_iter().find(|one| one.name == spec.name);
        assert_eq!(one, bench.inspect(&spec).await);
        one
    };
    assert_eq!(glance().await, None);
    bench.ensured(&spec).await;
    assert_eq!(glance().await.unwrap().state, State::Running);
    let first = glance().await.unwrap();
    bench.driver.stop(&spec.name, None).await.unwrap();
    assert_eq!(glance().await.unwrap().state, State::Exited);
    bench.driver.start(&spec.name).await.unwrap();
    let second = glance().await.unwrap();
    assert_eq!(second.state, State::Running);
    assert_ne!(second.started_at, first.started_at);
    bench.driver.restart(&spec.name, None).await.unwrap();
    assert_ne!(glance().await.unwrap().started_at, second.started_at);
    bench.driver.remove(&spec.name, true).await.unwrap();
    assert_eq!(glance().await, None);
}

pub(crate) async fn a_stopped_container_is_started_again(bench: &Bench) {
    let spec = bench.sleeping("stopped");
    bench.ensured(&spec).await;
    let before = bench.inspect(&spec).await.unwrap();
    bench.driver.stop(&spec.name, None).await.unwrap();
    assert_eq!(bench.inspect(&spec).await.unwrap().state, State::Exited);
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["state"]);
    assert_eq!(bench.ensured(&spec).await.action, Action::Update);
    let after = bench.inspect(&spec).await.unwrap();
    assert_eq!((before.id, after.state), (after.id, State::Running));
}

pub(crate) async fn repeated_calls_succeed(bench: &Bench) {
    let spec = bench.sleeping("again");
    let (driver, name) = (&bench.driver, spec.name.as_str());
    driver.stop(name, None).await.unwrap();
    driver.remove(name, true).await.unwrap();
    bench.ensured(&spec).await;
    driver.start(name).await.unwrap();
    driver.stop(name, None).await.unwrap();
    driver.stop(name, None).await.unwrap();
    driver.restart(name, None).await.unwrap();
    assert_eq!(bench.inspect(&spec).await.unwrap().state, State::Running);
    driver.remove(name, true).await.unwrap();
    driver.remove(name, true).await.unwrap();
    assert_eq!(bench.inspect(&spec).await, None);
}

/// Each call of a replacement may be the last one before the power fails; and each may be made twice.
pub(crate) async fn a_replacement_cut_off_anywhere_is_completed(bench: &Bench) {
    let mut old = bench.sleeping("cut");
    old.env.insert("VERSION".to_owned(), "1".to_owned());
    let mut new = old.clone();
    new.env.insert("VERSION".to_owned(), "2".to_owned());
    let image = bench.image(&new).await;
    for calls in 0..=4 {
        bench.ensured(&old).await;
        let driver = &bench.driver;
        for call in 0..calls {
            for _ in 0..2 {
                match call {
                    0 => driver.stop(&new.name, None).await.unwrap(),
                    1 => driver.remove(&new.name, true).await.unwrap(),
                    2 => driver.create(&new, image.as_ref(), &Secrets::new()).await.unwrap(),
                    _ => drop(driver.start(&new.name).await.unwrap()),
                }
            }
        }
        bench.ensured(&new).await;
        assert_eq!(bench.diff(&new, &Secrets::new()).await.action, Action::None, "after {calls} calls");
        assert_eq!(bench.inspect(&new).await.unwrap().env["VERSION"], "2");
    }
}

pub(crate) async fn output_is_recorded_line_by_line(bench: &Bench) {
    let spec = bench.shell("lines", "echo one; echo two >&2; echo three; exec sleep 1000");
    bench.ensured(&spec).await;
    bench.wait_for_line(&spec, "three").await;
    let lines = bench.driver.logs(&spec.name, &LogQuery::default()).await.unwrap();
    let of = |stream| lines.iter().filter(move |line| line.stream == stream).map(|line| line.line.as_str());
    assert_eq!(of(Stream::Stdout).collect::<Vec<_>>(), ["one", "three"]);
    assert_eq!(of(Stream::Stderr).collect::<Vec<_>>(), ["two"]);
    assert!(lines.iter().all(|line| line.at.as_deref().is_some_and(|at| at.ends_with('Z'))), "{lines:?}");
    assert_eq!(bench.driver.logs(&spec.name, &LogQuery::tail(1)).await.unwrap().len(), 1);
    let in_an_hour = LogQuery { tail: None, since: Some(i64::from(u32::MAX) * 1000) };
    assert_eq!(bench.driver.logs(&spec.name, &in_an_hour).await.unwrap(), []);
}

pub(crate) async fn new_output_is_followed(bench: &Bench) {
    let spec = bench.shell("follow", "echo old; while :; do echo new; sleep 0.1; done");
    bench.ensured(&spec).await;
    bench.wait_for_line(&spec, "old").await;
    let mut lines = bench.driver.follow(&spec.name, &LogQuery::tail(0)).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(20), lines.recv()).await.unwrap().unwrap();
    assert_eq!(first.line, "new");
    bench.driver.stop(&spec.name, None).await.unwrap();
    let drained =
        tokio::time::timeout(Duration::from_secs(20), async { while lines.recv().await.is_some() {} });
    drained.await.expect("following ends with the program");
}

pub(crate) async fn programs_run_inside(bench: &Bench) {
    let mut spec = bench.sleeping("inside");
    spec.env.insert("GREETING".to_owned(), "hello".to_owned());
    bench.ensured(&spec).await;
    let run = |script: &str| Exec::new(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    let mut greeting = run("echo $GREETING $MORE; echo oops >&2; exit 3");
    greeting.env.insert("MORE".to_owned(), "there".to_owned());
    let output = bench.driver.exec(&spec.name, &greeting).await.unwrap();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "hello there\n", "oops\n"));
    assert!(!output.truncated);

    let flood =
        Exec { output_limit: 1000, ..run("i=0; while [ $i -lt 500 ]; do echo 0123456789; i=$((i+1)); done") };
    let output = bench.driver.exec(&spec.name, &flood).await.unwrap();
    assert_eq!((output.stdout.len(), output.truncated), (1000, true));

    let slow = Exec { timeout: Duration::from_millis(300), ..run("exec sleep 999") };
    assert_eq!(bench.driver.exec(&spec.name, &slow).await.unwrap_err().code, Code::TimedOut);

    let missing = Exec::new(vec!["/no/such/program".to_owned()]);
    assert_eq!(bench.driver.exec(&spec.name, &missing).await.unwrap_err().code, Code::ProgramMissing);

    bench.driver.stop(&spec.name, None).await.unwrap();
    assert_eq!(bench.driver.exec(&spec.name, &run("true")).await.unwrap_err().code, Code::EngineFailed);
}

pub(crate) async fn the_stop_signal_arrives(bench: &Bench) {
    let script = "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let mut spec = bench.shell("signal", script);
    spec.stop_signal = Some("SIGUSR1".to_owned());
    spec.stop_timeout = Some(Span::seconds(15));
    bench.ensured(&spec).await;
    bench.wait_for_line(&spec, "ready").await;
    bench.driver.stop(&spec.name, None).await.unwrap();
    assert!(bench.lines(&spec).await.contains(&"got it".to_owned()));
    assert_eq!(bench.inspect(&spec).await.unwrap().exit_code, Some(7));
}

pub(crate) async fn what_ignores_its_stop_signal_is_killed(bench: &Bench) {
    let script = "trap '' TERM INT; echo ready; while :; do sleep 0.05; done";
    let spec = bench.shell("stubborn", script);
    bench.ensured(&spec).await;
    bench.wait_for_line(&spec, "ready").await;
    bench.driver.stop(&spec.name, Some(Duration::from_secs(1))).await.unwrap();
    let observed = bench.inspect(&spec).await.unwrap();
    assert_eq!((observed.state, observed.exit_code), (State::Exited, Some(137)));
}

pub(crate) async fn a_killed_program_is_restarted_by_its_policy(bench: &Bench) {
    let mut spec = bench.sleeping("killed");
    spec.restart = Some("on-failure".parse().unwrap());
    bench.ensured(&spec).await;
    let before = bench.inspect(&spec).await.unwrap().pid.unwrap();
    kill(before);
    let after = bench
        .wait_until(&spec, "running again", |live| {
            live.state == State::Running && live.pid.is_some_and(|pid| pid != before)
        })
        .await;
    assert_eq!(after.restarts, 1);
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
    bench.driver.stop(&spec.name, None).await.unwrap();
    assert_eq!(bench.inspect(&spec).await.unwrap().state, State::Exited, "stopped on purpose, it stays down");
}

pub(crate) fn kill(pid: u32) {
    // SAFETY: a plain system call; the process is one that the test started.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
}

pub(crate) async fn an_early_exit_is_an_error_with_the_last_lines(bench: &Bench) {
    let spec = bench.shell("early", "echo cannot open the database >&2; exit 3");
    // On a busy machine the program may not even have begun when its start is looked at; that is no early exit then.
    let mut tries = 0;
    let error = loop {
        match bench.ensure(&spec, &Secrets::new()).await {
            Err(error) => break error,
            Ok(_) => bench.driver.remove(&spec.name, true).await.unwrap(),
        }
        tries += 1;
        assert!(tries < 50, "never an error");
    };
    assert_eq!(error.code, Code::ExitedEarly);
    assert!(error.message.contains("exit code 3"), "{}", error.message);
    assert_eq!(error.details, ["cannot open the database"]);
}

pub(crate) async fn a_missing_program_is_named(bench: &Bench) {
    let spec = bench.running("missing", &["/no/such/program"]);
    let error = bench.ensure(&spec, &Secrets::new()).await.unwrap_err();
    assert_eq!(error.code, Code::ProgramMissing, "{error:?}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

pub(crate) async fn an_occupied_port_names_its_holder(bench: &Bench) {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let number = listener.local_addr().unwrap().port();
    let mut spec = bench.sleeping("occupied");
    spec.ports = vec![Port { host: number, container: number, ..Port::default() }];
    let error = bench.ensure(&spec, &Secrets::new()).await.unwrap_err();
    assert_eq!(error.code, Code::PortOccupied, "{error:?}");
    assert!(error.message.contains(&format!("process {}", std::process::id())), "{}", error.message);
    drop(listener);
    bench.ensured(&spec).await;
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
}

pub(crate) async fn secrets_arrive_as_files_and_nowhere_else(bench: &Bench) {
    let mut spec = bench.sleeping("secret");
    spec.secrets.insert("TOKEN".to_owned(), effect::Secret::named("token", "tag".to_owned()));
    let given = secrets(&[("TOKEN", "hunter2")]);
    bench.ensure(&spec, &given).await.unwrap();
    assert_eq!(bench.inside(&spec, "cat $TOKEN_FILE").await, "hunter2");
    let observed = bench.inspect(&spec).await.unwrap();
    assert!(!format!("{observed:?}").contains("hunter2"));
    assert_eq!(observed.secrets.keys().collect::<Vec<_>>(), ["TOKEN"]);

    let newer = secrets(&[("TOKEN", "correct horse")]);
    assert_eq!(bench.differences(&spec, &newer).await, ["secrets.TOKEN"]);
    bench.ensure(&spec, &newer).await.unwrap();
    assert_eq!(bench.inside(&spec, "cat $TOKEN_FILE").await, "correct horse");

    // With another user, who has to be able to read it too.
    spec.user = Some("1234:1234".to_owned());
    if bench.driver.check(&spec).is_ok() {
        bench.ensure(&spec, &newer).await.unwrap();
        assert_eq!(bench.inside(&spec, "id -u; cat $TOKEN_FILE").await, "1234\ncorrect horse");
    }
}

pub(crate) async fn calls_on_nothing_are_coded_errors(bench: &Bench) {
    let name = format!("mcrun-test-nothing-{}", free_port());
    assert_eq!(bench.driver.inspect(&name).await.unwrap(), None);
    assert_eq!(bench.driver.start(&name).await.unwrap_err().code, Code::ContainerUnknown);
    let logs = bench.driver.logs(&name, &LogQuery::default()).await;
    assert_eq!(logs.unwrap_err().code, Code::ContainerUnknown);
    let exec = bench.driver.exec(&name, &Exec::new(vec!["/bin/true".to_owned()])).await;
    assert_eq!(exec.unwrap_err().code, Code::ContainerUnknown);
    assert!(!bench.driver.ping().await.unwrap().is_empty());
    for name in ["../escape", "a/b", ""] {
        assert_eq!(bench.driver.inspect(name).await.ok().flatten(), None, "{name}");
    }
}

pub(crate) async fn what_it_uses_is_measured(bench: &Bench) {
    let busy = bench.shell("busy", "sleep 1000 & while :; do :; done");
    bench.ensured(&busy).await;
    let first = bench.driver.stats(&busy.name).await.unwrap().unwrap();
    assert!(first.memory > 0 && first.memory < 1 << 30, "{first:?}");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut last = first;
    while last.cpu < first.cpu + 100_000_000 || last.processes < 2 {
        assert!(std::time::Instant::now() < deadline, "{first:?}, then {last:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = bench.driver.stats(&busy.name).await.unwrap().unwrap();
    }
    assert_eq!(last.processes, 2, "the shell and what it started: not what else runs on this machine");
    bench.driver.stop(&busy.name, Some(Duration::ZERO)).await.unwrap();
    assert_eq!(bench.driver.stats(&busy.name).await.unwrap(), None);
    bench.driver.remove(&busy.name, true).await.unwrap();
    assert_eq!(bench.driver.stats(&busy.name).await.unwrap_err().code, Code::ContainerUnknown);
}

fn attach(script: &str, terminal: Option<Window>) -> Attach {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Attach { argv, terminal, ..Attach::default() }
}

async fn piece(attached: &mut Attached) -> Option<(Stream, String)> {
    let taken = tokio::time::timeout(Duration::from_secs(20), attached.output.recv()).await;
    let (stream, bytes) = taken.expect("nothing more is written")?;
    Some((stream, String::from_utf8(bytes.to_vec()).unwrap()))
}

/// Takes output until `wanted` is in it.
async fn read_until(attached: &mut Attached, wanted: &str) {
    let mut read = String::new();
    while !read.contains(wanted) {
        let Some((_, text)) = piece(attached).await else { panic!("`{wanted}` never comes: {read:?}") };
        read.push_str(&text);
    }
}

pub(crate) async fn a_program_inside_can_be_talked_to(bench: &Bench) {
    let spec = bench.sleeping("talk");
    bench.ensured(&spec).await;
    let mut given = attach("cat; echo $MORE >&2; exit 3", None);
    given.env.insert("MORE".to_owned(), "done".to_owned());
    let mut attached = bench.driver.attach(&spec.name, &given).await.unwrap();
    attached.input.write_all(b"one\ntwo\n").await.unwrap();
    attached.input.shutdown().await.unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    while let Some((stream, text)) = piece(&mut attached).await {
        if stream == Stream::Stdout { stdout.push_str(&text) } else { stderr.push_str(&text) }
    }
    assert_eq!((stdout.as_str(), stderr.as_str()), ("one\ntwo\n", "done\n"));
    assert_eq!(attached.ending.await.unwrap(), 3);

    bench.driver.stop(&spec.name, None).await.unwrap();
    let stopped = bench.driver.attach(&spec.name, &given).await;
    assert_eq!(stopped.err().unwrap().code, Code::EngineFailed);
    bench.driver.remove(&spec.name, true).await.unwrap();
    let missing = bench.driver.attach(&spec.name, &given).await;
    assert_eq!(missing.err().unwrap().code, Code::ContainerUnknown);
}

pub(crate) async fn what_is_paused_stands_still_until_it_is_started(bench: &Bench) {
    let spec = bench.sleeping("paused");
    bench.ensured(&spec).await;
    if !bench.driver.features().contains(&containers::Feature::Pause) {
        assert_eq!(bench.driver.pause(&spec.name).await.unwrap_err().code, Code::Unsupported);
        return;
    }
    for _ in 0..2 {
        bench.driver.pause(&spec.name).await.unwrap();
        assert_eq!(bench.inspect(&spec).await.unwrap().state, State::Paused);
    }
    bench.driver.start(&spec.name).await.unwrap();
    assert_eq!(bench.inspect(&spec).await.unwrap().state, State::Running);
}

pub(crate) async fn a_program_inside_gets_a_terminal(bench: &Bench) {
    let spec = bench.sleeping("terminal");
    bench.ensured(&spec).await;
    // Docker gives the terminal its size in a call of its own, which the program may be faster than.
    let script = "await() { while [ \"$(/bin/busybox stty size)\" != \"$1\" ]; do sleep 0.02; done; }; \
                  await '40 100'; echo begun; read wait; await '50 120'; echo grown; exit 9";
    let window = Window { columns: 100, rows: 40 };
    let mut attached = bench.driver.attach(&spec.name, &attach(script, Some(window))).await.unwrap();
    read_until(&mut attached, "begun").await;
    attached.resize.send(Window { columns: 120, rows: 50 }).await.unwrap();
    attached.input.write_all(b"go\r").await.unwrap();
    read_until(&mut attached, "grown").await;
    while piece(&mut attached).await.is_some() {}
    assert_eq!(attached.ending.await.unwrap(), 9);

    // Ctrl-C goes to the program inside.
    let endless = attach("echo begun; exec sleep 1000", Some(window));
    let mut attached = bench.driver.attach(&spec.name, &endless).await.unwrap();
    read_until(&mut attached, "begun").await;
    attached.input.write_all(b"\x03").await.unwrap();
    while piece(&mut attached).await.is_some() {}
    assert_eq!(attached.ending.await.unwrap(), 130);
}
