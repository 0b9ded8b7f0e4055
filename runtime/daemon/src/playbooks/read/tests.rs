use std::path::PathBuf;
use std::time::Duration;

use effect::{Code, Timestamp};
use serde_json::{Value, json};

use super::super::{
    At, CatchUp, Cron, Every, Forge, OnEvent, OnFile, OnWebhook, Overlap, Parameter, ParameterKind, Trigger,
};
use super::read;

fn with(field: &str, value: Value) -> Value {
    json!({ "name": "sweep", field: value })
}

fn on(kind: &str, value: Value) -> Value {
    with("on", json!({ kind: value }))
}

fn param(value: Value) -> Value {
    with("params", json!({ "a": value }))
}

/// The first mistake, with its hint behind it.
fn wrong(definition: &Value) -> String {
    let (error, _) = read(definition).expect_err(&definition.to_string()).error("");
    let mut text = error.message;
    for more in [error.cause, error.hint].into_iter().flatten() {
        text.push_str(" | ");
        text.push_str(&more);
    }
    text
}

#[test]
fn every_mistake_names_its_field_and_what_is_allowed() {
    let long = "x".repeat(5000);
    let table: Vec<(Value, &str)> = vec![
        (json!([]), "field `name` is missing | name it by lower-case letters, digits and dashes"),
        (json!(["a"]), "field `name` is missing"),
        (json!({}), "field `name` is missing"),
        (json!({ "name": "" }), "field `name` is empty"),
        (json!({ "name": 7 }), "field `name` must be a string, not `7`"),
        (
            json!({ "name": "Sweep Up" }),
            "field `name` has other characters than lower-case letters, digits and dashes: `Sweep Up` | such as `renew-certificates`",
        ),
        (json!({ "name": "-a" }), "field `name` begins or ends with a dash: `-a`"),
        (json!({ "name": "a".repeat(64) }), "field `name` is longer than 63 characters"),
        (json!({ "name": "a\u{1b}[31m" }), "field `name` holds control characters"),
        (json!({ "name": long.clone() }), "field `name` is longer than 4096 bytes"),
        (
            with("descriptoin", json!("x")),
            "field `descriptoin` is unknown: a playbook has name, description, on, allow, params, overlap, catch_up, timeout, run | did you mean `description`?",
        ),
        (with("zzz", json!(1)), "field `zzz` is unknown: a playbook has name,"),
        (with("on air", json!(1)), "field `[\"on air\"]` is unknown"),
        (with("description", json!(["x"])), "field `description` must be a string, not a list"),
        (with("on", json!("cron")), "field `on` must be a table with named fields, not `cron`"),
        (with("on", json!(["boot"])), "field `on` must be a table with named fields, not a list"),
        (
            on("corn", json!("@daily")),
            "field `on.corn` is unknown: `on` has cron, every, at, boot, event, file, webhook | did you mean `cron`?",
        ),
        (on("cron", json!([])), "field `on.cron` is empty"),
        (on("cron", json!(7)), "field `on.cron` must be a string, not `7`"),
        (on("cron", json!("61 * * * *")), "field `on.cron`: "),
        (on("cron", json!("0 0 30 2 *")), "field `on.cron`: "),
        (on("cron", json!("every day")), "field `on.cron`: "),
        (on("cron", json!(["@daily", "x"])), "field `on.cron[2]`: "),
        (on("cron", json!({ "zone": "Europe/Berlin" })), "field `on.cron` has no `at`"),
        (on("cron", json!({ "at": "@daily", "zone": "Europe/Berln" })), "field `on.cron`: "),
        (
            on("cron", json!({ "at": "@daily", "tz": "UTC" })),
            "field `on.cron.tz` is unknown: `on.cron` has at, zone, jitter",
        ),
        (
            on("cron", json!({ "at": "@daily", "jitter": "2d" })),
            "field `on.cron.jitter` must be between 0s and 1d, not 2d",
        ),
        (on("cron", json!(["@daily", "@daily"])), "field `on.cron[2]` is there twice"),
        (on("every", json!("soon")), "field `on.every` is no duration: `soon` is not a duration such as"),
        (on("every", json!("10ms")), "field `on.every` must be between 1s and 366d, not 10ms"),
        (
            on("every", json!({ "every": "1m", "jitter": "2m" })),
            "field `on.every.jitter`: a jitter of 2m is not shorter than the 1m from one time to the next",
        ),
        (
            on("cron", json!(["@daily", { "at": "*/5 * * * *", "jitter": "10m" }])),
            "field `on.cron[2].jitter`: a jitter of 10m is longer than the 5m from one time to the next",
        ),
        (
            json!({ "name": "a", "on": { "boot": true }, "params": { "tag": { "type": "string" } } }),
            "field `params.tag` needs a default: a trigger gives none | give it a `default`, or take `on` out",
        ),
        (on("every", json!({ "jitter": "1s" })), "field `on.every` has no `every`"),
        (
            on("at", json!("tomorrow")),
            "field `on.at` is no moment: `tomorrow` | date, time and offset, such as \"2026-12-24T18:00:00+01:00\"",
        ),
        (on("at", json!("2026-12-24T18:00:00")), "field `on.at` is no moment: `2026-12-24T18:00:00`"),
        (on("boot", json!("yes")), "field `on.boot` must be `true`, not `yes`"),
        (
            on("event", json!("container.exitted")),
            "field `on.event` names no event of mcrun: `container.exitted` | did you mean `container.exited`?",
        ),
        (
            on("event", json!("contaner.exited")),
            "field `on.event` names no event of mcrun: `contaner.exited` | did you mean `container.exited`?",
        ),
        (
            on("event", json!("rnu.*")),
            "field `on.event` names no event of mcrun: `rnu.*` | did you mean `run.*`?",
        ),
        (
            on("event", json!({ "name": "servce.died" })),
            "field `on.event.name` names no event of mcrun: `servce.died` | did you mean one of service.healthy, service.unhealthy?",
        ),
        (on("event", json!("engine.*.x")), "field `on.event` names no event of mcrun: `engine.*.x` | "),
        (
            on("event", json!("Container Exited")),
            "field `on.event` is no pattern of events: `Container Exited` | names such as",
        ),
        (
            on("event", json!({ "name": "container.exited", "where": { "nam": "a" } })),
            "field `on.event.where.nam` is none of the event's, which has name, service, exit_code | did you mean `name`?",
        ),
        (
            on("event", json!({ "name": "container.exited", "where": { "name": { "a": 1 } } })),
            "field `on.event.where.name` must be a string, a number, a boolean or a list of these, not a table",
        ),
        (
            on("event", json!({ "name": "a.b", "at_most": "often" })),
            "field `on.event.at_most` must be a number of starts in a time, such as \"3/10m\", not `often`",
        ),
        (
            on("event", json!({ "name": "a.b", "at_most": "0/1s" })),
            "field `on.event.at_most` must be a number of starts",
        ),
        (on("file", json!("etc/app")), "field `on.file` must be an absolute path, not `etc/app`"),
        (on("file", json!("/etc/../app")), "field `on.file` must not hold `..`"),
        (
            on("file", json!("/etc/*/app")),
            "field `on.file` has a pattern before its last part | name the folder itself",
        ),
        (on("webhook", json!("deploy")), "field `on.webhook` must be a table, not `deploy` | such as {"),
        (on("webhook", json!({ "path": "deploy" })), "field `on.webhook` has no `secret`"),
        (
            on("webhook", json!({ "path": "a/b", "secret": "s" })),
            "field `on.webhook.path` must be lower-case letters, digits, dashes and underscores, not `a/b` | it is the last part",
        ),
        (
            on("webhook", json!({ "path": "a", "secret": "s", "format": "githbu" })),
            "field `on.webhook.format` must be one of \"generic\", \"github\", \"gitea\", \"forgejo\", \"gitlab\", not `githbu` | did you mean \"github\"?",
        ),
        (
            on("webhook", json!({ "path": "a", "secret": "s", "window": 0 })),
            "field `on.webhook.window` must be between 1s and 1d, not 0s",
        ),
        (
            on("webhook", json!({ "path": "a", "secret": "s", "window": "31d", "format": "github" })),
            "field `on.webhook.window` must be between 1s and 30d, not 31d",
        ),
        (with("allow", json!("dns")), "field `allow` must be a list, not `dns`"),
        (
            with("allow", json!(["certs", "contaners:write"])),
            "field `allow[2]`: capability `contaners:write`: no primitive is called `contaners`, did you mean `containers`?",
        ),
        (
            with("overlap", json!("skp")),
            "field `overlap` must be one of \"skip\", \"queue\", \"replace\", not `skp` | did you mean \"skip\"?",
        ),
        (
            with("catch_up", json!(true)),
            "field `catch_up` must be one of \"skip\", \"once\", \"all\", not `true`",
        ),
        (with("timeout", json!("0s")), "field `timeout` must be between 1ms and 366d, not 0s"),
        (with("timeout", json!(-1)), "field `timeout` is no duration"),
        (with("params", json!(["force"])), "field `params` must be a table with named fields, not a list"),
        (
            param(json!("boolean")),
            "field `params.a` must be a table, not `boolean` | such as { type = \"boolean\" }",
        ),
        (
            param(json!({ "default": 1 })),
            "field `params.a` has no `type`, one of string, number, integer, boolean, duration, size",
        ),
        (param(json!({ "type": "bool" })), "field `params.a.type` must be one of \"string\","),
        (
            param(json!({ "type": "boolean", "defualt": true })),
            "field `params.a.defualt` is unknown: `params.a` has type, description, default, choices | did you mean `default`?",
        ),
        (
            param(json!({ "type": "boolean", "default": "yes" })),
            "field `params.a.default` must be `true` or `false`, not `yes`",
        ),
        (
            param(json!({ "type": "integer", "default": 1.5 })),
            "field `params.a.default` must be a whole number, not `1.5`",
        ),
        (
            param(json!({ "type": "duration", "default": "soon" })),
            "field `params.a.default` must be a duration such as",
        ),
        (
            param(json!({ "type": "size", "default": "big" })),
            "field `params.a.default` must be a size such as \"64MiB\", not `big`",
        ),
        (
            param(json!({ "type": "string", "choices": ["a", "b"], "default": "c" })),
            "field `params.a.default` must be one of a, b, not `c`",
        ),
        (param(json!({ "type": "string", "choices": [] })), "field `params.a.choices` is empty"),
        (
            param(json!({ "type": "number", "choices": [1, "2"] })),
            "field `params.a.choices[2]` must be a number, not `2`",
        ),
        (param(json!({ "type": "number", "choices": [1, 1] })), "field `params.a.choices[2]` is there twice"),
        (
            param(json!({ "type": "boolean", "choices": [true] })),
            "field `params.a.choices` has no meaning for a boolean",
        ),
        (
            with("params", json!({ "dry-run": { "type": "boolean" } })),
            "field `params[\"dry-run\"]` is no name of a parameter | names are lower-case letters, digits and underscores",
        ),
        (
            with("params", json!({ "no_force": { "type": "boolean" } })),
            "field `params.no_force` cannot begin with `no_`",
        ),
        (
            with("params", json!({ "help": { "type": "boolean" } })),
            "field `params.help` is taken: `mcrun start` has an option of that name",
        ),
    ];
    for (definition, expected) in &table {
        let found = wrong(definition);
        assert!(found.starts_with(expected), "{definition}\n found:    {found}\n expected: {expected}");
    }
    assert!(table.len() >= 40);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let source = "return playbook {\n    overlap = \"skp\",\n    name = \"A\",\n    on = { boot = 1 },\n    run = print,\n}";
    let definition = json!({ "name": "A", "overlap": "skp", "on": { "boot": 1 } });
    let (error, line) = read(&definition).unwrap_err().error(source);
    assert_eq!((error.code, line), (Code::PlaybookField, Some(2)));
    assert!(error.message.starts_with("field `overlap`"), "{error:?}");
    assert_eq!(error.details.len(), 2);
    assert!(error.details[0].starts_with("line 3: field `name`"), "{error:?}");
    assert!(error.details[1].starts_with("line 4: field `on.boot`"), "{error:?}");
}

