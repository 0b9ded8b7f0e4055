//! Owns the pages of the pure functions, one for each family.

use std::collections::BTreeMap;

use script::functions::{self, Function, Parameter, Takes};

use super::{GENERATED, anchor, cell, summary};

fn families() -> BTreeMap<&'static str, Vec<&'static Function>> {
    let mut families: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
    for function in functions::all() {
        families.entry(function.parts().0).or_default().push(function);
    }
    families
}

/// The pages by their path in `docs/reference`.
pub(super) fn pages() -> BTreeMap<String, String> {
    families()
        .into_iter()
        .map(|(family, functions)| (format!("{family}.md"), page(family, &functions)))
        .collect()
}

/// The part of the index that lists functions.
pub(super) fn push_index(text: &mut String) {
    text.push_str(
        "\n# Functions\n\nThey compute inside the script, are no effects and need no capability.\n",
    );
    for (family, functions) in families() {
        text.push_str(&format!("\n## [{family}]({family}.md)\n\n"));
        push_rows(text, &format!("{family}.md"), &functions);
    }
}

fn push_rows(text: &mut String, page: &str, functions: &[&Function]) {
    text.push_str("| function | |\n| --- | --- |\n");
    for function in functions {
        let (name, anchor) = (function.name, anchor(function.name));
        text.push_str(&format!("| [`{name}`]({page}#{anchor}) | {} |\n", cell(summary(function.doc))));
    }
}

fn page(family: &str, functions: &[&Function]) -> String {
    let mut text = format!("{GENERATED}# {family}\n\n");
    push_rows(&mut text, "", functions);
    for function in functions {
        text.push_str(&format!("\n## {}\n\n{}\n\n", function.name, function.doc));
        text.push_str(
            "- Kind: **function**, computes inside the script; no capability.\n\n**Parameters**\n\n",
        );
        text.push_str("| parameter | type | | |\n| --- | --- | --- | --- |\n");
        for parameter in function.parameters {
            push_parameter(&mut text, "", parameter);
        }
        text.push_str(&format!("\n**Returns** `{}`\n", function.returns));
        text.push_str(&format!("\n**Example**\n\n```lua\n{}\n```\n", function.example));
    }
    text
}

fn push_parameter(text: &mut String, prefix: &str, parameter: &Parameter) {
    let presence = if parameter.optional { "optional" } else { "required" };
    let name = format!("{prefix}{}", parameter.name);
    let fields = match parameter.takes {
        Takes::Options(fields) => fields,
        _ => &[],
    };
    let luau = if fields.is_empty() { parameter.luau() } else { "table".to_owned() };
    let luau = luau.trim_end_matches('?');
    text.push_str(&format!("| `{name}` | `{}` | {presence} | {} |\n", cell(luau), cell(parameter.doc)));
    for field in fields {
        push_parameter(text, &format!("{name}."), field);
    }
}
