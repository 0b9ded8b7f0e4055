//! Owns how values are written in Luau: what a script has that somebody else goes on with.

use serde_json::Value;

/// Longer lists and tables get a line for each of their values.
const WIDTH: usize = 80;

/// A value, `depth` tables deep.
pub(super) fn value(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => table(items.iter().map(|item| self::value(item, depth + 1)).collect(), depth),
        Value::Object(fields) => {
            if let Some(parts) = fields.get("$secret").and_then(Value::as_array) {
                return secret(parts);
            }
            let entry = |(name, field): (&String, &Value)| {
                format!("{} = {}", key(name), self::value(field, depth + 1))
            };
            table(fields.iter().map(entry).collect(), depth)
        }
    }
}

/// How a script gets the secret that a handle stands for.
fn secret(parts: &[Value]) -> String {
    let part = |part: &Value| match part.get("name").and_then(Value::as_str) {
        Some(name) => format!("secrets.get({})", quoted(name)),
        None => quoted(part.as_str().unwrap_or_default()),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" .. ")
}

fn table(entries: Vec<String>, depth: usize) -> String {
    let inline = format!("{{ {} }}", entries.join(", "));
    if entries.is_empty() {
        return "{}".to_owned();
    }
    if inline.len() <= WIDTH && !inline.contains('\n') {
        return inline;
    }
    let indent = "    ".repeat(depth);
    let lines: String = entries.iter().map(|entry| format!("{indent}    {entry},\n")).collect();
    format!("{{\n{lines}{indent}}}")
}

/// Words that cannot be names of fields without brackets.
const KEYWORDS: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

fn key(name: &str) -> String {
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !KEYWORDS.contains(&name);
    if is_name { name.to_owned() } else { format!("[{}]", quoted(name)) }
}

/// A text in quotes; whatever would end it or is invisible is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            other if other.is_control() => quoted.push_str(&format!("\\u{{{:x}}}", u32::from(other))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_so_that_nothing_in_them_ends_them() {
        let hostile = json!({ "a\"] = os.exit() --": "x\"\\\n\u{1b}\u{7f}", "end": [1, true, "é"] });
        assert_eq!(
            value(&hostile, 0),
            "{ [\"a\\\"] = os.exit() --\"] = \"x\\\"\\\\\\n\\u{1b}\\u{7f}\", [\"end\"] = { 1, true, \"é\" } }"
        );
    }

    #[test]
    fn a_secret_is_written_as_the_way_to_get_it() {
        let handle = json!({ "URL": { "$secret": ["pg://app:", { "name": "app/db", "tag": "00" }] } });
        assert_eq!(value(&handle, 0), "{ URL = \"pg://app:\" .. secrets.get(\"app/db\") }");
    }

    #[test]
    fn what_is_long_gets_a_line_for_each_value() {
        let words = vec!["x".repeat(50); 2];
        let line = "x".repeat(50);
        assert_eq!(value(&json!(words), 1), format!("{{\n        \"{line}\",\n        \"{line}\",\n    }}"));
    }
}
