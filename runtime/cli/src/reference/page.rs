//! Owns the page of one primitive.

use std::collections::BTreeMap;

use effect::declaration::Declaration;
use effect::{Kind, Rewind};
use script::types::{self, Field};
use serde_json::Value;

use super::{GENERATED, anchor, cell, summary};

/// The page of one primitive with all its effects.
pub(super) fn family(name: &str, declarations: &[&Declaration]) -> String {
    let mut text = format!("{GENERATED}# {name}\n\n| effect | kind | |\n| --- | --- | --- |\n");
    for declaration in declarations {
        text.push_str(&format!(
            "| [`{}`](#{}) | {} | {} |\n",
            declaration.name,
            anchor(declaration.name),
            kind_word(declaration),
            cell(summary(&declaration.doc)),
        ));
    }
    for declaration in declarations {
        push_effect(&mut text, declaration);
    }
    push_types(&mut text, declarations);
    text
}

pub(super) fn kind_word(declaration: &Declaration) -> &'static str {
    match declaration.kind {
        Kind::Read => "read",
        Kind::Ensure => "ensure",
        Kind::Act => "act",
        Kind::Wait => "wait",
    }
}

fn kind_meaning(declaration: &Declaration) -> &'static str {
    match declaration.kind {
        Kind::Read => "changes nothing; runs in a plan too",
        Kind::Ensure => "brings about the described state; idempotent",
        Kind::Act => "does something once; a plan lists it",
        Kind::Wait => "waits; a plan lists it and assumes that it passes",
    }
}

fn undo_meaning(rewind: Rewind) -> Option<&'static str> {
    match rewind {
        Rewind::Restore => Some("what was there before comes back"),
        Rewind::Repeat => Some("it is made once more, after everything else was brought back"),
        Rewind::Refuse => Some("it is named and left as it is; in a transaction the call brings `undo`"),
    }
}

fn push_effect(text: &mut String, declaration: &Declaration) {
    text.push_str(&format!("\n## {}\n\n{}\n\n", declaration.name, declaration.doc.trim()));
    text.push_str(&format!("- Kind: **{}**, {}.\n", kind_word(declaration), kind_meaning(declaration)));
    match declaration.capability {
        "" => text.push_str("- Capability: none.\n"),
        capability => text.push_str(&format!("- Capability: `{capability}`\n")),
    }
    if let Some(meaning) = declaration.rewind.and_then(undo_meaning) {
        text.push_str(&format!("- Undo: {meaning}.\n"));
    }
    push_parameters(text, declaration);
    text.push_str(&format!("\n**Returns** `{}`\n", types::returned(declaration)));
    if declaration.kind != Kind::Ensure {
        push_fields(text, &types::fields(&declaration.result, &declaration.result), false);
    }
    let example = declaration.example.trim();
    if !example.is_empty() {
        text.push_str(&format!("\n**Example**\n\n```lua\n{example}\n```\n"));
    }
}

fn push_parameters(text: &mut String, declaration: &Declaration) {
    let parameters = &declaration.parameters;
    let fields = types::fields(parameters, types::resolved(parameters));
    if !fields.is_empty() {
        text.push_str("\n**Parameters**\n");
        push_fields(text, &fields, true);
        if let Some(undo) = types::way_back(declaration) {
            text.push_str(&format!("| `undo` | `{}` | optional | {} |\n", cell(&undo), types::WAY_BACK));
        }
    } else if matches!(parameters.get("type"), Some(Value::String(kind)) if kind == "object" || kind == "null")
        && parameters.get("x-secret").is_none()
    {
        text.push_str("\n**Parameters**: none\n");
    } else {
        text.push_str(&format!("\n**Parameter** `{}`\n", types::shown(parameters, parameters)));
    }
}

fn push_fields(text: &mut String, fields: &[Field<'_>], is_input: bool) {
    if fields.is_empty() {
        return;
    }
    let (head, rule) = if is_input {
        ("| field | type | | |", "| --- | --- | --- | --- |")
    } else {
        ("| field | type | |", "| --- | --- | --- |")
    };
    text.push_str(&format!("\n{head}\n{rule}\n"));
    for field in fields {
        let mark = if field.optional && !is_input { "?" } else { "" };
        text.push_str(&format!("| `{}` | `{}{mark}` |", field.name, cell(&field.type_text)));
        if is_input {
            text.push_str(&format!(" {} |", presence(field)));
        }
        text.push_str(&format!(" {} |\n", description(field.schema)));
    }
}

fn presence(field: &Field<'_>) -> String {
    match field.schema.get("default") {
        _ if !field.optional => "required".to_owned(),
        Some(default) if !is_empty(default) => format!("default `{}`", cell(&default.to_string())),
        _ => "optional".to_owned(),
    }
}

fn is_empty(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn description(schema: &Value) -> String {
    cell(schema.get("description").and_then(Value::as_str).unwrap_or_default())
}

/// The types that parameters and results name, each once.
fn push_types(text: &mut String, declarations: &[&Declaration]) {
    let mut found: BTreeMap<&str, Vec<(&Value, &Value)>> = BTreeMap::new();
    for root in declarations.iter().flat_map(|declaration| [&declaration.parameters, &declaration.result]) {
        let definitions = root.get("$defs").and_then(Value::as_object).into_iter().flatten();
        for (name, schema) in definitions.filter(|(_, schema)| schema.get("x-secret").is_none()) {
            let same_name = found.entry(name).or_default();
            if !same_name.iter().any(|(_, known)| *known == schema) {
                same_name.push((root, schema));
            }
        }
    }
    if found.is_empty() {
        return;
    }
    text.push_str("\n## Types\n");
    for (name, schemas) in found {
        for (root, schema) in schemas {
            text.push_str(&format!("\n### {name}\n"));
            push_type(text, root, schema);
        }
    }
}

fn push_type(text: &mut String, root: &Value, schema: &Value) {
    let doc = schema.get("description").and_then(Value::as_str).unwrap_or_default().trim();
    if !doc.is_empty() {
        text.push_str(&format!("\n{doc}\n"));
    }
    let fields = types::fields(root, schema);
    if !fields.is_empty() {
        return push_fields(text, &fields, true);
    }
    let described = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .filter(|options| options.iter().all(|o| o.get("const").is_some()));
    match described {
        Some(options) => {
            text.push('\n');
            for option in options {
                let value = option.get("const").unwrap_or(&Value::Null);
                text.push_str(format!("- `{value}`: {}", description(option)).trim_end_matches([':', ' ']));
                text.push('\n');
            }
        }
        None => text.push_str(&format!("\n`{}`\n", types::shown(root, schema))),
    }
}
