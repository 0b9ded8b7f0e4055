use effect::Kind;
use effect::declaration::Declaration;
use serde_json::{Value, json};

use super::*;

fn declaration(name: &'static str, kind: Kind, parameters: Value, result: Value) -> Declaration {
    let doc = "Does one thing.\n\nAnd says so.".to_owned();
    Declaration { name, kind, rewind: None, doc, capability: "", example: "", parameters, result }
}

fn text_of(declarations: &[Declaration]) -> String {
    definitions(declarations.iter())
}

fn named(fields: Value) -> Value {
    json!({ "type": "object", "properties": fields, "additionalProperties": false, "required": ["name"] })
}

fn type_of(schema: Value) -> String {
    shown(&json!({ "$defs": { "Port": {}, "Key": { "x-secret": true } } }), &schema)
}

#[test]
fn every_shape_of_schema_has_its_type() {
    let cases = [
        (json!({ "type": "string" }), "string"),
        (json!({ "type": "integer", "format": "uint16" }), "number"),
        (json!({ "type": ["string", "null"] }), "string?"),
        (json!({ "type": ["string", "number"], "x-unit": "a duration" }), "string | number"),
        (json!({ "type": ["string", "number", "null"] }), "(string | number)?"),
        (json!({ "type": "array", "items": { "type": "string" } }), "{ string }"),
        (json!({ "type": "array", "items": { "type": ["string", "null"] } }), "{ string? }"),
        (json!({ "type": "object", "additionalProperties": { "type": "string" } }), "{ [string]: string }"),
        (json!({ "type": "object" }), "{ [string]: any }"),
        (json!({ "$ref": "#/$defs/Port" }), "Port"),
        (json!({ "anyOf": [{ "$ref": "#/$defs/Port" }, { "type": "null" }] }), "Port?"),
        (json!({ "oneOf": [{ "const": "tcp", "type": "string" }, { "const": "udp" }] }), "\"tcp\" | \"udp\""),
        (json!({ "type": "string", "enum": ["a", "b"] }), "\"a\" | \"b\""),
        (json!({ "enum": ["a", "b", null] }), "(\"a\" | \"b\")?"),
        (json!({ "$ref": "#/$defs/Key" }), "Secret"),
        (json!({ "type": "object", "x-secret": true }), "Secret"),
        (json!(true), "any"),
        (json!({ "anyOf": [{}, { "type": "null" }] }), "any"),
        (
            json!({ "type": "object", "properties": { "end": { "type": "number" } }, "additionalProperties": false }),
            "{ [\"end\"]: number?, [string]: never }",
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(type_of(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn an_ensure_returns_its_state_before_and_after() {
    let state = json!({ "anyOf": [{ "$ref": "#/$defs/Stat" }, { "type": "null" }] });
    let result = json!({
        "type": "object", "properties": { "changed": { "type": "boolean" }, "before": state, "after": state },
        "$defs": { "Stat": named(json!({ "name": { "type": "string" } })) },
    });
    let parameters = named(json!({
        "name": { "type": "string", "description": "The path." }, "mode": { "type": ["string", "null"] },
    }));
    let text = text_of(&[declaration("files.write", Kind::Ensure, parameters, result)]);
    assert!(text.contains("    write: (options: FilesWrite) -> Ensured<Stat>,\n"), "{text}");
    assert!(
        text.contains(
            "export type FilesWrite = {\n    --- The path.\n    name: string,\n    mode: string?,\n    [string]: never,\n}"
        )
    );
    assert!(text.contains("export type Stat = {\n    name: string,\n    [string]: never,\n}\n"), "{text}");
    assert!(text.contains("    --- Does one thing.\n    ---\n    --- And says so.\n    write:"), "{text}");
}

#[test]
fn effects_of_a_family_within_a_primitive_stand_in_a_table_within_its_table() {
    let none = json!({ "type": "object", "additionalProperties": false });
    let name = named(json!({ "name": { "type": "string" } }));
    let text = text_of(&[
        declaration("certs.get", Kind::Read, none.clone(), json!({ "type": "string" })),
        declaration("certs.ssh.list", Kind::Read, none, json!({ "type": "number" })),
        declaration("certs.ssh.sign", Kind::Act, name, json!({ "type": "string" })),
    ]);
    let declared =
        text.split("declare certs: {\n").nth(1).and_then(|rest| rest.split("\n}\n").next()).unwrap();
    let lines: Vec<&str> = declared.lines().filter(|line| !line.trim_start().starts_with("---")).collect();
    let expected = [
        "    get: () -> string,",
        "    ssh: {",
        "        list: () -> number,",
        "        sign: (options: CertsSshSign) -> string,",
        "    },",
    ];
    assert_eq!(lines, expected, "{text}");
}

#[test]
fn effects_without_a_dot_are_global_functions() {
    let span = json!({ "type": ["string", "number"], "x-unit": "a duration" });
    let none = json!({ "type": "object", "additionalProperties": false });
    let text = text_of(&[
        declaration("now", Kind::Read, none, json!({ "type": "number" })),
        declaration("sleep", Kind::Wait, span, json!({ "type": "null" })),
    ]);
    assert!(text.contains("declare function now(): number\n"), "{text}");
    assert!(text.contains("declare function sleep(value: string | number): ()\n"), "{text}");
}

#[test]
fn a_table_without_required_fields_may_be_left_out() {
    let parameters = json!({ "type": "object", "properties": { "all": { "type": "boolean" } } });
    let text =
        text_of(&[declaration("x.list", Kind::Read, parameters, json!({ "type": "array", "items": {} }))]);
    assert!(text.contains("    list: (options: XList?) -> { any },\n"), "{text}");
}

#[test]
fn parameters_may_be_a_definition_themselves() {
    let spec = named(json!({ "name": { "type": "string" } }));
    let parameters = json!({ "$ref": "#/$defs/Spec", "$defs": { "Spec": spec } });
    let text = text_of(&[declaration("x.ensure", Kind::Read, parameters, json!({ "type": "null" }))]);
    assert!(text.contains("    ensure: (options: Spec) -> (),\n"), "{text}");
}

#[test]
fn an_allocated_port_is_a_number() {
    let text =
        text_of(&[declaration("ports.allocate", Kind::Ensure, named(json!({ "name": {} })), json!({}))]);
    assert!(text.contains("    allocate: (options: PortsAllocate) -> number,\n"), "{text}");
}

fn with_port(field: &str) -> Value {
    let mut schema = named(json!({ "name": { "$ref": "#/$defs/Port" }, "list": { "$ref": "#/$defs/List" } }));
    schema["$defs"] = json!({
        "Port": named(json!({ "name": { "type": field } })),
        "List": { "type": "array", "items": { "$ref": "#/$defs/Port" } },
    });
    schema
}

#[test]
fn the_same_definition_is_written_once() {
    let text = text_of(&[
        declaration("a.x", Kind::Read, with_port("string"), json!({ "type": "null" })),
        declaration("b.x", Kind::Read, with_port("string"), json!({ "type": "null" })),
    ]);
    assert_eq!(text.matches("export type Port = ").count(), 1, "{text}");
    assert!(text.contains("export type List = { Port }\n"), "{text}");
}

#[test]
fn definitions_that_differ_carry_their_primitive_and_so_does_what_refers_to_them() {
    let text = text_of(&[
        declaration("a.x", Kind::Read, with_port("string"), json!({ "type": "null" })),
        declaration("b.x", Kind::Read, with_port("number"), json!({ "type": "null" })),
    ]);
    assert!(text.contains("export type APort = {\n    name: string,\n    [string]: never,\n}"), "{text}");
    assert!(text.contains("export type BPort = {\n    name: number,\n    [string]: never,\n}"), "{text}");
    assert!(text.contains("export type BList = { BPort }\n"), "{text}");
    assert!(!text.contains("export type Port"), "{text}");
}

#[test]
fn a_definition_never_takes_the_name_of_a_core_type() {
    let mut parameters = named(json!({ "name": { "$ref": "#/$defs/Error" } }));
    parameters["$defs"] = json!({ "Error": { "type": "string" } });
    let text = text_of(&[declaration("a.x", Kind::Read, parameters, json!({ "type": "null" }))]);
    assert_eq!(text.matches("export type Error = ").count(), 1);
    assert!(text.contains("export type AError = string\n"), "{text}");
}

#[test]
fn capability_and_example_belong_to_the_documentation() {
    let mut one = declaration("a.x", Kind::Read, json!({ "type": "null" }), json!({ "type": "string" }));
    one.capability = "a:read:NAME";
    one.example = "a.x()\n";
    let text = text_of(&[one]);
    assert!(text.contains("    --- Needs `a:read:NAME`.\n    ---\n    --- ```lua\n    --- a.x()\n    --- ```\n    x: () -> string,"));
}

#[test]
fn the_luaurc_points_at_the_standard_modules() {
    let luaurc: Value = serde_json::from_str(luaurc()).unwrap();
    assert_eq!(luaurc["languageMode"], "strict");
    assert_eq!(luaurc["aliases"]["std"], STD_FOLDER);
}

#[test]
fn what_cannot_be_undone_takes_a_way_back_in_a_transaction() {
    let with = |rewind| {
        let result = json!({ "type": "object", "properties": { "code": { "type": "integer" } }, "required": ["code"] });
        let parameters = named(json!({ "name": { "type": "string" } }));
        let one = Declaration { rewind, ..declaration("a.x", Kind::Act, parameters, result) };
        text_of(&[one])
    };
    let text = with(Some(Rewind::Refuse));
    assert!(
        text.contains("    undo: ((result: { code: number }) -> ())?,\n    [string]: never,\n"),
        "{text}"
    );
    assert!(!with(Some(Rewind::Repeat)).contains("undo:"));
}