#[test]
fn what_a_trigger_cannot_give_and_a_jitter_that_is_too_long_have_their_lines() {
    let source = "return playbook {\n    name = \"a\",\n    on = { every = {\n        every = \"1m\",\n        jitter = \"1h\",\n    }, boot = true },\n    params = {\n        tag = { type = \"string\" },\n    },\n    run = print,\n}";
    let definition = json!({
        "name": "a",
        "on": { "every": { "every": "1m", "jitter": "1h" }, "boot": true },
        "params": { "tag": { "type": "string" } },
    });
    let (error, line) = read(&definition).unwrap_err().error(source);
    assert!(error.message.starts_with("field `on.every.jitter`: "), "{error:?}");
    assert_eq!((error.code, line), (Code::TriggerTime, Some(5)));
    assert!(error.details[0].starts_with("line 8: field `params.tag` needs a default"), "{error:?}");
    // By hand it may be given.
    assert!(read(&param(json!({ "type": "string" }))).is_ok());
}

#[test]
fn so_many_mistakes_are_cut() {
    let fields: serde_json::Map<String, Value> = (0..10_000).map(|n| (format!("f{n}"), json!(1))).collect();
    let (error, _) = read(&Value::Object(fields)).unwrap_err().error("");
    assert!(error.details.len() < 50);
}

