//! Owns the calling of pure functions: the check of their arguments against the declaration, their bounds, and the
//! errors that they end with. Each family computes in a file of its own.

mod base64;
mod hash;
mod json;
mod place;
mod regex;
mod semver;
mod toml;

use std::cell::RefCell;
use std::rc::Rc;

use effect::Code;
use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use super::encode::{self, Encoder, Refusal};
use crate::functions::{Function, Parameter, Takes};
use crate::limits::nearest;

/// Every family of functions.
pub(crate) const FAMILIES: &[&[Function]] = &[
    base64::FUNCTIONS,
    hash::FUNCTIONS,
    json::FUNCTIONS,
    regex::FUNCTIONS,
    semver::FUNCTIONS,
    toml::FUNCTIONS,
];

/// No text that a function takes or makes is longer, in bytes, unless its family says less.
const LONGEST: usize = 4 << 20;

/// What a function does.
pub(crate) type Call = fn(&Data, &Lua, &Arguments<'_>) -> Result<Value, Fault>;

/// What the functions of one VM share.
pub(crate) struct Data {
    encoder: Encoder,
    depth: u32,
    patterns: RefCell<regex::Patterns>,
}

/// Why a function gave no value.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It has a code.
    Coded { code: Code, message: String, hint: Option<String> },
    /// It was given what is not known yet; the text says what.
    Sealed(String),
    /// The VM failed.
    Vm(mlua::Error),
}

impl Fault {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Coded { code, message: message.into(), hint: None }
    }

    fn malformed(message: impl Into<String>) -> Self {
        Self::new(Code::Malformed, message)
    }

    fn too_large(message: impl Into<String>) -> Self {
        Self::new(Code::DataTooLarge, message)
    }

    fn hint(mut self, advice: impl Into<String>) -> Self {
        if let Self::Coded { hint, .. } = &mut self {
            *hint = Some(advice.into());
        }
        self
    }
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::Vm(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Sealed(note) => Self::Sealed(note),
            Refusal::Vm(error) => Self::Vm(error),
            Refusal::Error { code: Code::LimitArgument, reason, .. } => Self::too_large(reason),
            Refusal::Error { code, reason, path } => Self::new(code, encode::message(&reason, &path)),
        }
    }
}

impl Data {
    pub(super) fn new(encoder: &Encoder) -> Rc<Self> {
        let encoder = Encoder { size: LONGEST, ..encoder.clone() };
        let depth = encoder.depth;
        Rc::new(Self { encoder, depth, patterns: RefCell::default() })
    }

    /// A list of `{ name, function }`; each function returns true and its value, or false, a code, a message and a hint.
    pub(super) fn table(self: &Rc<Self>, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        for function in crate::functions::all() {
            let data = self.clone();
            let native =
                lua.create_function(move |lua, values: MultiValue| data.call(function, lua, values))?;
            table.raw_push(lua.create_sequence_from([
                Value::String(lua.create_string(function.name)?),
                Value::Function(native),
            ])?)?;
        }
        Ok(table)
    }

    fn call(&self, function: &Function, lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
        let values = values.into_vec();
        let outcome = Arguments::check(self, function, &values)
            .and_then(|arguments| (function.call)(self, lua, &arguments));
        match outcome {
            Ok(value) => (true, value).into_lua_multi(lua),
            Err(Fault::Sealed(note)) => (false, "sealed", note).into_lua_multi(lua),
            Err(Fault::Vm(error)) => Err(error),
            Err(Fault::Coded { code, message, hint }) => {
                (false, code.as_str(), format!("{}: {message}", function.name), hint).into_lua_multi(lua)
            }
        }
    }
}

/// Calls the pure function `name` with texts, as a script would; the code of its error, if it has one.
///
/// # Panics
/// When there is no such function, or the VM breaks.
pub fn call_pure(name: &str, texts: &[&[u8]]) -> Option<String> {
    let lua = Lua::new();
    let weak = || lua.create_table().expect("a fresh VM has room");
    let limits = crate::Limits::default();
    let data = Data::new(&Encoder::new(weak(), weak(), weak(), &limits));
    let function = crate::functions::all().find(|function| function.name == name).expect("it is declared");
    let texts = texts.iter().map(|text| Value::String(lua.create_string(text).expect("it is short")));
    let values = data.call(function, &lua, texts.collect()).expect("every failure of a function is a value");
    let mut values = values.into_iter();
    match values.next() {
        Some(Value::Boolean(false)) => {
            values.next().and_then(|code| Some(code.as_string()?.to_string_lossy()))
        }
        _ => None,
    }
}

/// Checked arguments of one call.
pub(crate) struct Arguments<'a> {
    values: &'a [Value],
}

