//! Owns the way of a Lua value into canonical JSON: sorted keys, no spaces, an empty table is `[]`. What is not plain
//! data is refused with the name of its field.

use effect::Code;
use mlua::{Table, Value};

use crate::Limits;

/// Objects with these keys have a meaning on the pipe; a script must not forge them.
const RESERVED: [&str; 3] = ["$secret", "$sealed", "$unknown"];
/// Whole numbers below this are exact in a double and written without a fraction.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Encodes values; knows the tables in which the prelude keeps what scripts may not look into.
#[derive(Clone)]
pub(super) struct Encoder {
    pub(super) secrets: Table,
    pub(super) seals: Table,
    pub(super) unknowns: Table,
    pub(super) depth: u32,
    pub(super) size: usize,
}

/// Why a value cannot be encoded.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not known yet; the text says what.
    Sealed(String),
    /// It is not plain data.
    Error { code: Code, reason: String, path: Vec<String> },
    /// The VM failed.
    Vm(mlua::Error),
}

impl From<mlua::Error> for Refusal {
    fn from(error: mlua::Error) -> Self {
        Self::Vm(error)
    }
}

impl Refusal {
    fn value(reason: impl Into<String>) -> Self {
        Self::Error { code: Code::BadValue, reason: reason.into(), path: Vec::new() }
    }

    fn at(mut self, segment: impl FnOnce() -> String) -> Self {
        if let Self::Error { path, .. } = &mut self {
            path.push(segment());
        }
        self
    }
}

/// The message for a refusal: the field's path and the reason.
pub(super) fn message(reason: &str, path: &[String]) -> String {
    if path.is_empty() {
        return reason.to_owned();
    }
    let mut field = String::new();
    for segment in path.iter().rev() {
        if !field.is_empty() && !segment.starts_with('[') {
            field.push('.');
        }
        field.push_str(segment);
    }
    format!("field `{field}`: {reason}")
}

/// What becomes of values that are not plain data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// They are refused.
    Strict,
    /// They are described by a string: a log line must not fail a deploy.
    Lenient,
}

/// How a text that a script makes for itself is written. It goes nowhere by itself, so no name in it is reserved, and a
/// secret, which it would spell out, is refused.
pub(super) struct Document {
    /// The value that is written as `null`, unless it is nil.
    pub(super) null: Value,
    /// What an empty table is written as.
    pub(super) empty: &'static str,
}

struct Walk<'a> {
    encoder: &'a Encoder,
    manner: Manner,
    document: Option<&'a Document>,
    out: String,
    /// The tables that are being encoded, outermost first.
    open: Vec<*const std::ffi::c_void>,
}

impl Encoder {
    pub(super) fn new(secrets: Table, seals: Table, unknowns: Table, limits: &Limits) -> Self {
        let size = usize::try_from(limits.argument).unwrap_or(usize::MAX);
        Self { secrets, seals, unknowns, depth: limits.depth, size }
    }

    /// An effect's arguments. At the top nothing and an empty table are the empty object: arguments have names.
    pub(super) fn arguments(&self, value: &Value) -> Result<String, Refusal> {
        let text = match value {
            Value::Nil => return Ok("{}".to_owned()),
            value => self.value(value, Manner::Strict)?,
        };
        Ok(if text == "[]" { "{}".to_owned() } else { text })
    }

    /// Any value.
    pub(super) fn value(&self, value: &Value, manner: Manner) -> Result<String, Refusal> {
        self.walk(value, manner, None)
    }

    /// A value as a text of the script's own.
    pub(super) fn document(&self, value: &Value, document: &Document) -> Result<String, Refusal> {
        self.walk(value, Manner::Strict, Some(document))
    }

    fn walk(&self, value: &Value, manner: Manner, document: Option<&Document>) -> Result<String, Refusal> {
        let mut walk = Walk { encoder: self, manner, document, out: String::new(), open: Vec::new() };
        walk.value(value)?;
        Ok(walk.out)
    }

    /// What is said of a value that nobody can know yet.
    pub(super) fn seal_note(&self, value: &Value) -> mlua::Result<Option<String>> {
        self.seals.raw_get(value)
    }

