//! What is done to a running program: it takes no less than doing it on the host.

use containers::effects::{Container, ExecIn, Logs, Remove, Restart, Start, Stop, WaitHealthy};
use effect::{Act as _, Code, Context, Declared, Ensure as _, Mode, Read as _, Wait as _};
use serde_json::{Value, json};

use crate::bench::{Bench, NAME, effect, may_run, sleeping};

async fn exec(bench: &Bench, context: &Context, arguments: Value) -> effect::Result<i64> {
    let output = effect::<ExecIn>(arguments).act(&bench.world, context, "key").await?;
    Ok(serde_json::to_value(output).unwrap()["code"].as_i64().unwrap())
}

#[tokio::test]
async fn a_program_beside_a_native_one_needs_exec() {
    let bench = Bench::new();
    bench.started(json!({})).await;
    let arguments = json!({ "name": NAME, "argv": ["/bin/cat", "/dev/null"] });
    let error = exec(&bench, &bench.run(&["containers"]), arguments.clone()).await.unwrap_err();
    assert_eq!((error.code, &error.missing), (Code::Denied, &vec![may_run("/bin/cat")]));
    let context = bench.run(&["containers", &may_run("/bin/cat")]);
    assert_eq!(exec(&bench, &context, arguments).await.unwrap(), 0);
}

#[tokio::test]
async fn another_user_beside_a_native_program_needs_users() {
    let bench = Bench::new();
    bench.started(json!({})).await;
    let arguments = json!({ "name": NAME, "argv": ["/bin/cat"], "user": "nobody" });
    let error = exec(&bench, &bench.run(&["containers", "exec"]), arguments).await.unwrap_err();
    assert_eq!(error.missing, ["containers:users:web"]);
}

#[tokio::test]
async fn a_program_beside_a_native_one_has_an_absolute_path() {
    let bench = Bench::new();
    bench.started(json!({})).await;
    let arguments = json!({ "name": NAME, "argv": ["cat", "/dev/null"] });
    let error = exec(&bench, &bench.run(&["*"]), arguments).await.unwrap_err();
    assert_eq!(error.code, Code::Argument, "{error}");
}

#[tokio::test]
async fn a_probe_beside_a_native_program_needs_exec_when_it_runs() {
    let bench = Bench::new();
    bench.started(json!({ "health": { "exec": ["/bin/cat", "/dev/null"] } })).await;
    let wait = effect::<WaitHealthy>(json!({ "name": NAME }));
    let error = wait.wait(&bench.world, &bench.run(&["containers"]), None).await.unwrap_err();
    assert_eq!((error.code, &error.missing), (Code::Denied, &vec![may_run("/bin/cat")]));
    assert_eq!(*bench.probes.lock().unwrap(), 0);
    let context = bench.run(&["containers:read", &may_run("/bin/cat")]);
    wait.wait(&bench.world, &context, None).await.unwrap();
    assert_eq!(*bench.probes.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_plan_knows_no_logs_of_what_is_not_there_yet() {
    let bench = Bench::new();
    let logs = effect::<Logs>(json!({ "name": NAME }));
    let context = bench.context(Mode::Plan, &["*"]);
    let unknown = logs.read(&bench.world, &context).await.unwrap_err();
    assert_eq!(unknown.code, Code::ContainerUnknown);
    let planned = sleeping(json!({}));
    let (_, change) = bench.change(&context, &planned).await.unwrap();
    context.overlay.set(&planned.key(&context), change.after.as_ref());
    assert!(logs.read(&bench.world, &context).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_plan_reads_the_logs_of_what_is_there_and_stays() {
    let bench = Bench::new();
    let says = json!({ "exec": ["/bin/sh", "-c", "echo ready; exec sleep 1000"] });
    bench.started(says).await;
    let logs = effect::<Logs>(json!({ "name": NAME }));
    let context = bench.context(Mode::Plan, &["*"]);
    let planned = sleeping(json!({}));
    let (_, change) = bench.change(&context, &planned).await.unwrap();
    context.overlay.set(&planned.key(&context), change.after.as_ref());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while logs.read(&bench.world, &context).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "nothing was logged");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    context.overlay.set::<Container>(&planned.key(&context), None);
    let gone = logs.read(&bench.world, &context).await.unwrap_err();
    assert_eq!(gone.code, Code::ContainerUnknown);
}

#[test]
fn what_changes_a_container_holds_its_lease() {
    fn lease<E: Declared>(more: Value) -> Option<String> {
        let mut arguments = json!({ "name": NAME });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        effect::<E>(arguments).lease()
    }
    let leases = [
        lease::<Stop>(json!({})),
        lease::<Start>(json!({})),
        lease::<Restart>(json!({})),
        lease::<Remove>(json!({})),
        lease::<ExecIn>(json!({ "argv": ["/bin/true"] })),
    ];
    assert!(leases.iter().all(|lease| lease.as_deref() == Some(NAME)), "{leases:?}");
    assert_eq!(lease::<Logs>(json!({})), None);
}
