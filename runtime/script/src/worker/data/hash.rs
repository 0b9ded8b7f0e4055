//! Owns the family `hash`.

use std::fmt::Write as _;

use aws_lc_rs::digest::{self, Algorithm};
use mlua::{Lua, Value};

use super::{Arguments, Fault, string};
use crate::functions::{Function, Parameter};

const TEXT: &[Parameter] = &[Parameter::text("text", "The bytes.")];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "hash.sha256",
        doc: "The SHA-256 of the bytes, in hexadecimal digits.",
        parameters: TEXT,
        returns: "string",
        example: "print(hash.sha256(\"\"))  -- e3b0c44298fc1c14…",
        call: |_, lua, arguments| hexadecimal(lua, arguments, &digest::SHA256),
    },
    Function {
        name: "hash.sha512",
        doc: "The SHA-512 of the bytes, in hexadecimal digits.",
        parameters: TEXT,
        returns: "string",
        example: "print(hash.sha512(\"\"))  -- cf83e1357eefb8bd…",
        call: |_, lua, arguments| hexadecimal(lua, arguments, &digest::SHA512),
    },
];

fn hexadecimal(lua: &Lua, arguments: &Arguments<'_>, algorithm: &'static Algorithm) -> Result<Value, Fault> {
    let hash = digest::digest(algorithm, &arguments.text(0).as_bytes());
    let mut text = String::with_capacity(hash.as_ref().len() * 2);
    for byte in hash.as_ref() {
        write!(text, "{byte:02x}").expect("a string takes every text");
    }
    string(lua, text)
}
