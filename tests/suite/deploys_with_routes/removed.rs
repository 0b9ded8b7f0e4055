//! What is undone or taken away leaves no way to it.

use super::place::Served;

fn run(served: &Served) -> String {
    served.newest_id()
}

#[test]
fn an_undeployed_service_leaves_nothing() {
    let served = Served::by_daemon();
    for strategy in ["strategy=recreate", "strategy=blue_green"] {
        served.deploy(0, &["version=v1", strategy]);
        assert_eq!(served.visited(), "v1");
        served.deploy(0, &["version=v2", strategy]);
        assert_eq!(served.visited(), "v2");
        served.ends(0, &["undeploy", "hello", "--yes"]);
        served.has_nothing();
    }
}

#[test]
fn an_undone_deploy_leaves_nothing() {
    let served = Served::by_daemon();
    served.deploy(0, &["version=v1"]);
    let deploy = run(&served);
    assert_eq!(served.visited(), "v1");
    assert_eq!(served.resolved(), [std::net::Ipv4Addr::LOCALHOST]);
    served.ends(0, &["undo", &deploy, "--yes"]);
    served.has_nothing();
}

#[test]
fn an_undone_roll_out_leaves_what_stood_before() {
    for strategy in ["strategy=recreate", "strategy=rolling", "strategy=blue_green"] {
        let served = Served::by_daemon();
        served.deploy(0, &["version=v1", strategy]);
        let before = (served.records(), served.certificates());
        let routes = served.routes();
        served.deploy(0, &["version=v2", strategy]);
        let deploy = run(&served);
        assert_eq!(served.visited(), "v2");
        served.ends(0, &["undo", &deploy, "--yes"]);
        assert_eq!((served.records(), served.certificates()), before);
        assert_eq!(served.routes(), routes, "{strategy}");
        assert_eq!(served.visited(), "v1");
        served.leads_to("v1");
    }
}
