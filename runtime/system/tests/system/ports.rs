use effect::{Code, Mode};
use serde_json::{Value, json};

use crate::bench::Bench;

fn port(ensured: &Value) -> u16 {
    u16::try_from(ensured["after"]["port"].as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_port_stays_the_same_and_the_plan_names_it() {
    let bench = Bench::new();
    let wanted = json!({ "service": "hello", "name": "web" });
    let planned = port(&bench.plan().await.done("ports.allocate", wanted.clone()).await);
    let made = bench.run().await.done("ports.allocate", wanted.clone()).await;
    assert_eq!((port(&made), made["changed"].clone()), (planned, json!(true)));
    assert!((10_000..=60_000).contains(&planned));
    let again = bench.run().await.done("ports.allocate", wanted).await;
    assert_eq!((port(&again), again["changed"].clone()), (planned, json!(false)));
}

#[tokio::test]
async fn what_the_system_uses_is_skipped() {
    let bench = Bench::new();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().port();
    let made = bench.run().await.done("ports.allocate", json!({ "service": "a", "preferred": taken })).await;
    assert_ne!(port(&made), taken);
}

#[tokio::test]
async fn two_services_never_share_a_port_in_run_or_plan() {
    let bench = Bench::new();
    for script in [bench.plan().await, bench.run().await] {
        let first = port(&script.done("ports.allocate", json!({ "service": "a" })).await);
        let second = script.done("ports.allocate", json!({ "service": "b", "preferred": first })).await;
        assert_ne!(port(&second), first);
    }
}

#[tokio::test]
async fn what_a_service_publishes_by_number_is_left_to_it_in_run_and_plan() {
    let bench = Bench::new();
    for script in [bench.plan().await, bench.run().await] {
        let fixed = port(&script.done("ports.allocate", json!({ "service": "a" })).await);
        script.done("ports.release", json!({ "service": "a" })).await;
        let spec = json!({ "containers": [{ "name": "a", "ports": [{ "host": fixed, "container": 80 }] }] });
        script.done("registry.put", json!({ "service": "a", "spec": spec })).await;
        let other = script.done("ports.allocate", json!({ "service": "b", "preferred": fixed })).await;
        assert_ne!(port(&other), fixed);
    }
}

#[tokio::test]
async fn parallel_branches_that_want_one_number_get_two() {
    let bench = Bench::new();
    let (one, two) = (bench.run().await, bench.run().await);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (a, b) = tokio::join!(
        one.done("ports.allocate", json!({ "service": "a", "preferred": free })),
        two.done("ports.allocate", json!({ "service": "b", "preferred": free })),
    );
    assert_ne!(port(&a), port(&b));
}

#[tokio::test]
async fn released_ports_can_be_had_again() {
    let bench = Bench::new();
    let script = bench.run().await;
    let web = port(&script.done("ports.allocate", json!({ "service": "a", "name": "web" })).await);
    script.done("ports.allocate", json!({ "service": "a", "name": "grpc" })).await;
    let plan = bench.plan().await;
    plan.done("ports.release", json!({ "service": "a" })).await;
    let wanted = json!({ "service": "b", "preferred": web });
    assert_eq!(port(&plan.done("ports.allocate", wanted.clone()).await), web);
    let released = script.done("ports.release", json!({ "service": "a", "name": "web" })).await;
    assert_eq!(released["before"], json!({ "service": "a", "ports": { "web": web } }));
    assert_eq!(script.done("ports.release", json!({ "service": "a" })).await["changed"], true);
    assert_eq!(script.done("ports.release", json!({ "service": "a" })).await["changed"], false);
    assert_eq!(port(&script.done("ports.allocate", wanted).await), web);
    assert_eq!(bench.journal().records("port-number", Some("rift")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn names_and_capabilities_are_checked() {
    let bench = Bench::new();
    let script = bench.script(Mode::Run, &["ports:write:hello"]).await;
    script.done("ports.allocate", json!({ "service": "hello" })).await;
    assert_eq!(script.fails("ports.allocate", json!({ "service": "other" })).await.code, Code::Denied);
    assert_eq!(script.fails("ports.allocate", json!({ "service": "a/b" })).await.code, Code::Argument);
    let error = script.fails("ports.allocate", json!({ "service": "hello", "node": "elsewhere" })).await;
    assert_eq!(error.code, Code::NodeUnknown);
}
