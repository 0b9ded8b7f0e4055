use std::time::Duration;

use serde_json::json;

use super::*;

fn full() -> Standing {
    let route = serde_json::from_value(json!({
        "listen": 8443,
        "hostname": "*.mcq.example.net",
        "path": "/api",
        "service": "mcq",
        "mode": "l4",
        "backends": ["127.0.0.1:8080", "[::1]:8081"],
        "cert": "mcq",
        "protocol": "http2",
        "backend_tls": { "ca": "PEM", "name": "inner.example.net" },
        "send_proxy": "v2",
        "health": { "http": "/up", "every": "7s", "timeout": "250ms" },
        "retries": 0,
        "access": {
            "allow": ["192.168.0.0/16", "fd00::/8"], "deny": ["192.168.1.0/24"],
            "allow_countries": ["CH"], "deny_countries": ["AQ"],
        },
        "limits": { "rate": 1, "burst": 2, "connections": 3, "body": "4MiB", "head": "5KiB", "waiting": 0 },
        "timeouts": { "connect": "1s", "answer": "2s", "idle": "3s", "minimum_rate": 0, "pause": "5s" },
        "headers": { "security": true, "set": { "x-a": "b", "x-c": "" } },
        "redirect": { "to": "https://{host}{path}", "status": 301 },
        "maintenance": { "text": "", "media": "text/html", "retry_after": "1h" },
        "public": true,
        "drain": "0s",
    }));
    Standing { route: route.unwrap(), paused: true }
}

fn plain() -> Standing {
    let route = serde_json::from_value(json!({ "listen": 80, "hostname": "*" }));
    Standing { route: route.unwrap(), paused: false }
}

#[test]
fn nothing_of_a_route_is_lost_on_the_way() {
    for standing in [full(), plain()] {
        assert_eq!(standing_from(standing_to(&standing)), Ok(standing));
    }
    let mut fine = full();
    fine.route.drain = Span(Duration::from_nanos(1_500_000_001));
    assert_eq!(standing_from(standing_to(&fine)).unwrap(), fine);
}

#[test]
fn what_is_absent_has_its_default() {
    let key = v1::Key { listen: 80, hostname: "*".into(), path: String::new() };
    let message = v1::Route { key: Some(key), ..v1::Route::default() };
    let standing = v1::Standing { route: Some(message), paused: false };
    assert_eq!(standing_from(standing), Ok(plain()));
}

#[test]
fn a_value_of_a_newer_version_is_told_by_field_and_number() {
    let unknown = |change: &dyn Fn(&mut v1::Route)| {
        let mut message = standing_to(&full());
        change(message.route.as_mut().unwrap());
        standing_from(message).unwrap_err()
    };
    assert_eq!(unknown(&|route| route.mode = 7), Misfit::Unknown { field: "mode", value: 7 });
    assert_eq!(unknown(&|route| route.protocol = -1), Misfit::Unknown { field: "protocol", value: -1 });
    assert_eq!(unknown(&|route| route.send_proxy = 9), Misfit::Unknown { field: "send_proxy", value: 9 });
}

#[test]
fn what_no_version_says_is_refused() {
    let wrong = |change: &dyn Fn(&mut v1::Route)| {
        let mut message = standing_to(&full());
        change(message.route.as_mut().unwrap());
        match standing_from(message) {
            Err(Misfit::Wrong(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    assert!(wrong(&|route| route.key = None).contains("`key`"));
    assert!(wrong(&|route| route.key.as_mut().unwrap().listen = 0).contains("`listen`"));
    assert!(wrong(&|route| route.key.as_mut().unwrap().listen = 70_000).contains("`listen`"));
    assert!(wrong(&|route| route.key.as_mut().unwrap().hostname = "a b".into()).contains("`hostname`"));
    assert!(wrong(&|route| route.key.as_mut().unwrap().path = "api".into()).contains("`path`"));
    assert!(wrong(&|route| route.backends.push("name:80".into())).contains("`backends`"));
    assert!(wrong(&|route| route.retries = Some(256)).contains("`retries`"));
    assert!(wrong(&|route| route.access.as_mut().unwrap().deny.push("x".into())).contains("`access.deny`"));
    assert!(wrong(&|route| route.redirect.as_mut().unwrap().status = Some(70_000)).contains("redirect"));
    assert!(wrong(&|route| route.drain = duration(-1, 0)).contains("`drain`"));
    assert!(wrong(&|route| route.drain = duration(i64::MAX, 0)).contains("`drain`"));
}

#[test]
fn every_feature_has_a_number_of_its_own() {
    let all = features_to(&Feature::ALL);
    assert_eq!(all.len(), Feature::ALL.len());
    assert_eq!(features_from(&all), Feature::ALL);
    assert_eq!(features_from(&[999, 2]), [Feature::Tls], "what a newer version has is no use here");
}

#[test]
fn figures_come_back_as_they_were() {
    let figures = Figures {
        route: "a.example:443".into(),
        paused: true,
        requests: 1,
        statuses: [(2, 3), (5, 4)].into(),
        failed: 5,
        active: 6,
        tunnels: 7,
        waiting: 8,
        received: 9,
        sent: u64::MAX,
        p50_us: 11,
        p99_us: 12,
        backends: vec![BackendFigures {
            address: "127.0.0.1:1".parse().unwrap(),
            healthy: false,
            active: 1,
            requests: 2,
            failed: 3,
            problem: Some("refused".into()),
        }],
    };
    assert_eq!(figures_from(figures_to(&figures)), Ok(figures));
}
