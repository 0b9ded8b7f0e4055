//! A version that never gets healthy: the one before takes the requests, and none of them fails.

use serde_json::Value;

use super::place::Served;
use super::under_load::visitors;
use crate::traffic::load::Stream;

fn goes_back(strategy: &str) {
    let served = Served::by_daemon();
    let strategy = format!("strategy={strategy}");
    served.deploy(0, &["plain=true", "version=v1", &strategy]);
    let standing =
        |served: &Served| (served.routes(), served.records(), served.json(&["releases", "hello", "--json"]));
    let before = standing(&served);
    let visitors = visitors(&served);
    served
        .deploy(7, &["plain=true", "version=v2", "broken=true", &strategy])
        .says(&["MC-R002", "v1, is back"]);
    visitors.iter().for_each(|visitor| visitor.goes_on(20));
    served.answers("v1");
    visitors.into_iter().for_each(Stream::ended);
    assert_eq!(standing(&served), before);
    served.leads_to("v1");
}

#[test]
fn recreate_goes_back_without_a_lost_request() {
    goes_back("recreate");
}

#[test]
fn rolling_goes_back_without_a_lost_request() {
    goes_back("rolling");
}

#[test]
fn blue_green_goes_back_without_a_lost_request() {
    goes_back("blue_green");
}

#[test]
fn canary_goes_back_without_a_lost_request() {
    goes_back("canary");
}

#[test]
fn a_first_deploy_that_fails_leaves_nothing() {
    let served = Served::by_daemon();
    served.deploy(7, &["version=v1", "broken=true"]).says(&["MC-R002", "nothing of it is left"]);
    served.has_nothing();
    assert_eq!(served.json(&["status", "--json"]), Value::Array(Vec::new()));
}
