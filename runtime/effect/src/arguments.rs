//! Owns the check of arguments against their declaration's schema: the first mistake is named with its field path and,
//! where a name is misspelt, the nearest known one. Also gives empty Lua tables, which know no difference between list
//! and map, the form that the schema asks for.

use serde_json::{Map, Value};

use crate::policy::nearest;
use crate::{Code, Error, Result};

/// Checks `value` against `schema` and normalises it in place.
///
/// # Errors
/// `MC-A001` for a wrong value, `MC-A002` for an unknown field.
pub fn check(effect: &str, schema: &Value, value: &mut Value) -> Result<()> {
    let checker = Checker { root: schema };
    checker.check(schema, value, &Path::Root).map_err(|mistake| mistake.into_error(effect))
}

struct Checker<'a> {
    root: &'a Value,
}

enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => formatter.write_str(name),
            Path::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            // Scripts count from one.
            Path::Item(parent, index) => write!(formatter, "{parent}[{}]", index + 1),
        }
    }
}

struct Mistake {
    code: Code,
    path: String,
    what: String,
    hint: Option<String>,
    /// How deep the mistake lies: of several alternatives the one that got furthest is the one meant.
    depth: usize,
}

impl Mistake {
    fn new(path: &Path<'_>, what: String) -> Self {
        Self { code: Code::Argument, path: path.to_string(), what, hint: None, depth: depth(path) }
    }

    fn into_error(self, effect: &str) -> Error {
        let place = if self.path.is_empty() { String::new() } else { format!(" field `{}`", self.path) };
        let mut error = Error::new(self.code, format!("`{effect}`:{place} {}", self.what));
        error.hint = self.hint;
        error
    }
}

fn depth(path: &Path<'_>) -> usize {
    match path {
        Path::Root => 0,
        Path::Field(parent, _) | Path::Item(parent, _) => depth(parent) + 1,
    }
}

