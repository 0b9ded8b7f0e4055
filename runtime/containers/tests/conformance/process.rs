//! What only native programs can show.

use std::fs;
use std::time::{Duration, Instant};

use containers::{Action, Driver as _, Feature, LogQuery, Secrets, State};
use effect::units::Size;

use crate::bench::{Bench, process_driver, secrets};
use crate::facts::kill;

fn parent(pid: u32) -> u32 {
    status_field(pid, "PPid:").parse().unwrap()
}

fn status_field(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn wait_for_end(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_shim_belongs_to_nobody_and_shows_no_secret() {
    let bench = Bench::process();
    let mut spec = bench.sleeping("shim");
    spec.env.insert("PLAIN".to_owned(), "not-for-the-shim".to_owned());
    spec.secrets.insert("TOKEN".to_owned(), effect::Secret::named("token", "tag".to_owned()));
    bench.ensure(&spec, &secrets(&[("TOKEN", "hunter2")])).await.unwrap();
    let shim = parent(bench.inspect(&spec).await.unwrap().pid.unwrap());
    assert_ne!(parent(shim), std::process::id());
    // SAFETY: plain system calls.
    let sessions = unsafe { (libc::getsid(shim as i32), libc::getsid(0)) };
    assert_ne!(sessions.0, sessions.1);
    let shown =
        ["cmdline", "environ"].map(|file| fs::read_to_string(format!("/proc/{shim}/{file}")).unwrap());
    assert!(
        !shown.iter().any(|text| text.contains("hunter2") || text.contains("not-for-the-shim")),
        "{shown:?}"
    );
    for file in fs::read_dir(bench.dir.path().join("process").join(&spec.name)).unwrap().flatten() {
        assert!(!fs::read_to_string(file.path()).unwrap_or_default().contains("hunter2"), "{file:?}");
    }
}

#[tokio::test]
async fn stopping_ends_grandchildren_in_sessions_of_their_own() {
    let bench = Bench::process();
    let script = "setsid sh -c 'echo $$ > \"$DIR/pid\"; exec sleep 1000' & echo ready; wait";
    let mut spec = bench.shell("family", script);
    spec.env.insert("DIR".to_owned(), bench.dir.path().to_string_lossy().into_owned());
    bench.ensured(&spec).await;
    let file = bench.dir.path().join("pid");
    let deadline = Instant::now() + Duration::from_secs(20);
    let grandchild: u32 = loop {
        if let Some(pid) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
            break pid;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(is_alive(grandchild));
    bench.driver.stop(&spec.name, None).await.unwrap();
    wait_for_end(grandchild).await;
}

#[tokio::test]
async fn a_killed_shim_takes_its_program_along_and_the_next_ensure_starts_it_again() {
    let bench = Bench::process();
    let spec = bench.shell("orphan", "sleep 1000 & echo $!; wait");
    bench.ensured(&spec).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while bench.lines(&spec).await.is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let child: u32 = bench.lines(&spec).await[0].parse().unwrap();
    let program = bench.inspect(&spec).await.unwrap().pid.unwrap();
    kill(parent(program));
    wait_for_end(program).await;
    bench.wait_until(&spec, "down", |live| live.state == State::Exited).await;
    assert_eq!(bench.ensured(&spec).await.action, Action::Update);
    assert!(!is_alive(child), "what the old program left is ended before a new one starts");
    assert_eq!(bench.inspect(&spec).await.unwrap().state, State::Running);
}

#[tokio::test]
async fn logs_rotate_and_stay_bounded() {
    let bench = Bench::process();
    let driver = process_driver(bench.dir.path(), 4096);
    let spec = bench
        .shell("rotate", "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000");
    driver.create(&spec, None, &Secrets::new()).await.unwrap();
    driver.start(&spec.name).await.unwrap();
    bench.wait_for_line(&spec, "line 999").await;
    let folder = bench.dir.path().join("process").join(&spec.name);
    for file in ["log", "log.1", "log.2"] {
        assert!(fs::metadata(folder.join(file)).unwrap().len() <= 4096, "{file}");
    }
    let last = driver.logs(&spec.name, &LogQuery::tail(100)).await.unwrap();
    let wanted: Vec<String> = (900..1000).map(|number| format!("line {number}")).collect();
    assert_eq!(last.into_iter().map(|line| line.line).collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn settings_of_the_shim_change_without_a_restart() {
    let bench = Bench::process();
    let mut spec = bench.sleeping("settings");
    bench.ensured(&spec).await;
    let before = bench.inspect(&spec).await.unwrap();
    spec.restart = Some("always".parse().unwrap());
    spec.labels.insert("tier".to_owned(), "web".to_owned());
    if bench.driver.features().contains(&Feature::UpdateMemory) {
        spec.memory = Some(Size(64 << 20));
    }
    assert_eq!(bench.ensured(&spec).await.action, Action::Update);
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
    assert_eq!(bench.inspect(&spec).await.unwrap().pid, before.pid);
    kill(before.pid.unwrap());
    bench
        .wait_until(&spec, "running again", |live| live.pid.is_some_and(|pid| Some(pid) != before.pid))
        .await;
}

#[tokio::test]
async fn a_limit_of_tries_is_kept() {
    let bench = Bench::process();
    let mut spec = bench.shell("tries", "echo try; sleep 0.1; exit 1");
    spec.restart = Some("on-failure:2".parse().unwrap());
    let _ = bench.ensure(&spec, &Secrets::new()).await;
    let observed =
        bench.wait_until(&spec, "given up", |live| live.state == State::Exited && live.restarts == 2).await;
    assert_eq!(observed.exit_code, Some(1));
    assert_eq!(bench.lines(&spec).await, ["try", "try", "try"]);
}

#[tokio::test]
async fn every_feature_of_native_programs_is_declared() {
    let bench = Bench::process();
    let declared = bench.driver.features();
    let mut required = vec![
        Feature::Exec,
        Feature::Secrets,
        Feature::SamePathVolumes,
        Feature::Ports,
        Feature::UdpPorts,
        Feature::HostNetwork,
        Feature::Terminal,
        Feature::UpdateRestart,
        Feature::UpdateStop,
        Feature::UpdateLabels,
    ];
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        required.push(Feature::User);
    }
    assert_eq!(required.iter().find(|feature| !declared.contains(feature)), None);
    let finding = containers::doctor::examine(bench.driver.as_ref()).await;
    assert!(finding.available && finding.features.contains(&"exec".to_owned()), "{finding:?}");
    // Either the machine allows namespaces or the report says why not.
    let is_told = finding.problems.iter().any(|problem| problem.contains("no namespaces: "));
    for feature in [Feature::Volumes, Feature::ReadOnlyVolumes, Feature::ReadOnly, Feature::NoNetwork] {
        assert_eq!(declared.contains(&feature), !is_told, "{feature:?}: {finding:?}");
    }
}
