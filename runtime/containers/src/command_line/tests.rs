use serde_json::json;

use super::*;

fn spec(value: serde_json::Value) -> Spec {
    serde_json::from_value(value).unwrap()
}

fn flat(parts: &[Vec<String>]) -> Vec<&str> {
    parts.iter().flatten().map(String::as_str).collect()
}

/// Whether the words follow one another somewhere.
fn has(line: &CommandLine, wanted: &[&str]) -> bool {
    flat(&line.parts).windows(wanted.len()).any(|words| words == wanted)
}

#[test]
fn every_field_of_a_spec_has_its_words() {
    let spec = spec(json!({
        "name": "mcq", "service": "queue", "image": "mcr.test/mcq:v1@sha256:ab", "cmd": ["server", "--config", "a b"],
        "entrypoint": ["/bin/sh", "-c"], "env": { "LEVEL": "x y" }, "volumes": ["/srv/mcq:/data:ro", "cache:/cache"],
        "ports": [
            { "host": 53, "container": 5353, "protocol": "both", "address": "127.0.0.1" },
            { "host": 80, "container": 8080, "address": "::1" },
        ],
        "network": "mcpnet", "user": "100:100", "restart": "on-failure:5", "labels": { "tier": "b" }, "cpus": 0.5,
        "memory": "64MiB", "stop_signal": "INT", "stop_timeout": "1500ms", "read_only": true, "workdir": "/data",
        "privileged": true, "devices": ["/dev/fuse"], "cap_add": ["CAP_NET_ADMIN"],
    }));
    let line = of_image(&spec, Dialect::Podman).unwrap();
    for words in [
        &["podman", "run", "-d", "--name", "mcq"][..],
        &["--restart", "on-failure:5"],
        &["-p", "127.0.0.1:53:5353/tcp"],
        &["-p", "127.0.0.1:53:5353/udp"],
        &["-p", "[::1]:80:8080/tcp"],
        &["-v", "/srv/mcq:/data:ro"],
        &["-v", "cache:/cache"],
        &["-e", "LEVEL=x y"],
        &["--network", "mcpnet"],
        &["--user", "100:100"],
        &["--workdir", "/data"],
        &["--read-only", "--read-only-tmpfs=false", "--privileged"],
        &["--device", "/dev/fuse"],
        &["--cap-add", "NET_ADMIN"],
        &["--cpus", "0.5"],
        &["--memory", "67108864b", "--memory-swap", "134217728b"],
        &["--stop-signal", "SIGINT", "--stop-timeout", "2"],
        &["-l", "mcrun.service=queue"],
        &["-l", "tier=b"],
        &["--entrypoint", r#"["/bin/sh","-c"]"#, "mcr.test/mcq:v1@sha256:ab", "server", "--config", "a b"],
    ] {
        assert!(has(&line, words), "{words:?} in {:?}", line.parts);
    }
    assert_eq!((line.paths, line.network.as_deref()), (vec!["/srv/mcq".to_owned()], Some("mcpnet")));
}

#[test]
fn docker_takes_the_first_word_of_an_entry_point_alone() {
    let spec = spec(json!({ "name": "a", "image": "x:1", "entrypoint": ["/bin/sh", "-c"], "cmd": ["true"] }));
    let line = of_image(&spec, Dialect::Docker).unwrap();
    assert!(has(&line, &["--entrypoint", "/bin/sh", "x:1", "-c", "true"]), "{:?}", line.parts);
    assert!(!flat(&line.parts).iter().any(|word| word.starts_with("--http-proxy")));
}

#[test]
fn a_secret_is_a_file_and_never_a_word() {
    let secret = json!({ "$secret": ["pg://u:", { "name": "mcq/db", "tag": "t" }] });
    let spec = spec(json!({ "name": "a", "image": "x:1", "secrets": { "DB": secret } }));
    let line = of_image(&spec, Dialect::Podman).unwrap();
    let [file] = &line.secrets[..] else { panic!("{line:?}") };
    assert!(file.path.ends_with("podman/a/DB"), "{file:?}");
    assert!(has(&line, &["-v", &format!("{}:/run/secrets/DB:ro", file.path.display())]));
    assert!(has(&line, &["-e", "DB_FILE=/run/secrets/DB"]));
    assert!(has(&line, &["-l", "mcrun.secret.DB=runbook"]));
    assert!(!line.parts.iter().flatten().any(|word| word.contains("pg://")));
}

#[test]
fn what_would_be_taken_for_an_option_or_end_a_word_is_refused() {
    for value in [
        json!({ "name": "a", "image": "--privileged" }),
        json!({ "name": "-v", "image": "x:1" }),
        json!({ "name": "a", "image": "x:1", "cmd": ["a\0b"] }),
        json!({ "name": "a", "image": "x:1", "network": "--privileged" }),
    ] {
        let error = of_image(&spec(value.clone()), Dialect::Podman).unwrap_err();
        assert_eq!(error.code, Code::Argument, "{value}");
    }
}

#[test]
fn what_a_shell_cannot_give_a_native_program_is_told() {
    let plain = spec(json!({
        "name": "a", "exec": ["/bin/sleep", "1"], "env": { "A": "1" }, "volumes": ["/srv:/srv"], "memory": "64MiB",
        "restart": "always",
    }));
    let native = of_program(&plain).unwrap();
    assert_eq!((native.obstacles.len(), native.lacks.len(), native.workdir.as_str()), (0, 2, "/"));
    assert_eq!(native.env.keys().collect::<Vec<_>>(), ["A", "PATH"]);
    let apart = spec(json!({
        "name": "a", "exec": ["/bin/a=b"], "volumes": ["/srv:/data", "/srv:/srv:ro"], "read_only": true,
        "network": "none",
    }));
    assert_eq!(of_program(&apart).unwrap().obstacles.len(), 5);
}