impl<'a> Arguments<'a> {
    fn check(data: &Data, function: &Function, values: &'a [Value]) -> Result<Self, Fault> {
        let most = function.parameters.len();
        if values.len() > most {
            let word = if most == 1 { "one argument" } else { "two or three arguments at most" };
            let given = values.len();
            return Err(Fault::new(Code::Argument, format!("takes {word}, not {given}")));
        }
        for (index, parameter) in function.parameters.iter().enumerate() {
            let value = values.get(index).unwrap_or(&Value::Nil);
            check_value(data, parameter, value, "argument ")?;
        }
        Ok(Self { values })
    }

    fn value(&self, index: usize) -> &'a Value {
        self.values.get(index).unwrap_or(&Value::Nil)
    }

    /// The bytes of a required text.
    fn text(&self, index: usize) -> LuaString {
        match self.value(index) {
            Value::String(text) => text.clone(),
            other => unreachable!("`check` lets only a string through, not {}", other.type_name()),
        }
    }

    fn position(&self, index: usize) -> Option<usize> {
        number(self.value(index)).map(|number| number as usize)
    }

    fn option(&self, index: usize, name: &str) -> Result<Value, Fault> {
        match self.value(index) {
            Value::Table(options) => Ok(options.raw_get(name)?),
            _ => Ok(Value::Nil),
        }
    }

    fn flag(&self, index: usize, name: &str) -> Result<bool, Fault> {
        Ok(matches!(self.option(index, name)?, Value::Boolean(true)))
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

fn check_value(data: &Data, parameter: &Parameter, value: &Value, what: &str) -> Result<(), Fault> {
    if let Value::UserData(_) = value {
        return Err(opaque(data, parameter, value)?);
    }
    if value.is_nil() && (parameter.optional || matches!(parameter.takes, Takes::Any)) {
        return Ok(());
    }
    let wrong = |takes: &str| {
        let given = match value {
            Value::Nil => "nothing".to_owned(),
            Value::Integer(_) => "a number".to_owned(),
            other => format!("a {}", other.type_name()),
        };
        Err(Fault::new(Code::Argument, format!("{what}`{}` takes {takes}, not {given}", parameter.name)))
    };
    match (parameter.takes, value) {
        (Takes::Text, Value::String(text)) if text.as_bytes().len() > LONGEST => {
            Err(Fault::too_large(format!("{what}`{}` is longer than {LONGEST} bytes", parameter.name)))
        }
        (Takes::Text, Value::String(_)) | (Takes::Flag, Value::Boolean(_)) | (Takes::Any, _) => Ok(()),
        (Takes::Text, _) => wrong("a string"),
        (Takes::Flag, _) => wrong("true or false"),
        (Takes::Position, _) => match number(value) {
            Some(number) if number >= 1.0 && number.fract() == 0.0 => Ok(()),
            _ => wrong("a whole number of at least 1"),
        },
        (Takes::Word(words), Value::String(word))
            if words.iter().any(|known| *word.as_bytes() == *known.as_bytes()) =>
        {
            Ok(())
        }
        (Takes::Word(words), _) => wrong(&format!("one of \"{}\"", words.join("\", \""))),
        (Takes::Options(fields), Value::Table(table)) => check_options(data, fields, table),
        (Takes::Options(_), _) => wrong("a table"),
    }
}

fn check_options(data: &Data, fields: &[Parameter], table: &Table) -> Result<(), Fault> {
    if let Some(note) = data.encoder.unknown_note(table)? {
        return Err(Fault::Sealed(note));
    }
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let name = match &key {
            Value::String(name) => name.to_string_lossy(),
            other => format!("a {}", other.type_name()),
        };
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            let names = fields.iter().map(|field| field.name);
            let hint = match nearest(&name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known fields: {}", names.collect::<Vec<_>>().join(", ")),
            };
            return Err(Fault::new(Code::UnknownField, format!("field `{name}` is unknown")).hint(hint));
        };
        check_value(data, field, &value, "field ")?;
    }
    Ok(())
}

/// The fault of being given a secret, or something that is not known yet.
fn opaque(data: &Data, parameter: &Parameter, value: &Value) -> Result<Fault, Fault> {
    if let Some(note) = data.encoder.seal_note(value)? {
        return Ok(Fault::Sealed(note));
    }
    if data.encoder.is_secret(value)? {
        let message = format!("argument `{}` is a secret, whose text is nobody's to read", parameter.name);
        return Ok(Fault::new(Code::SecretPlace, message)
            .hint("join secrets with `..` and pass them to a field of type Secret"));
    }
    Ok(Fault::new(Code::Argument, format!("argument `{}` cannot be a userdata", parameter.name)))
}

/// The text as UTF-8.
fn utf8(text: &[u8]) -> Result<&str, Fault> {
    str::from_utf8(text)
        .map_err(|error| Fault::malformed(format!("byte {} is not UTF-8", error.valid_up_to() + 1)))
}

fn string(lua: &Lua, bytes: impl AsRef<[u8]>) -> Result<Value, Fault> {
    Ok(Value::String(lua.create_string(bytes)?))
}
