//! Owns the family `semver` (semver.org 2.0).

use std::cmp::Ordering;

use mlua::{Lua, Value};
use semver::{Version, VersionReq};

use super::{Arguments, Data, Fault, string, utf8};
use crate::functions::{Function, Parameter};

/// Bytes of a version or a range.
const LONGEST: usize = 256;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "semver.parse",
        doc: "Takes a version apart. A leading `v`, as image tags have, is taken as well.",
        parameters: &[Parameter::text("text", "A version with three parts, such as `v1.2.3-rc.1`.")],
        returns: "Version",
        example: "local version = semver.parse(\"v1.2.3-rc.1\")\nprint(version.major, version.pre)",
        call: parse,
    },
    Function {
        name: "semver.compare",
        doc: "Which of two versions is newer: 1 when the left one is, -1 when the right one is, 0 when they are equal. Build \
              metadata does not count.",
        parameters: &[Parameter::text("left", "A version."), Parameter::text("right", "Another.")],
        returns: "number",
        example: "assert(semver.compare(\"v1.10.0\", \"v1.9.3\") == 1)",
        call: compare,
    },
    Function {
        name: "semver.satisfies",
        doc: "Whether a version lies in a range. A range is a list of `^1.2`, `~1.2.3`, `>=1.2`, `<2`, `=1.2.3` or `1.*`, all of \
              which have to hold; a bare `1.2` means `^1.2`. A pre-release lies only in ranges that name one of the same version.",
        parameters: &[
            Parameter::text("version", "A version."),
            Parameter::text("range", "The range, such as `>=1.2, <2`."),
        ],
        returns: "boolean",
        example: "assert(semver.satisfies(\"v1.4.0\", \"^1.2\"))",
        call: satisfies,
    },
];

fn bounded(text: &[u8]) -> Result<&str, Fault> {
    if text.len() > LONGEST {
        return Err(Fault::too_large(format!("a version or range is longer than {LONGEST} bytes")));
    }
    utf8(text)
}

fn version(arguments: &Arguments<'_>, index: usize) -> Result<Version, Fault> {
    let text = arguments.text(index);
    let bytes = text.as_bytes();
    let text = bounded(&bytes)?;
    let bare = text.strip_prefix('v').unwrap_or(text);
    let version: Version = bare.parse().map_err(|error: semver::Error| {
        Fault::malformed(format!("`{text}` is not a version: {error}"))
            .hint("a version has three numbers, such as v1.2.3")
    })?;
    let exact = |number: u64| number < 1 << 53;
    if exact(version.major) && exact(version.minor) && exact(version.patch) {
        return Ok(version);
    }
    Err(Fault::malformed(format!("`{text}` has a number that is not exact as a Lua number")))
}

fn parse(_: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let version = version(arguments, 0)?;
    let table = lua.create_table()?;
    table.raw_set("major", version.major as f64)?;
    table.raw_set("minor", version.minor as f64)?;
    table.raw_set("patch", version.patch as f64)?;
    if !version.pre.is_empty() {
        table.raw_set("pre", string(lua, version.pre.as_str())?)?;
    }
    if !version.build.is_empty() {
        table.raw_set("build", string(lua, version.build.as_str())?)?;
    }
    Ok(Value::Table(table))
}

fn compare(_: &Data, _: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    Ok(Value::Number(match version(arguments, 0)?.cmp_precedence(&version(arguments, 1)?) {
        Ordering::Less => -1.0,
        Ordering::Equal => 0.0,
        Ordering::Greater => 1.0,
    }))
}

fn satisfies(_: &Data, _: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let version = version(arguments, 0)?;
    let text = arguments.text(1);
    let bytes = text.as_bytes();
    let range = bounded(&bytes)?;
    let range: VersionReq = range
        .parse()
        .map_err(|error: semver::Error| Fault::malformed(format!("`{range}` is not a range: {error}")))?;
    Ok(Value::Boolean(range.matches(&version)))
}
