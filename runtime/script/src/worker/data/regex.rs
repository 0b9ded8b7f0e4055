//! Owns the family `regex`: patterns whose search takes a time that is linear in the text, whatever the pattern.

use std::collections::VecDeque;

use mlua::{Lua, Table, Value};
use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_automata::{Input, Span};

use super::{Arguments, Data, Fault, string, utf8};
use crate::functions::{Function, Parameter, Takes};

/// Bytes of a pattern, and of what it is compiled to. A search takes the product of the latter and the text at worst.
const LONGEST_PATTERN: usize = 4 << 10;
const LARGEST_PROGRAM: usize = 128 << 10;
const NESTING: u32 = 50;
/// Bytes of a text that is searched, and of one that `replace` makes.
const LONGEST_TEXT: usize = 1 << 20;
/// What one replacement may come to at worst before it is looked at in detail.
const LARGEST_EXPANSION: usize = 16 << 20;
/// How many compiled patterns are kept: a pattern in a loop is compiled once.
const KEPT: usize = 16;

const PATTERN: Parameter = Parameter::text("pattern", "The pattern, at most 4 KiB.");
const TEXT: Parameter = Parameter::text("text", "The text, at most 1 MiB.");

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "regex.is_match",
        doc: "Whether the pattern is found anywhere in the text. The syntax is that of Rust's `regex`: no back-references and no \
              look-around, so that a search takes linear time; `(?i)`, `(?m)`, `(?s)` and `(?x)` set flags. Write patterns \
              into `[[…]]`, or double every `\\`.",
        parameters: &[PATTERN, TEXT],
        returns: "boolean",
        example: "assert(regex.is_match([[^v\\d+\\.\\d+]], \"v1.2.3\"))",
        call: is_match,
    },
    Function {
        name: "regex.find",
        doc: "The first place where the pattern is found, or nil. Groups that took no part are empty strings.",
        parameters: &[
            PATTERN,
            TEXT,
            Parameter::option("from", Takes::Position, "The byte to start at; 1 unless given."),
        ],
        returns: "Match?",
        example: "local found = regex.find([[(?<name>\\w+)=(\\d+)]], \"port=8080\")\nassert(found)\nprint(found.names.name, found.groups[2])",
        call: find,
    },
    Function {
        name: "regex.find_all",
        doc: "Every place where the pattern is found, none overlapping another.",
        parameters: &[PATTERN, TEXT],
        returns: "{ Match }",
        example: "for _, found in regex.find_all([[\\d+]], \"1 and 22\") do print(found.text) end",
        call: find_all,
    },
    Function {
        name: "regex.replace",
        doc: "The text with every match replaced. `$1` and `${name}` in the replacement stand for groups, `$$` for a dollar sign.",
        parameters: &[PATTERN, TEXT, Parameter::text("replacement", "What takes the place of a match.")],
        returns: "string",
        example: "print(regex.replace([[(\\w+)@(\\w+)]], \"user@host\", \"$2\"))",
        call: replace,
    },
    Function {
        name: "regex.split",
        doc: "The parts of the text between matches.",
        parameters: &[PATTERN, TEXT],
        returns: "{ string }",
        example: "print(table.concat(regex.split([[\\s*,\\s*]], \"a , b,c\"), \"|\"))",
        call: split,
    },
    Function {
        name: "regex.escape",
        doc: "The pattern that finds exactly this text.",
        parameters: &[Parameter::text("text", "The text.")],
        returns: "string",
        example: "assert(regex.is_match(regex.escape(\"a.b\"), \"a.b\"))",
        call: escape,
    },
];

/// A compiled pattern. The simplest engine is used: quicker ones ask the system for its processors, which a worker must
/// not.
pub(super) struct Pattern {
    text: String,
    engine: PikeVM,
    memory: Cache,
}

/// The compiled patterns, the last used one in front.
pub(super) type Patterns = VecDeque<Pattern>;

fn with_pattern<T>(
    data: &Data,
    arguments: &Arguments<'_>,
    search: impl FnOnce(&PikeVM, &mut Cache) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let pattern = arguments.text(0);
    let bytes = pattern.as_bytes();
    let text = utf8(&bytes)?;
    let mut patterns = data.patterns.borrow_mut();
    let found = match patterns.iter().position(|known| known.text == text) {
        Some(at) => patterns.remove(at).expect("it was just found there"),
        None => compiled(text)?,
    };
    patterns.truncate(KEPT - 1);
    patterns.push_front(found);
    let pattern = patterns.front_mut().expect("it was just put there");
    search(&pattern.engine, &mut pattern.memory)
}

