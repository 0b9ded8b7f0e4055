//! Owns the translation of one JSON schema into one Luau type.

use serde_json::Value;

use super::Field;

/// Makes a table type refuse literals with fields that it does not name.
pub(crate) const NO_OTHER_FIELD: &str = "[string]: never";

/// Translates the schemas of one root.
pub(super) struct Shape<'a> {
    root: &'a Value,
    name: &'a dyn Fn(&str) -> String,
}

impl<'a> Shape<'a> {
    /// `name` gives the Luau name of a definition of `root`.
    pub(super) fn new(root: &'a Value, name: &'a dyn Fn(&str) -> String) -> Self {
        Self { root, name }
    }

    /// The Luau type of `schema`.
    pub(super) fn of(&self, schema: &Value) -> String {
        let (text, takes_nil) = self.parts(schema);
        if takes_nil { optional(&text) } else { text }
    }

    /// The Luau type of `schema` for a place where nil is spelt otherwise.
    pub(super) fn without_nil(&self, schema: &Value) -> String {
        self.parts(schema).0
    }

    /// The fields of a table in the order of their declaration.
    pub(super) fn fields<'s>(&self, schema: &'s Value) -> Vec<Field<'s>> {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        properties
            .map(|(name, schema)| {
                let (type_text, takes_nil) = self.parts(schema);
                Field { name, type_text, optional: takes_nil || !required.contains(&name.as_str()), schema }
            })
            .collect()
    }

    /// The type without nil, and whether nil is taken as well.
    fn parts(&self, schema: &Value) -> (String, bool) {
        if schema.get("x-secret").is_some() {
            return ("Secret".to_owned(), false);
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return (self.reference(reference), false);
        }
        if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            return self.union(options);
        }
        if let Some(constant) = schema.get("const") {
            return (literal(constant), constant.is_null());
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            let words = choices.iter().filter(|choice| !choice.is_null()).map(literal);
            return (join(words.collect()), choices.iter().any(Value::is_null));
        }
        match schema.get("type") {
            Some(Value::String(name)) => (self.named(name, schema), name == "null"),
            Some(Value::Array(names)) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                let types = names.iter().filter(|name| **name != "null").map(|name| self.named(name, schema));
                (join(types.collect()), names.contains(&"null"))
            }
            _ => ("any".to_owned(), false),
        }
    }

    fn reference(&self, reference: &str) -> String {
        let target = self.root.pointer(reference.trim_start_matches('#'));
        if target.is_some_and(|target| target.get("x-secret").is_some()) {
            return "Secret".to_owned();
        }
        match reference.rsplit_once('/') {
            Some((_, name)) => (self.name)(name),
            // `#` is the root itself, which has no name of its own here.
            None => "any".to_owned(),
        }
    }

    fn union(&self, options: &[Value]) -> (String, bool) {
        let mut types = Vec::new();
        let mut takes_nil = false;
        for option in options {
            let (text, nil) = self.parts(option);
            takes_nil |= nil;
            if text != "nil" {
                types.push(text);
            }
        }
        (join(types), takes_nil)
    }

    fn named(&self, name: &str, schema: &Value) -> String {
        match name {
            "integer" | "number" => "number".to_owned(),
            "string" => "string".to_owned(),
            "boolean" => "boolean".to_owned(),
            "null" => "nil".to_owned(),
            "array" => match schema.get("items") {
                Some(items) => format!("{{ {} }}", self.of(items)),
                None => "{ any }".to_owned(),
            },
            _ => self.table(schema),
        }
    }

    fn table(&self, schema: &Value) -> String {
        let mut parts: Vec<String> = Vec::new();
        for field in self.fields(schema) {
            let type_text = if field.optional { optional(&field.type_text) } else { field.type_text };
            parts.push(format!("{}: {type_text}", key(field.name)));
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) if parts.is_empty() => {}
            // Otherwise a literal with a misspelt field would pass the type check.
            Some(Value::Bool(false)) => parts.push(NO_OTHER_FIELD.to_owned()),
            Some(rest @ Value::Object(_)) => parts.push(format!("[string]: {}", self.of(rest))),
            Some(_) => parts.push("[string]: any".to_owned()),
            None if parts.is_empty() => parts.push("[string]: any".to_owned()),
            None => {}
        }
        if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
    }
}

/// The same type, taking nil as well.
pub(super) fn optional(text: &str) -> String {
    match text {
        "nil" | "any" => text.to_owned(),
        union if is_union(union) => format!("({union})?"),
        _ => format!("{text}?"),
    }
}

/// A field's name as a key of a table type.
pub(super) fn key(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
        "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
    ];
    let is_word = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if is_word(name) && !RESERVED.contains(&name) { name.to_owned() } else { format!("[\"{name}\"]") }
}

fn is_union(text: &str) -> bool {
    let mut depth = 0_i32;
    text.chars().any(|c| {
        match c {
            '{' | '(' | '<' => depth += 1,
            '}' | ')' | '>' => depth -= 1,
            _ => {}
        }
        c == '|' && depth == 0
    })
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => "nil".to_owned(),
        Value::Number(_) => "number".to_owned(),
        _ => "any".to_owned(),
    }
}

fn join(types: Vec<String>) -> String {
    let mut unique: Vec<String> = Vec::new();
    for text in types {
        if !unique.contains(&text) {
            unique.push(text);
        }
    }
    match unique.as_slice() {
        [] => "nil".to_owned(),
        _ if unique.iter().any(|text| text == "any") => "any".to_owned(),
        _ => unique.join(" | "),
    }
}
