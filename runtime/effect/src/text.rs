//! Owns [`Text`]: an argument that is text in the clear or a secret in its place. Leaves secrets themselves to
//! [`crate::secret`].

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{Code, Context, Error, Result, Secret};

/// Text in the clear, or a secret that takes its place once it is where it may go. Shown, a secret is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// In the clear.
    Plain(String),
    /// A secret, alone or joined with text.
    Secret(Secret),
}

impl Text {
    /// The text, when it is in the clear.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match self {
            Text::Plain(text) => Some(text),
            Text::Secret(_) => None,
        }
    }

    /// The secret, when it is one.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Text::Plain(_) => None,
            Text::Secret(secret) => Some(secret),
        }
    }

    /// Opens it for one destination, such as `exec:/usr/bin/psql`.
    ///
    /// # Errors
    /// As [`Context::reveal`].
    pub async fn reveal(&self, context: &Context, destination: &str) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Text::Plain(text) => Ok(Zeroizing::new(text.clone().into_bytes())),
            Text::Secret(secret) => context.reveal(secret, destination).await,
        }
    }

    /// Whether it may go to `destination`, without opening it.
    ///
    /// # Errors
    /// As [`Context::may_go`].
    pub fn may_go(&self, context: &Context, destination: &str) -> Result<()> {
        self.secret().map_or(Ok(()), |secret| context.may_go(secret, destination))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::Plain(text.to_owned())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::Plain(text) => formatter.write_str(text),
            Text::Secret(secret) => secret.fmt(formatter),
        }
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = Secret::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string" }, secret] })
    }
}

/// The secrets inside of free JSON.
///
/// # Errors
/// `MC-P011` for something that only looks like one.
pub fn secrets_of(value: &Value) -> Result<Vec<Secret>> {
    match value {
        Value::Object(fields) if fields.contains_key("$secret") => Ok(vec![decode(value)?]),
        Value::Object(fields) => collect(fields.values()),
        Value::Array(items) => collect(items.iter()),
        _ => Ok(Vec::new()),
    }
}

fn collect<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Vec<Secret>> {
    let mut found = Vec::new();
    for value in values {
        found.append(&mut secrets_of(value)?);
    }
    Ok(found)
}

fn decode(value: &Value) -> Result<Secret> {
    serde_json::from_value(value.clone()).map_err(|_| {
        Error::new(Code::SecretPlace, "a table with the field `$secret` is no secret")
            .hint("get one with `secrets.get(\"NAME\")`")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_plain_or_a_secret_that_shows_its_name() {
        let read = |value: Value| serde_json::from_value::<Text>(value).unwrap();
        assert_eq!(read(json!("x")).plain(), Some("x"));
        let secret = read(json!({ "$secret": ["user:", { "name": "db", "tag": "00" }] }));
        assert_eq!((secret.plain(), secret.to_string().as_str()), (None, "secret(db)"));
        assert!(serde_json::from_value::<Text>(json!({ "secret": 1 })).is_err());
    }

    #[test]
    fn secrets_inside_of_json_are_found_and_forgeries_refused() {
        let value = json!({ "a": [{ "$secret": [{ "name": "db", "tag": "00" }] }], "b": 1 });
        assert_eq!(secrets_of(&value).unwrap().len(), 1);
        assert_eq!(secrets_of(&json!([{ "$secret": 7 }])).unwrap_err().code, Code::SecretPlace);
    }
}