fn compiled(text: &str) -> Result<Pattern, Fault> {
    if text.len() > LONGEST_PATTERN {
        return Err(Fault::too_large(format!("the pattern is longer than {LONGEST_PATTERN} bytes")));
    }
    let engine = PikeVM::builder()
        .syntax(syntax::Config::new().utf8(false).nest_limit(NESTING))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(LARGEST_PROGRAM)))
        .build(text)
        .map_err(|error| {
            if error.size_limit().is_some() {
                return Fault::too_large("the pattern becomes too large when it is compiled")
                    .hint("shorten its repetitions, such as {1,1000}");
            }
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            // The cause draws the pattern first and says what is wrong in its last line.
            let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Fault::malformed(format!("the pattern is malformed: {cause}"))
                .hint("back-references and look-around do not exist; write patterns into [[…]]")
        })?;
    let memory = engine.create_cache();
    Ok(Pattern { text: text.to_owned(), engine, memory })
}

fn searched(text: &[u8]) -> Result<&[u8], Fault> {
    if text.len() > LONGEST_TEXT {
        return Err(Fault::too_large(format!("the text is longer than {LONGEST_TEXT} bytes")));
    }
    Ok(text)
}

fn is_match(data: &Data, _: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(1);
    let text = text.as_bytes();
    let text = searched(&text)?;
    with_pattern(data, arguments, |engine, memory| Ok(Value::Boolean(engine.is_match(memory, text))))
}

fn find(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(1);
    let text = text.as_bytes();
    let text = searched(&text)?;
    let from = arguments.position(2).unwrap_or(1) - 1;
    if from > text.len() {
        return Ok(Value::Nil);
    }
    with_pattern(data, arguments, |engine, memory| {
        let mut captures = engine.create_captures();
        engine.captures(memory, Input::new(text).span(from..text.len()), &mut captures);
        if captures.is_match() { Ok(Value::Table(found(lua, text, &captures)?)) } else { Ok(Value::Nil) }
    })
}

fn find_all(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(1);
    let text = text.as_bytes();
    let text = searched(&text)?;
    with_pattern(data, arguments, |engine, memory| {
        let list = lua.create_table()?;
        for captures in engine.captures_iter(memory, text) {
            list.raw_push(found(lua, text, &captures)?)?;
        }
        Ok(Value::Table(list))
    })
}

fn whole(captures: &Captures) -> Span {
    captures.get_group(0).expect("the whole match is always there")
}

fn found(lua: &Lua, text: &[u8], captures: &Captures) -> Result<Table, Fault> {
    let span = whole(captures);
    let table = lua.create_table()?;
    table.raw_set("text", string(lua, &text[span])?)?;
    table.raw_set("first", (span.start + 1) as f64)?;
    table.raw_set("last", span.end as f64)?;
    let (groups, names) = (lua.create_table()?, lua.create_table()?);
    let pattern = captures.pattern().expect("it is a match");
    let group_names = captures.group_info().pattern_names(pattern);
    for (group, name) in captures.iter().zip(group_names).skip(1) {
        let part = group.map_or(&[][..], |span| &text[span]);
        groups.raw_push(string(lua, part)?)?;
        if let (Some(_), Some(name)) = (group, name) {
            names.raw_set(name, string(lua, part)?)?;
        }
    }
    table.raw_set("groups", groups)?;
    table.raw_set("names", names)?;
    Ok(table)
}

fn replace(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let (text, replacement) = (arguments.text(1), arguments.text(2));
    let (text, replacement) = (text.as_bytes(), replacement.as_bytes());
    let text = searched(&text)?;
    let too_large = || Fault::too_large(format!("the text becomes longer than {LONGEST_TEXT} bytes"));
    let references = replacement.iter().filter(|byte| **byte == b'$').count();
    let mut made = Vec::new();
    let mut end = 0;
    with_pattern(data, arguments, |engine, memory| {
        for captures in engine.captures_iter(memory, text) {
            let span = whole(&captures);
            made.extend_from_slice(&text[end..span.start]);
            // Before it is expanded: a thousand references to one long match would fill the memory at once.
            if references.saturating_mul(span.len()) > LARGEST_EXPANSION {
                return Err(too_large());
            }
            captures.interpolate_bytes_into(text, &replacement, &mut made);
            end = span.end;
            if made.len() > LONGEST_TEXT {
                return Err(too_large());
            }
        }
        Ok(())
    })?;
    made.extend_from_slice(&text[end..]);
    string(lua, made)
}

fn split(data: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(1);
    let text = text.as_bytes();
    let text = searched(&text)?;
    with_pattern(data, arguments, |engine, memory| {
        let list = lua.create_table()?;
        let mut end = 0;
        for found in engine.find_iter(memory, text) {
            list.raw_push(string(lua, &text[end..found.start()])?)?;
            end = found.end();
        }
        list.raw_push(string(lua, &text[end..])?)?;
        Ok(Value::Table(list))
    })
}

fn escape(_: &Data, lua: &Lua, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let text = arguments.text(0);
    let bytes = text.as_bytes();
    let mut escaped = String::new();
    for character in utf8(&bytes)?.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    string(lua, escaped)
}