impl<'a> Checker<'a> {
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        match reference.and_then(|reference| self.root.pointer(reference.trim_start_matches('#'))) {
            Some(target) => self.resolve(target),
            None => schema,
        }
    }

    fn check(&self, schema: &'a Value, value: &mut Value, path: &Path<'_>) -> Result<(), Mistake> {
        let schema = self.resolve(schema);
        if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            return self.check_options(options, value, path);
        }
        if let Some(constant) = schema.get("const") {
            return self.check_choice(std::slice::from_ref(constant), value, path);
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return self.check_choice(choices, value, path);
        }
        self.check_type(schema, value, path)?;
        check_range(schema, value, path)?;
        match value {
            Value::Object(fields) => self.check_fields(schema, fields, path),
            Value::Array(items) => self.check_items(schema, items, path),
            _ => Ok(()),
        }
    }

    fn check_options(&self, options: &'a [Value], value: &mut Value, path: &Path<'_>) -> Result<(), Mistake> {
        let mut furthest: Option<Mistake> = None;
        let mut choices = Vec::new();
        for option in options {
            let mut attempt = value.clone();
            match self.check(option, &mut attempt, path) {
                Ok(()) => {
                    *value = attempt;
                    return Ok(());
                }
                Err(mistake) => {
                    let resolved = self.resolve(option);
                    choices.extend(resolved.get("const").cloned());
                    choices.extend(
                        resolved.get("enum").and_then(Value::as_array).into_iter().flatten().cloned(),
                    );
                    let is_null = resolved.get("type") == Some(&Value::from("null"));
                    if !is_null && furthest.as_ref().is_none_or(|best| mistake.depth > best.depth) {
                        furthest = Some(mistake);
                    }
                }
            }
        }
        if !choices.is_empty() && value.is_string() {
            return self.check_choice(&choices, value, path);
        }
        Err(furthest.unwrap_or_else(|| Mistake::new(path, "has a value that is not understood".into())))
    }

    fn check_choice(&self, choices: &[Value], value: &Value, path: &Path<'_>) -> Result<(), Mistake> {
        if choices.contains(value) {
            return Ok(());
        }
        let listed = choices.iter().map(|c| format!("{c}")).collect::<Vec<_>>().join(", ");
        let mut mistake = Mistake::new(path, format!("takes one of {listed}, not {}", shown(value)));
        let known = choices.iter().filter_map(Value::as_str);
        mistake.hint = value
            .as_str()
            .and_then(|given| nearest(given, known))
            .map(|near| format!("did you mean \"{near}\"?"));
        Err(mistake)
    }

    fn check_type(&self, schema: &Value, value: &mut Value, path: &Path<'_>) -> Result<(), Mistake> {
        let Some(types) = schema.get("type") else { return Ok(()) };
        let names: Vec<&str> = match types {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(()),
        };
        let empty = matches!(value, Value::Array(items) if items.is_empty());
        if empty && names.contains(&"object") && !names.contains(&"array") {
            *value = Value::Object(Map::new());
        }
        if let (Some(number), true) = (value.as_f64(), names.contains(&"integer"))
            && number.fract() == 0.0
            && number.abs() < 9e15
            && value.is_f64()
        {
            *value = Value::from(number as i64);
        }
        let secret = |value: &Value| value.get("$secret").is_some();
        if secret(value) && schema.get("x-secret").is_none() {
            return Err(Mistake {
                code: Code::SecretPlace,
                hint: Some(
                    "secrets go only into fields of type Secret, such as `secrets` of `containers.ensure`"
                        .into(),
                ),
                ..Mistake::new(path, "does not take a secret".into())
            });
        }
        if schema.get("x-secret").is_some() && !secret(value) {
            return Err(Mistake {
                hint: Some("get one with `secrets.get(\"NAME\")`".into()),
                ..Mistake::new(path, format!("takes a secret, not {}", shown(value)))
            });
        }
        let fits = names.iter().any(|name| match *name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        });
        if fits {
            return Ok(());
        }
        let expected = match schema.get("x-unit").and_then(Value::as_str) {
            Some(unit) => unit.to_owned(),
            None => expected_types(&names),
        };
        Err(Mistake::new(path, format!("takes {expected}, not {}", shown(value))))
    }

    fn check_fields(
        &self,
        schema: &'a Value,
        fields: &mut Map<String, Value>,
        path: &Path<'_>,
    ) -> Result<(), Mistake> {
        if schema.get("x-secret").is_some() {
            return Ok(());
        }
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let rest = schema.get("additionalProperties");
        for (name, value) in fields.iter_mut() {
            let at = Path::Field(path, name);
            match (known.get(name), rest) {
                (Some(field), _) => self.check(field, value, &at)?,
                (None, Some(Value::Bool(false))) => return Err(unknown_field(name, known, path)),
                (None, Some(schema @ Value::Object(_))) => self.check(schema, value, &at)?,
                (None, _) => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Err(Mistake::new(&Path::Field(path, name), "is missing".into()));
            }
        }
        Ok(())
    }

    fn check_items(&self, schema: &'a Value, items: &mut [Value], path: &Path<'_>) -> Result<(), Mistake> {
        let Some(item_schema) = schema.get("items") else { return Ok(()) };
        for (index, item) in items.iter_mut().enumerate() {
            self.check(item_schema, item, &Path::Item(path, index))?;
        }
        Ok(())
    }
}

fn check_range(schema: &Value, value: &Value, path: &Path<'_>) -> Result<(), Mistake> {
    if let Some(number) = value.as_f64() {
        let least = schema.get("minimum").and_then(Value::as_f64);
        let most = schema.get("maximum").and_then(Value::as_f64);
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("a number from {least} to {most}"),
                (Some(least), None) => format!("a number of at least {least}"),
                (None, most) => format!("a number of at most {}", most.unwrap_or_default()),
            };
            return Err(Mistake::new(path, format!("takes {range}, not {}", shown(value))));
        }
    }
    let count = match value {
        Value::String(text) => Some((text.len(), "minLength")),
        Value::Array(items) => Some((items.len(), "minItems")),
        _ => None,
    };
    match count {
        Some((count, key))
            if schema.get(key).and_then(Value::as_u64).is_some_and(|least| (count as u64) < least) =>
        {
            Err(Mistake::new(path, "is empty".into()))
        }
        _ => Ok(()),
    }
}

