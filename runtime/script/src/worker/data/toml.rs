//! Owns the family `toml` (TOML 1.0): texts become plain Lua values and back, and places of a text are found again.

use ::toml::de::{DeArray, DeTable, DeValue};
use effect::Code;
use mlua::{Lua, Table, Value};
use serde_json::Value as Json;

use super::{Arguments, Data, Fault, json, place, string, utf8};
use crate::functions::{Function, Parameter};
use crate::worker::encode::Document;

/// Bytes of a text: a parsed one takes many times as much.
const LONGEST: usize = 1 << 20;

const TEXT: &[Parameter] = &[Parameter::text("text", "The text, at most 1 MiB.")];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "toml.decode",
        doc: "The table that a TOML text describes. Dates and times become strings in the form that they are written in. A whole \
              number of 2^53 or more, which a Lua number would not keep exactly, is an error, as is a key that occurs twice. \
              Errors, `MC-D001`, name line and column.",
        parameters: TEXT,
        returns: "{ [string]: any }",
        example: "local config = toml.decode(\"[server]\\nport = 8080\\n\")\nprint(config.server.port)",
        call: decode,
    },
    Function {
        name: "toml.encode",
        doc: "The TOML text of a table of booleans, numbers, UTF-8 strings, lists and tables with string keys. Keys are sorted, \
              so equal tables have equal texts. An empty table is written as a list. Secrets are refused.",
        parameters: &[Parameter::any("value", "The table.")],
        returns: "string",
        example: "print(toml.encode { title = \"web\", server = { port = 8080 } })",
        call: encode,
    },
    Function {
        name: "toml.places",
        doc: "Where each value of a TOML text stands, for messages about it: a table from the path of the value, such as \
              `server.port` or `components[1].image`, to its `\"line:column\"`.",
        parameters: TEXT,
        returns: "{ [string]: string }",
        example: "local places = toml.places(\"[server]\\nport = 8080\\n\")\nprint(places[\"server.port\"])  -- 2:1",
        call: places,
    },
];

fn parsed<T>(
    arguments: &Arguments<'_>,
    then: impl FnOnce(&str, &DeTable<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let text = arguments.text(0);
    let bytes = text.as_bytes();
    let text = utf8(&bytes)?;
    if text.len() > LONGEST {
        return Err(Fault::too_large(format!("the text is longer than {LONGEST} bytes")));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map(|span| format!("{}: ", place::of(text, span.start))).unwrap_or_default();
        Fault::malformed(format!("{place}{}", error.message()))
    })?;
    then(text, table.get_ref())
}

fn decode(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    parsed(arguments, |text, table| Ok(Value::Table(Decode { lua, text }.table(table, data.depth)?)))
}

struct Decode<'a> {
    lua: &'a Lua,
    text: &'a str,
}

impl Decode<'_> {
    fn deeper(depth: u32) -> Result<u32, Fault> {
        depth.checked_sub(1).ok_or_else(|| Fault::new(Code::LimitDepth, "the value is nested too deeply"))
    }

    fn table(&self, fields: &DeTable<'_>, depth: u32) -> Result<Table, Fault> {
        let depth = Self::deeper(depth)?;
        let table = self.lua.create_table()?;
        for (name, value) in fields {
            let start = value.span().start;
            table.raw_set(&**name.get_ref(), self.value(value.get_ref(), start, depth)?)?;
        }
        Ok(table)
    }

    fn list(&self, items: &DeArray<'_>, depth: u32) -> Result<Table, Fault> {
        let depth = Self::deeper(depth)?;
        let list = self.lua.create_table()?;
        for item in items.iter() {
            list.raw_push(self.value(item.get_ref(), item.span().start, depth)?)?;
        }
        Ok(list)
    }

    fn value(&self, value: &DeValue<'_>, start: usize, depth: u32) -> Result<Value, Fault> {
        Ok(match value {
            DeValue::String(text) => string(self.lua, text.as_bytes())?,
            DeValue::Integer(number) => {
                let exact = i64::from_str_radix(number.as_str(), number.radix())
                    .ok()
                    .filter(|number| number.unsigned_abs() < 1 << 53)
                    .ok_or_else(|| json::inexact_fault(self.text, start))?;
                Value::Number(exact as f64)
            }
            DeValue::Float(number) => {
                let number: f64 = number.as_str().parse().map_err(|_| {
                    Fault::malformed(format!("{}: the number is malformed", place::of(self.text, start)))
                })?;
                Value::Number(number)
            }
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Datetime(time) => string(self.lua, time.to_string())?,
            DeValue::Array(items) => Value::Table(self.list(items, depth)?),
            DeValue::Table(fields) => Value::Table(self.table(fields, depth)?),
        })
    }
}

fn places(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    parsed(arguments, |text, table| {
        let found = lua.create_table()?;
        Places { text, found: &found }.fields("", table, data.depth)?;
        Ok(Value::Table(found))
    })
}

struct Places<'a> {
    text: &'a str,
    found: &'a Table,
}

impl Places<'_> {
    fn fields(&self, path: &str, fields: &DeTable<'_>, depth: u32) -> Result<(), Fault> {
        let depth = Decode::deeper(depth)?;
        for (name, value) in fields {
            let path = member(path, name.get_ref());
            self.value(&path, name.span().start, value.get_ref(), depth)?;
        }
        Ok(())
    }

    fn value(&self, path: &str, start: usize, value: &DeValue<'_>, depth: u32) -> Result<(), Fault> {
        self.found.raw_set(path, place::of(self.text, start))?;
        match value {
            DeValue::Table(fields) => self.fields(path, fields, depth),
            DeValue::Array(items) => {
                let depth = Decode::deeper(depth)?;
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{}]", index + 1);
                    self.value(&path, item.span().start, item.get_ref(), depth)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The path of a field, as messages write it.
fn member(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn encode(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let document = Document { null: Value::Nil, empty: "[]" };
    let Value::Table(_) = arguments.value(0) else {
        return Err(Fault::new(Code::BadValue, "a TOML text is a table"));
    };
    let text = data.encoder.document(arguments.value(0), &document)?;
    let value = match serde_json::from_str(&text) {
        Ok(value @ Json::Object(_)) => value,
        Ok(Json::Array(items)) if items.is_empty() => return string(lua, ""),
        _ => return Err(Fault::new(Code::BadValue, "a TOML text is a table with named fields, not a list")),
    };
    let text = ::toml::to_string(&value).map_err(|error| Fault::new(Code::BadValue, error.to_string()))?;
    string(lua, text)
}