    /// What is said of a table of which something is not known yet.
    pub(super) fn unknown_note(&self, table: &Table) -> mlua::Result<Option<String>> {
        match self.unknowns.raw_get::<Option<Table>>(table)? {
            Some(notes) => Ok(notes.pairs::<Value, String>().next().transpose()?.map(|(_, note)| note)),
            None => Ok(None),
        }
    }

    pub(super) fn is_secret(&self, value: &Value) -> mlua::Result<bool> {
        Ok(!self.secrets.raw_get::<Value>(value)?.is_nil())
    }
}

impl Walk<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Refusal> {
        if self.document.is_some_and(|document| !document.null.is_nil() && document.null == *value) {
            self.out.push_str("null");
            return Ok(());
        }
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Boolean(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Integer(number) => self.out.push_str(&number.to_string()),
            Value::Number(number) => return self.number(*number),
            // Before it is escaped, which takes time and room.
            Value::String(text) if text.as_bytes().len() > self.encoder.size => return Err(self.too_large()),
            Value::String(text) => match str::from_utf8(&text.as_bytes()) {
                Ok(text) => self.text(text),
                Err(_) if self.manner == Manner::Lenient => self.text(&text.to_string_lossy()),
                Err(_) => {
                    return Err(Refusal::value("a string that is not UTF-8 text cannot leave the script"));
                }
            },
            Value::Table(table) => self.table(table)?,
            Value::UserData(_) => return self.opaque(value),
            other => return self.foreign(other.type_name()),
        }
        if self.out.len() > self.encoder.size { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> Refusal {
        let reason = format!("the value is larger than {} bytes", self.encoder.size);
        Refusal::Error { code: Code::LimitArgument, reason, path: Vec::new() }
    }

    fn foreign(&mut self, kind: &str) -> Result<(), Refusal> {
        if self.manner == Manner::Lenient {
            self.text(kind);
            return Ok(());
        }
        Err(Refusal::value(format!("a {kind} cannot leave the script")))
    }

    fn number(&mut self, number: f64) -> Result<(), Refusal> {
        if number.fract() == 0.0 && number.abs() < EXACT {
            self.out.push_str(&(number as i64).to_string());
        } else if number.is_finite() {
            self.out.push_str(&serde_json::to_string(&number).expect("a finite number is JSON"));
        } else if self.manner == Manner::Lenient {
            self.text(&number.to_string());
        } else {
            return Err(Refusal::value(format!("{number} cannot leave the script")));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&serde_json::to_string(text).expect("a string is JSON"));
    }

    fn opaque(&mut self, value: &Value) -> Result<(), Refusal> {
        if let Some(parts) = self.encoder.secrets.raw_get::<Option<Table>>(value)? {
            if self.document.is_some() {
                let reason = "a secret cannot become text".to_owned();
                return Err(Refusal::Error { code: Code::SecretPlace, reason, path: Vec::new() });
            }
            return self.secret(&parts);
        }
        if let Some(note) = self.encoder.seal_note(value)? {
            return self.sealed(note);
        }
        self.foreign("userdata")
    }

    fn sealed(&mut self, note: String) -> Result<(), Refusal> {
        if self.manner == Manner::Lenient {
            self.text("(not known yet)");
            return Ok(());
        }
        Err(Refusal::Sealed(note))
    }

    /// `{"$secret": reference}`, or for a composed one a list of literals and such objects.
    fn secret(&mut self, parts: &Table) -> Result<(), Refusal> {
        let parts: Vec<Value> = parts.sequence_values().collect::<mlua::Result<_>>()?;
        if let [Value::Table(only)] = parts.as_slice() {
            return self.secret_part(only);
        }
        self.out.push_str("{\"$secret\":[");
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            match part {
                Value::Table(part) => self.secret_part(part)?,
                literal => self.value(literal)?,
            }
        }
        self.out.push_str("]}");
        Ok(())
    }