fn unknown_field(name: &str, known: &Map<String, Value>, path: &Path<'_>) -> Mistake {
    let shown: String = name.chars().take(64).collect();
    let mut mistake = Mistake { code: Code::UnknownField, ..Mistake::new(path, String::new()) };
    mistake.path = Path::Field(path, &shown).to_string();
    mistake.what = "is unknown".into();
    mistake.hint = Some(match nearest(name, known.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known fields: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
    });
    mistake
}

fn expected_types(names: &[&str]) -> String {
    let words = names.iter().filter(|name| **name != "null").map(|name| match *name {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a string",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table with named fields",
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("\"{}…\"", text.chars().take(60).collect::<String>())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;
    use crate::units::Span;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Example {
        name: String,
        replicas: Option<u16>,
        timeout: Option<Span>,
        env: Option<std::collections::BTreeMap<String, String>>,
        ports: Option<Vec<Port>>,
        mode: Option<Mode>,
        password: Option<Secret>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Port {
        host: u16,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Rolling,
        BlueGreen,
    }

    fn verdict(value: Value) -> String {
        let schema = serde_json::to_value(schemars::schema_for!(Example)).unwrap();
        let mut value = value;
        match check("x.y", &schema, &mut value) {
            Ok(()) => value.to_string(),
            Err(error) => format!("{} / {}", error.message, error.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn mistakes_name_their_field() {
        assert_eq!(
            verdict(json!({ "name": "a", "replicsa": 1 })),
            "`x.y`: field `replicsa` is unknown / did you mean `replicas`?"
        );
        assert_eq!(verdict(json!({})), "`x.y`: field `name` is missing / ");
        assert_eq!(verdict(json!({ "name": 1 })), "`x.y`: field `name` takes a string, not 1 / ");
        assert_eq!(
            verdict(json!({ "name": "a", "ports": [{ "host": 1 }, { "hots": 2 }] })),
            "`x.y`: field `ports[2].hots` is unknown / did you mean `host`?"
        );
        assert_eq!(
            verdict(json!({ "name": "a", "ports": [{ "host": 70000 }] })),
            "`x.y`: field `ports[1].host` takes a number from 0 to 65535, not 70000 / "
        );
        assert_eq!(
            verdict(json!({ "name": "a", "timeout": true })),
            "`x.y`: field `timeout` takes a duration such as \"30s\", \"10m\" or \"1h30m\", not true / "
        );
        assert_eq!(
            verdict(json!({ "name": "a", "mode": "blue-gren" })),
            "`x.y`: field `mode` takes one of \"rolling\", \"blue-green\", not \"blue-gren\" / did you mean \"blue-green\"?"
        );
    }

    #[test]
    fn an_empty_table_becomes_what_is_asked_for() {
        assert_eq!(verdict(json!({ "name": "a", "env": [] })), r#"{"name":"a","env":{}}"#);
        assert_eq!(verdict(json!({ "name": "a", "replicas": 2.0 })), r#"{"name":"a","replicas":2}"#);
    }

    #[test]
    fn secrets_go_only_where_secrets_are_asked_for() {
        let secret = json!({ "$secret": [{ "name": "db", "tag": "00" }] });
        assert!(verdict(json!({ "name": secret })).starts_with("`x.y`: field `name` does not take a secret"));
        assert!(
            verdict(json!({ "name": "a", "env": { "A": secret } }))
                .contains("`env.A` does not take a secret")
        );
        assert!(verdict(json!({ "name": "a", "password": "x" })).contains("takes a secret"));
        assert!(verdict(json!({ "name": "a", "password": secret })).starts_with('{'));
    }
}