#[test]
fn a_definition_is_what_its_file_says() {
    let definition = json!({
        "name": "renew-certificates",
        "description": "Renews what is near its end. ",
        "on": {
            "cron": ["17 3 * * *", { "at": "@daily", "zone": "Europe/Berlin", "jitter": "5m" }],
            "every": 600,
            "at": "2026-12-24T18:00:00+01:00",
            "boot": true,
            "event": { "name": "container.*", "where": { "name": ["web-*", "db"] }, "at_most": "3/10m" },
            "file": "/etc/app/*.toml",
            "webhook": { "path": "deploy", "secret": "forge/hook", "format": "forgejo", "events": "push" },
        },
        "allow": ["certs:write:*"],
        "params": {
            "force": { "type": "boolean", "default": false },
            "within": { "type": "duration", "default": 90 },
            "tag": { "type": "string", "description": "which one", "choices": ["a", "b"], "default": "a" },
        },
        "overlap": "queue",
        "catch_up": "all",
        "timeout": "1h",
    });
    let read = read(&definition).unwrap();
    assert_eq!(read.name, "renew-certificates");
    assert_eq!(read.description.as_deref(), Some("Renews what is near its end."));
    let seconds = Duration::from_secs;
    let expected = [
        Trigger::Cron(Cron { expression: "17 3 * * *".into(), zone: None, jitter: Duration::ZERO }),
        Trigger::Cron(Cron {
            expression: "@daily".into(),
            zone: Some("Europe/Berlin".into()),
            jitter: seconds(300),
        }),
        Trigger::Every(Every { every: seconds(600), jitter: Duration::ZERO }),
        Trigger::At(At { at: Timestamp(1_798_131_600_000), text: "2026-12-24T18:00:00+01:00".into() }),
        Trigger::Boot,
        Trigger::Event(OnEvent {
            pattern: "container.*".into(),
            filter: [("name".to_owned(), json!(["web-*", "db"]))].into(),
            at_most: Some((3, seconds(600))),
        }),
        Trigger::File(OnFile { path: PathBuf::from("/etc/app/*.toml"), settle: seconds(1) }),
        Trigger::Webhook(OnWebhook {
            path: "deploy".into(),
            secret: "forge/hook".into(),
            format: Forge::Gitea,
            events: vec!["push".into()],
            window: seconds(30 * 86_400),
            at_most: None,
        }),
    ];
    assert_eq!(read.on, expected);
    assert_eq!(read.allow.as_deref(), Some(&["certs:write:*".to_owned()][..]));
    assert_eq!(
        (read.overlap, read.catch_up, read.timeout),
        (Overlap::Queue, CatchUp::All, Some(seconds(3600)))
    );
    let parameter =
        |kind, default: Option<Value>| Parameter { kind, default, description: None, choices: Vec::new() };
    assert_eq!(read.params["force"], parameter(ParameterKind::Boolean, Some(json!(false))));
    assert_eq!(read.params["within"], parameter(ParameterKind::Duration, Some(json!("1m30s"))));
    assert_eq!(read.params["tag"].choices, [json!("a"), json!("b")]);
}

#[test]
fn a_name_is_enough() {
    let read = read(&json!({ "name": "a", "on": [], "params": [] })).unwrap();
    assert_eq!((read.on.len(), read.params.len(), read.allow), (0, 0, None));
    assert_eq!((read.overlap, read.catch_up, read.timeout), (Overlap::Skip, CatchUp::Once, None));
}

#[test]
fn a_playbook_that_takes_nothing_is_none_that_takes_all() {
    assert_eq!(read(&with("allow", json!([]))).unwrap().allow, Some(Vec::new()));
}

#[test]
fn events_of_others_are_not_ours_to_know() {
    for name in
        ["backup.done", "*", "*.exited", "my-app.x_1", "device.online", "alerts.fired", "sun.rise", "go"]
    {
        assert!(read(&on("event", json!(name))).is_ok(), "{name}");
    }
}