    fn secret_part(&mut self, part: &Table) -> Result<(), Refusal> {
        let reference: String = part.raw_get("reference")?;
        self.out.push_str("{\"$secret\":");
        self.out.push_str(&reference);
        self.out.push('}');
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), Refusal> {
        if table.metatable().is_some()
            && let Some(note) = self.encoder.unknown_note(table)?
        {
            return self.sealed(note);
        }
        let pointer = table.to_pointer();
        if self.open.contains(&pointer) {
            return match self.manner {
                Manner::Lenient => self.foreign("cycle"),
                Manner::Strict => Err(Refusal::value("a table that contains itself cannot leave the script")),
            };
        }
        if self.open.len() >= self.encoder.depth as usize {
            if self.manner == Manner::Lenient {
                self.text(&format!("(nested more than {} levels deep)", self.encoder.depth));
                return Ok(());
            }
            let reason = format!("the value is nested more than {} levels deep", self.encoder.depth);
            return Err(Refusal::Error { code: Code::LimitDepth, reason, path: Vec::new() });
        }
        self.open.push(pointer);
        let encoded = match (table.raw_len(), self.manner) {
            (0, _) => self.object(table),
            (length, manner) => match list(table, length)? {
                List::Whole => self.array(table, length),
                _ if manner == Manner::Lenient => self.object(table),
                List::Holes => Err(Refusal::value("a list with holes cannot leave the script")),
                List::Mixed => Err(Refusal::value(
                    "a table with both a list and named fields, or with holes, cannot leave the script",
                )),
            },
        };
        self.open.pop();
        encoded
    }

    fn array(&mut self, table: &Table, length: usize) -> Result<(), Refusal> {
        self.out.push('[');
        for index in 1..=length {
            if index > 1 {
                self.out.push(',');
            }
            let value: Value = table.raw_get(index)?;
            self.value(&value).map_err(|refusal| refusal.at(|| format!("[{index}]")))?;
        }
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self, table: &Table) -> Result<(), Refusal> {
        let mut fields = Vec::new();
        let mut bad_key = None;
        table.for_each(|key: Value, value: Value| {
            let name = match &key {
                Value::String(name) => {
                    if name.to_str().is_err() {
                        bad_key = Some("a key that is not UTF-8 text");
                    }
                    name.to_string_lossy()
                }
                Value::Integer(index) => {
                    bad_key = Some("a list with holes");
                    index.to_string()
                }
                Value::Number(number) => {
                    bad_key = Some("a list with holes");
                    number.to_string()
                }
                other => {
                    bad_key = Some("a key that is not a string");
                    format!("({})", other.type_name())
                }
            };
            fields.push((name, value));
            Ok(())
        })?;
        if let Some(reason) = bad_key
            && self.manner == Manner::Strict
        {
            return Err(Refusal::value(format!("{reason} cannot leave the script")));
        }
        if fields.is_empty() {
            self.out.push_str(self.document.map_or("[]", |document| document.empty));
            return Ok(());
        }
        fields.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        self.out.push('{');
        for (index, (name, value)) in fields.iter().enumerate() {
            if self.manner == Manner::Strict && self.document.is_none() && RESERVED.contains(&name.as_str()) {
                return Err(Refusal::value("the name is reserved").at(|| name.clone()));
            }
            if index > 0 {
                self.out.push(',');
            }
            self.text(name);
            self.out.push(':');
            self.value(value).map_err(|refusal| refusal.at(|| name.clone()))?;
        }
        self.out.push('}');
        Ok(())
    }
}

/// Whether a table is the list that its length promises.
enum List {
    Whole,
    Holes,
    Mixed,
}

fn list(table: &Table, length: usize) -> Result<List, Refusal> {
    const MIXED: &str = "mixed";
    let mut count = 0;
    let counted = table.for_each(|key: Value, _: Value| {
        let index = match key {
            Value::Integer(index) => usize::try_from(index).ok(),
            _ => None,
        };
        match index {
            Some(index) if (1..=length).contains(&index) => {
                count += 1;
                Ok(())
            }
            // `for_each` can only be left early with an error of the VM's own type.
            _ => Err(mlua::Error::runtime(MIXED)),
        }
    });
    match counted {
        Ok(()) if count == length => Ok(List::Whole),
        Ok(()) => Ok(List::Holes),
        Err(mlua::Error::RuntimeError(reason)) if reason == MIXED => Ok(List::Mixed),
        Err(other) => Err(Refusal::Vm(other)),
    }
}
