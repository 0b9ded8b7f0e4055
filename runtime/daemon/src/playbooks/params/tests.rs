use serde_json::{Value, json};

use super::super::{Parameter, read};
use super::{check, check_settings, check_words};
use std::collections::BTreeMap;

fn params() -> BTreeMap<String, Parameter> {
    let definition = json!({
        "name": "a",
        "params": {
            "tag": { "type": "string" },
            "force": { "type": "boolean", "default": false },
            "dry_run": { "type": "boolean", "default": true },
            "count": { "type": "integer", "default": 3 },
            "ratio": { "type": "number", "default": 0.5 },
            "within": { "type": "duration", "default": "10m" },
            "room": { "type": "size", "default": "64MiB" },
            "colour": { "type": "string", "default": "red", "choices": ["red", "blue"] },
        },
    });
    read(&definition).unwrap().params
}

fn words(given: &[&str]) -> Result<Value, String> {
    let given: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
    check_words(&params(), &given).map_err(|error| said(&error))
}

fn said(error: &effect::Error) -> String {
    let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    std::iter::once(format!("{}{hint}", error.message))
        .chain(error.details.clone())
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn defaults_are_filled_in() {
    let expected = json!({
        "colour": "red", "count": 3, "dry_run": true, "force": false, "ratio": 0.5, "room": "64MiB", "tag": "v1",
        "within": "10m",
    });
    assert_eq!(check(&params(), &json!({ "tag": "v1" })).unwrap(), expected);
    assert_eq!(words(&["--tag", "v1"]).unwrap(), expected);
    assert_eq!(check_settings(&params(), [("tag", "v1")]).unwrap(), expected);
}

#[test]
fn words_are_read_by_the_type_of_their_parameter() {
    let given = [
        "--tag=7",
        "--force",
        "--no-dry-run",
        "--count",
        "-4",
        "--ratio",
        "1e3",
        "--within",
        "90s",
        "--room=1GiB",
    ];
    let found = words(&given).unwrap();
    let expected = json!({
        "colour": "red", "count": -4, "dry_run": false, "force": true, "ratio": 1000.0, "room": "1GiB", "tag": "7",
        "within": "1m30s",
    });
    assert_eq!(found, expected);
    assert_eq!(words(&["--tag", "", "--force", "false"]).unwrap()["force"], json!(false));
    assert_eq!(words(&["--tag", "x", "--dry_run=false"]).unwrap()["dry_run"], json!(false));
    assert_eq!(
        check_settings(&params(), [("tag", "true"), ("force", "true")]).unwrap()["tag"],
        json!("true")
    );
}

#[test]
fn every_mistake_of_a_call_is_told_at_once() {
    let table: &[(&[&str], &str)] = &[
        (&[], "parameter `tag` is missing, a string"),
        (&["--tag"], "parameter `tag` has no value: it takes a string"),
        (&["--tag", "--force"], "parameter `tag` has no value: it takes a string"),
        (&["--tga", "x"], "parameter `tga` is unknown (did you mean `tag`?)"),
        (&["--tag", "x", "now"], "`now` belongs to no parameter (parameters are given as `--NAME VALUE`)"),
        (&["--tag", "x", "--"], "`--` belongs to no parameter"),
        (&["--tag", "x", "--tag", "y"], "parameter `tag` is given twice"),
        (&["--tag", "x", "--force", "--no-force"], "parameter `force` is given twice"),
        (&["--tag", "x", "--no-force=1"], "`--no-force` takes no value"),
        (&["--tag", "x", "--no-count"], "parameter `no_count` is unknown"),
        (&["--tag", "x", "--force=yes"], "parameter `force` must be `true` or `false`, not `yes`"),
        (&["--tag", "x", "--count", "three"], "parameter `count` must be a whole number, not `three`"),
        (&["--tag", "x", "--count", "1.5"], "parameter `count` must be a whole number, not `1.5`"),
        (&["--tag", "x", "--within", "soon"], "parameter `within` must be a duration such as"),
        (&["--tag", "x", "--room", "-1"], "parameter `room` must be a size such as"),
        (&["--tag", "x", "--colour", "green"], "parameter `colour` must be one of red, blue, not `green`"),
        (
            &["--count", "x", "--colour", "green"],
            "parameter `colour` must be one of red, blue, not `green`; parameter `count` must be a whole number, not `x`; \
             parameter `tag` is missing, a string",
        ),
    ];
    for (given, expected) in table {
        let found = words(given).unwrap_err();
        assert!(found.starts_with(expected), "{given:?}\n found:    {found}\n expected: {expected}");
    }
}

#[test]
fn what_is_given_as_json_has_its_type() {
    let table = [
        (json!([]), "parameters are a table by name"),
        (json!({ "tag": 7 }), "parameter `tag` must be a string, not `7`"),
        (json!({ "tag": "x", "force": "true" }), "parameter `force` must be `true` or `false`, not `true`"),
        (json!({ "tag": "x", "count": 1e300 }), "parameter `count` must be a whole number"),
        (json!({ "tag": "x", "other": 1, "more": 2 }), "parameter `other` is unknown"),
        (json!({ "tag": { "$secret": [] } }), "parameter `tag` must be a string, not a table"),
        (json!({ "tag": "x".repeat(100_000) }), "parameter `tag` must be a string"),
    ];
    for (given, expected) in table {
        let error = check(&params(), &given).unwrap_err();
        assert_eq!(error.code, effect::Code::Parameters);
        assert!(said(&error).starts_with(expected), "{given}: {}", said(&error));
    }
    assert!(check(&params(), &json!({ "tag": "x", "count": null })).is_ok());
}

#[test]
fn a_playbook_without_parameters_takes_none() {
    let error = check(&BTreeMap::new(), &json!({ "a": 1 })).unwrap_err();
    assert_eq!(said(&error), "parameter `a` is unknown (this playbook has no parameters)");
    assert_eq!(check(&BTreeMap::new(), &Value::Null).unwrap(), json!({}));
}
