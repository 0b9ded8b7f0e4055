//! Owns the way of the host's JSON into Lua values, straight from the text. Objects that mean a secret or something
//! unknown become the prelude's opaque values.

use std::fmt;

use mlua::{Function, Lua, Table, Value};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Decodes values; knows the prelude's makers of opaque ones.
pub(super) struct Decoder {
    /// `(reference, name)` → secret
    pub(super) secret: Function,
    /// `note` → unknown value
    pub(super) sealed: Function,
    /// `(table, notes)` → table of which some fields are unknown
    pub(super) partial: Function,
}

impl Decoder {
    pub(super) fn value(&self, lua: &Lua, json: &RawValue) -> mlua::Result<Value> {
        self.decode(lua, json, false)
    }

    /// The same for what strangers wrote: no object in it means anything but itself.
    pub(super) fn foreign(&self, lua: &Lua, json: &RawValue) -> mlua::Result<Value> {
        self.decode(lua, json, true)
    }

    fn decode(&self, lua: &Lua, json: &RawValue, foreign: bool) -> mlua::Result<Value> {
        let failure = std::cell::Cell::new(None);
        let seed = Seed { lua, decoder: self, foreign, failure: &failure };
        let mut deserializer = serde_json::Deserializer::from_str(json.get());
        let decoded = seed.deserialize(&mut deserializer).map(Decoded::into_value);
        match (decoded, failure.take()) {
            (_, Some(error)) => Err(error),
            (Ok(value), None) => value.map_or_else(|note| self.sealed.call(note), Ok),
            (Err(error), None) => {
                Err(mlua::Error::runtime(format!("the host's answer is malformed: {error}")))
            }
        }
    }
}

/// A decoded value, or the note of one that is unknown as a whole: its parent table records that.
enum Decoded {
    Known(Value),
    Sealed(String),
}

impl Decoded {
    fn into_value(self) -> Result<Value, String> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Sealed(note) => Err(note),
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    lua: &'a Lua,
    decoder: &'a Decoder,
    foreign: bool,
    /// serde's errors cannot carry the VM's.
    failure: &'a std::cell::Cell<Option<mlua::Error>>,
}

impl Seed<'_> {
    fn vm<T, E: de::Error>(&self, result: mlua::Result<T>) -> Result<T, E> {
        result.map_err(|error| {
            self.failure.set(Some(error));
            E::custom("the VM failed")
        })
    }

    fn opaque<E: de::Error>(&self, key: &str, json: &RawValue) -> Result<Decoded, E> {
        let text = json.get();
        if key == "$sealed" {
            let note = serde_json::from_str(text).unwrap_or_else(|_| "this value".to_owned());
            return Ok(Decoded::Sealed(note));
        }
        let name = secret_name(text);
        self.vm(self.decoder.secret.call((text, name))).map(Decoded::Known)
    }
}

/// What a person sees of a secret: the names of its parts.
fn secret_name(reference: &str) -> String {
    match serde_json::from_str(reference) {
        Ok(parts) => {
            effect::Secret { parts }.values().map(|named| named.to_string()).collect::<Vec<_>>().join(" .. ")
        }
        Err(_) => "unnamed".to_owned(),
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Decoded;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decoded, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Decoded;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Decoded, E> {
        Ok(Decoded::Known(Value::Nil))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Decoded, E> {
        Ok(Decoded::Known(Value::Boolean(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Decoded, E> {
        Ok(Decoded::Known(Value::Number(value as f64)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Decoded, E> {
        Ok(Decoded::Known(Value::Number(value as f64)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Decoded, E> {
        Ok(Decoded::Known(Value::Number(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Decoded, E> {
        self.vm(self.lua.create_string(value)).map(|text| Decoded::Known(Value::String(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Decoded, A::Error> {
        let list: Table = self.vm(self.lua.create_table())?;
        let mut index = 0;
        while let Some(item) = items.next_element_seed(self)? {
            index += 1;
            let value = match item {
                Decoded::Known(value) => value,
                Decoded::Sealed(note) => self.vm(self.decoder.sealed.call(note))?,
            };
            if !value.is_nil() {
                self.vm(list.raw_set(index, value))?;
            }
        }
        Ok(Decoded::Known(Value::Table(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Decoded, A::Error> {
        let table: Table = self.vm(self.lua.create_table())?;
        let mut notes: Vec<(String, String)> = Vec::new();
        while let Some(key) = fields.next_key::<std::borrow::Cow<'de, str>>()? {
            match key.as_ref() {
                "$secret" | "$sealed" if !self.foreign => {
                    let json: Box<RawValue> = fields.next_value()?;
                    let decoded = self.opaque(&key, &json);
                    while fields.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                    return decoded;
                }
                "$unknown" if !self.foreign => {
                    let names: Vec<String> = fields.next_value()?;
                    notes.extend(
                        names.into_iter().map(|name| (name.clone(), format!("`{name}` is not known yet"))),
                    );
                }
                name => match fields.next_value_seed(self)? {
                    Decoded::Known(value) => self.vm(table.raw_set(name, value))?,
                    Decoded::Sealed(note) => notes.push((name.to_owned(), note)),
                },
            }
        }
        if notes.is_empty() {
            return Ok(Decoded::Known(Value::Table(table)));
        }
        let notes = self.vm(self.lua.create_table_from(notes))?;
        self.vm(self.decoder.partial.call((table, notes))).map(Decoded::Known)
    }
}
