//! Owns the family `base64` (RFC 4648).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mlua::{Lua, Value};

use super::{Arguments, Data, Fault, string};
use crate::functions::{Function, Parameter, Takes};

const OPTIONS: &[Parameter] = &[Parameter::option(
    "url",
    Takes::Flag,
    "The alphabet for URLs and file names, `-` and `_`, without padding.",
)];
const OPTION: Parameter = Parameter::option("options", Takes::Options(OPTIONS), "The alphabet.");

/// What is encoded grows by a third, and no function makes a text that none would take.
const LONGEST_ENCODED: usize = super::LONGEST / 4 * 3;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "base64.encode",
        doc: "Encodes bytes as base64. With padding, unless the alphabet for URLs is asked for.",
        parameters: &[Parameter::text("text", "The bytes."), OPTION],
        returns: "string",
        example: "print(base64.encode(\"hello\"))  -- aGVsbG8=",
        call: encode,
    },
    Function {
        name: "base64.decode",
        doc: "Decodes base64. Spaces, line ends and missing padding are errors, `MC-D001`.",
        parameters: &[Parameter::text("text", "What was encoded."), OPTION],
        returns: "string",
        example: "print(base64.decode(\"aGVsbG8=\"))  -- hello",
        call: decode,
    },
];

fn encode(_: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(0);
    if text.as_bytes().len() > LONGEST_ENCODED {
        return Err(Fault::too_large(format!("the text is longer than {LONGEST_ENCODED} bytes")));
    }
    let engine = if arguments.flag(1, "url")? { URL_SAFE_NO_PAD } else { STANDARD };
    string(lua, engine.encode(text.as_bytes()))
}

fn decode(_: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(0);
    let engine = if arguments.flag(1, "url")? { URL_SAFE_NO_PAD } else { STANDARD };
    let bytes = engine.decode(text.as_bytes()).map_err(|error| Fault::malformed(error.to_string()))?;
    string(lua, bytes)
}
