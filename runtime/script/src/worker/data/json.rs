//! Owns the family `json` (RFC 8259): texts become plain Lua values and back, with nothing lost silently.

use std::cell::Cell;
use std::fmt;

use effect::Code;
use mlua::{Lua, Table, Value};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::{Arguments, Data, Fault, place, string, utf8};
use crate::functions::{Function, Parameter, Takes};
use crate::worker::encode::Document;

const DECODE_OPTIONS: &[Parameter] = &[Parameter::option(
    "null",
    Takes::Any,
    "What stands for `null`, so that it is kept; without it, null in a list is an error.",
)];

const ENCODE_OPTIONS: &[Parameter] = &[
    Parameter::option("pretty", Takes::Flag, "Over several lines, two spaces a level."),
    Parameter::option("null", Takes::Any, "The value that is written as `null`."),
    Parameter::option(
        "empty",
        Takes::Word(&["list", "table"]),
        "What an empty table is written as: `\"list\"`, `[]`, unless given, or `\"table\"`, `{}`.",
    ),
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "json.decode",
        doc: "The value that a JSON text describes. `null` becomes nil: such a field is absent. In a list, where nil would leave a \
              hole, null is an error unless `null` says what stands for it. So are a key that occurs twice and a whole number \
              of 2^53 or more, which a Lua number would not keep exactly. Errors, `MC-D001`, name line and column.",
        parameters: &[
            Parameter::text("text", "The text, at most 4 MiB."),
            Parameter::option("options", Takes::Options(DECODE_OPTIONS), "How null is treated."),
        ],
        returns: "any",
        example: "local answer = json.decode([[{\"name\": \"web\", \"ports\": [80, 443]}]])\nprint(answer.name, answer.ports[2])",
        call: decode,
    },
    Function {
        name: "json.encode",
        doc: "The JSON text of a plain value: booleans, finite numbers, UTF-8 strings, lists, and tables with string keys. Keys are \
              sorted, so equal values have equal texts. Secrets are refused.",
        parameters: &[
            Parameter::any("value", "The value."),
            Parameter::option("options", Takes::Options(ENCODE_OPTIONS), "How it is written."),
        ],
        returns: "string",
        example: "print(json.encode({ name = \"web\", ports = { 80, 443 } }, { pretty = true }))",
        call: encode,
    },
];

/// Whole numbers from here on are not exact in a double.
const INEXACT: u64 = 1 << 53;

fn encode(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let empty = arguments.option(1, "empty")?;
    let empty = if empty.as_string().is_some_and(|word| *word.as_bytes() == *b"table") { "{}" } else { "[]" };
    let document = Document { null: arguments.option(1, "null")?, empty };
    let text = data.encoder.document(arguments.value(0), &document)?;
    if !arguments.flag(1, "pretty")? {
        return string(lua, text);
    }
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        Fault::new(Code::Internal, "the text cannot be read back").hint(error.to_string())
    })?;
    string(lua, serde_json::to_string_pretty(&value).expect("a JSON value is JSON"))
}

fn decode(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(0);
    let bytes = text.as_bytes();
    let text = utf8(&bytes)?;
    let null = arguments.option(1, "null")?;
    let failure = Cell::new(None);
    let seed = Seed { lua, null: &null, failure: &failure, depth: data.depth };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let decoded = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    if let Some(fault) = failure.take() {
        return Err(match fault {
            Fault::Coded { code, message, hint } => {
                let place = decoded.err().map_or_else(String::new, |error| place_of(&error));
                Fault::Coded { code, message: format!("{place}{message}"), hint }
            }
            other => other,
        });
    }
    let value = decoded.map_err(|error| {
        let shown = error.to_string();
        let message = shown.split(" at line ").next().unwrap_or_default();
        Fault::malformed(format!("{}{message}", place_of(&error)))
    })?;
    match inexact(text) {
        Some(offset) => Err(inexact_fault(text, offset)),
        None => Ok(value),
    }
}

pub(super) fn inexact_fault(text: &str, offset: usize) -> Fault {
    Fault::malformed(format!("{}: the number is not exact as a Lua number", place::of(text, offset)))
        .hint("whole numbers are exact below 2^53; write larger ones as strings")
}

fn place_of(error: &serde_json::Error) -> String {
    format!("{}:{}: ", error.line(), error.column())
}

/// Where the first whole number stands that a double does not keep. The text is known to be JSON.
fn inexact(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while bytes.get(at).is_some_and(|byte| b"+-.eE0123456789".contains(byte)) {
                    at += 1;
                }
                let number = &text[start..at];
                let is_whole = !number.contains(['.', 'e', 'E']);
                if is_whole && number.trim_start_matches('-').parse::<u64>().map_or(true, |n| n >= INEXACT) {
                    return Some(start);
                }
            }
            _ => at += 1,
        }
    }
    None
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    lua: &'a Lua,
    null: &'a Value,
    /// serde's errors cannot carry ours.
    failure: &'a Cell<Option<Fault>>,
    /// The levels of nesting that are left.
    depth: u32,
}

impl Seed<'_> {
    fn vm<T, E: de::Error>(self, result: mlua::Result<T>) -> Result<T, E> {
        result.map_err(|error| self.refuse(Fault::Vm(error)))
    }

    fn refuse<E: de::Error>(self, fault: Fault) -> E {
        self.failure.set(Some(fault));
        E::custom("refused")
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.refuse(Fault::new(Code::LimitDepth, "the value is nested too deeply"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(self.null.clone())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.vm(self.lua.create_string(value)).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let list: Table = self.vm(self.lua.create_table())?;
        while let Some(item) = items.next_element_seed(inner)? {
            if item.is_nil() {
                let fault = Fault::malformed("null in a list would leave a hole in it");
                return Err(
                    self.refuse(fault.hint("say what stands for it: `json.decode(text, { null = … })`"))
                );
            }
            self.vm(list.raw_push(item))?;
        }
        Ok(Value::Table(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let table: Table = self.vm(self.lua.create_table())?;
        let mut absent: Vec<String> = Vec::new();
        while let Some(name) = fields.next_key::<std::borrow::Cow<'de, str>>()? {
            let known: bool =
                self.vm(table.raw_get::<Value>(&*name))?.is_nil() && !absent.iter().any(|n| *n == name);
            if !known {
                return Err(self.refuse(Fault::malformed(format!("the key `{name}` occurs twice"))));
            }
            let value = fields.next_value_seed(inner)?;
            if value.is_nil() {
                absent.push(name.into_owned());
            } else {
                self.vm(table.raw_set(&*name, value))?;
            }
        }
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::inexact;

    #[test]
    fn inexact_numbers_are_found_outside_strings_only() {
        assert_eq!(inexact("[9007199254740991, 1e300, 0.12345678901234567890]"), None);
        assert_eq!(inexact("[1, 9007199254740992]"), Some(4));
        assert_eq!(inexact("{\"a\\\"9007199254740993\": -123456789012345678901234567890}"), Some(24));
    }
}
