//! Owns the functions that the prelude calls. Scripts never get hold of them; each reports its own failures as values,
//! because an error of Rust's would reach the script as a foreign object.

use std::cell::RefCell;
use std::rc::Rc;

use effect::Code;
use mlua::{Function, IntoLua, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Thread, Value};
use serde_json::value::RawValue;

use super::decode::Decoder;
use super::encode::{self, Encoder, Manner, Refusal};
use super::inbox::Inbox;
use super::random::Streams;
use super::{pipe, stack, text};
use crate::limits::nearest;
use crate::protocol::{
    Description, Failed, Frame, Level, LogLine, Outcome, Place, PlanEnd, Progress, ScriptError, ToHost,
    WhichLimit,
};
use crate::{Limits, protocol};

/// One log line is cut here.
const LONGEST_LINE: usize = 256 << 10;

/// What the natives of one VM share.
pub(super) struct Natives {
    inbox: RefCell<Inbox>,
    streams: RefCell<Streams>,
    encoder: Encoder,
    /// The prelude's makers of opaque values exist only after its first chunks have run.
    decoder: RefCell<Option<Decoder>>,
    limits: Limits,
    output: RefCell<u64>,
}

impl Natives {
    pub(super) fn new(inbox: Inbox, streams: Streams, encoder: Encoder, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            inbox: RefCell::new(inbox),
            streams: RefCell::new(streams),
            encoder,
            decoder: RefCell::new(None),
            limits,
            output: RefCell::new(0),
        })
    }

    pub(super) fn set_decoder(&self, decoder: Decoder) {
        self.decoder.replace(Some(decoder));
    }

    pub(super) fn decode(&self, lua: &Lua, json: &RawValue) -> mlua::Result<Value> {
        let decoder = self.decoder.borrow();
        decoder.as_ref().expect("the prelude is loaded before anything is decoded").value(lua, json)
    }

    /// The same for what strangers wrote.
    pub(super) fn decode_foreign(&self, lua: &Lua, json: &RawValue) -> mlua::Result<Value> {
        let decoder = self.decoder.borrow();
        decoder.as_ref().expect("the prelude is loaded before anything is decoded").foreign(lua, json)
    }

    /// The table of all natives.
    pub(super) fn table(self: &Rc<Self>, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        let add = |name: &str, function: mlua::Result<Function>| table.raw_set(name, function?);
        add("request", self.native(lua, Self::request))?;
        add("receive", self.native(lua, Self::receive))?;
        add("cancel", self.native(lua, Self::cancel))?;
        add("log", self.native(lua, Self::log))?;
        add("progress", self.native(lua, Self::progress))?;
        add("plan_ended", self.native(lua, Self::plan_ended))?;
        add("fetch", self.native(lua, Self::fetch))?;
        add("random_stream", self.native(lua, Self::random_stream))?;
        add("random", self.native(lua, Self::random))?;
        add("uuid", self.native(lua, Self::uuid))?;
        add("described", self.native(lua, Self::described))?;
        add("done", self.native(lua, Self::done))?;
        add("failed", self.native(lua, Self::failed))?;
        add("compile", lua.create_function(compile))?;
        add("trace", lua.create_function(trace))?;
        add("place_of", lua.create_function(place_of))?;
        add("traceback", lua.create_function(traceback))?;
        add("memory_exceeded", lua.create_function(memory_exceeded))?;
        add("seconds", lua.create_function(seconds))?;
        add("nearest", lua.create_function(nearest_name))?;
        add("find", lua.create_function(find))?;
        add("split", lua.create_function(split))?;
        Ok(table)
    }

    fn native<A, R>(
        self: &Rc<Self>,
        lua: &Lua,
        method: fn(&Self, &Lua, A) -> mlua::Result<R>,
    ) -> mlua::Result<Function>
    where
        A: mlua::FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
    {
        let natives = self.clone();
        lua.create_function(move |lua, arguments| method(&natives, lua, arguments))
    }

    /// `(name, scope, counter, argument, file?, line?)` → the request's number, or nothing, a code, a message and a hint.
    fn request(
        &self,
        lua: &Lua,
        (name, scope, counter, argument, file, line): (
            String,
            LuaString,
            u64,
            Value,
            Option<String>,
            Option<u32>,
        ),
    ) -> mlua::Result<MultiValue> {
        let args = match self.encoder.arguments(&argument) {
            Ok(args) => args,
            Err(Refusal::Sealed(note)) => return (Value::Nil, "sealed", note).into_lua_multi(lua),
            Err(Refusal::Vm(error)) => return Err(error),
            Err(Refusal::Error { code, reason, path }) => {
                let message = encode::message(&reason, &path);
                let hint = "effects take plain data: booleans, numbers, strings and tables of them";
                return (Value::Nil, code.as_str(), message, hint).into_lua_multi(lua);
            }
        };
        let place = match (file, line) {
            (Some(file), Some(line)) => Place { file, line },
            _ => stack::place_here(lua)?,
        };
        let mut inbox = self.inbox.borrow_mut();
        if self.limits.effects.is_some_and(|most| inbox.asked() >= most) {
            exceeded(WhichLimit::Effects, stack::here(lua)?);
        }
        let id = inbox.request(name, &scope.to_str()?, counter, args, place);
        id.into_lua_multi(lua)
    }

    /// → the request's number, whether it succeeded, its result or error
    fn receive(&self, lua: &Lua, (): ()) -> mlua::Result<(u64, bool, Value)> {
        let (id, outcome) = self.inbox.borrow_mut().receive();
        match outcome {
            Outcome::Ok(json) => Ok((id, true, self.decode(lua, &json)?)),
            Outcome::Err(json) => Ok((id, false, self.decode(lua, &json)?)),
        }
    }

    fn log(
        &self,
        lua: &Lua,
        (level, scope, number, message, fields): (String, String, u64, LuaString, Value),
    ) -> mlua::Result<()> {
        let level = match level.as_str() {
            "debug" => Level::Debug,
            "warn" => Level::Warn,
            "error" => Level::Error,
            "print" => Level::Print,
            _ => Level::Info,
        };
        let fields = match fields {
            Value::Nil => None,
            fields => Some(self.lenient(&fields)?),
        };
        let message = shortened(&message.as_bytes());
        self.count_output(lua, message.len() + fields.as_ref().map_or(0, |fields| fields.get().len()))?;
        let place = stack::place_here(lua)?;
        pipe::send_promptly(&ToHost::Log(LogLine { scope, number, level, message, fields, place }));
        Ok(())
    }

    fn progress(&self, lua: &Lua, (scope, value): (String, Value)) -> mlua::Result<()> {
        let value = self.lenient(&value)?;
        self.count_output(lua, value.get().len())?;
        pipe::send_promptly(&ToHost::Progress(Progress { scope, value }));
        Ok(())
    }

    /// Output never fails a script: what cannot be written is described.
    fn lenient(&self, value: &Value) -> mlua::Result<Box<RawValue>> {
        let text = match self.encoder.value(value, Manner::Lenient) {
            Ok(text) => text,
            Err(Refusal::Vm(error)) => return Err(error),
            Err(Refusal::Sealed(_)) => "\"(not known yet)\"".to_owned(),
            Err(Refusal::Error { reason, .. }) => {
                serde_json::to_string(&format!("({reason})")).expect("a string is JSON")
            }
        };
        Ok(RawValue::from_string(text).expect("the encoder writes JSON"))
    }

    /// The wrapping counts too, or a flood of empty lines would be free.
    fn count_output(&self, lua: &Lua, bytes: usize) -> mlua::Result<()> {
        let mut output = self.output.borrow_mut();
        *output += bytes as u64 + 1;
        if *output > self.limits.output {
            exceeded(WhichLimit::Output, stack::here(lua)?);
        }
        Ok(())
    }

    fn plan_ended(&self, lua: &Lua, (scope, note): (String, String)) -> mlua::Result<()> {
        let place = stack::place_here(lua)?;
        pipe::send(&ToHost::PlanEnded(PlanEnd { scope, note, place }));
        Ok(())
    }

    /// `path` → the module's name and source, or nothing and an error's fields
    fn fetch(&self, lua: &Lua, path: LuaString) -> mlua::Result<MultiValue> {
        let from = stack::caller(lua)?;
        let path = String::from_utf8_lossy(&path.as_bytes()).chars().take(2048).collect();
        match self.inbox.borrow_mut().module(from, path) {
            Ok(module) => (module.name.as_str(), module.source.as_str()).into_lua_multi(lua),
            Err(error) => {
                let Outcome::Err(json) = Outcome::error(&error) else { unreachable!("an error's outcome") };
                (Value::Nil, self.decode(lua, &json)?).into_lua_multi(lua)
            }
        }
    }

    fn cancel(&self, _: &Lua, request: u64) -> mlua::Result<()> {
        self.inbox.borrow_mut().cancel(request);
        Ok(())
    }

    fn random_stream(&self, _: &Lua, scope: LuaString) -> mlua::Result<usize> {
        Ok(self.streams.borrow_mut().start(&scope.as_bytes()))
    }

    fn random(&self, _: &Lua, stream: usize) -> mlua::Result<f64> {
        Ok(self.streams.borrow_mut().number(stream))
    }

    fn uuid(&self, _: &Lua, stream: usize) -> mlua::Result<String> {
        Ok(self.streams.borrow_mut().uuid(stream))
    }

    /// `(fields, line)`: the file is a playbook's; nothing, or a code and a message.
    fn described(&self, lua: &Lua, (fields, line): (Value, u32)) -> mlua::Result<MultiValue> {
        match self.encoder.value(&fields, Manner::Strict) {
            Ok(text) => {
                let definition = RawValue::from_string(text).expect("the encoder writes JSON");
                pipe::send(&ToHost::Described(Description { definition, line }));
                Ok(MultiValue::new())
            }
            Err(Refusal::Vm(error)) => Err(error),
            Err(Refusal::Sealed(note)) => (Code::PlaybookField.as_str(), note).into_lua_multi(lua),
            Err(Refusal::Error { code, reason, path }) => {
                let code = match code {
                    Code::LimitArgument | Code::LimitDepth => Code::PlaybookSize,
                    _ => Code::PlaybookField,
                };
                let reason = reason.replace("cannot leave the script", "is no plain data");
                (code.as_str(), encode::message(&reason, &path)).into_lua_multi(lua)
            }
        }
    }

    fn done(&self, _: &Lua, plan_ended: bool) -> mlua::Result<()> {
        self.inbox.borrow_mut().check_consumed(None);
        pipe::finish(&ToHost::Done { plan_ended })
    }

    /// `(fields, trace?, file?, line?)`: the script has failed.
    fn failed(
        &self,
        _: &Lua,
        (fields, trace, file, line): (Table, Option<String>, Option<String>, Value),
    ) -> mlua::Result<()> {
        let stack: Vec<Frame> = trace.and_then(|trace| serde_json::from_str(&trace).ok()).unwrap_or_default();
        let place = match file {
            Some(file) => Place { file, line: line.as_u32().unwrap_or(0) },
            None => stack::place(&stack),
        };
        let error = script_error(&fields)?;
        let said = format!("{}: {}", error.code, error.message);
        self.inbox.borrow_mut().check_consumed(Some((said, place.clone())));
        pipe::finish(&ToHost::Failed(Box::new(Failed { error, place, stack })))
    }
}

/// Reports a passed limit with the script's stack and ends the process.
pub(super) fn exceeded(which: WhichLimit, stack: Vec<Frame>) -> ! {
    pipe::finish(&ToHost::Limit { which, place: stack::place(&stack), stack })
}

fn script_error(fields: &Table) -> mlua::Result<ScriptError> {
    let text = |name: &str| -> mlua::Result<Option<String>> {
        let value: Option<LuaString> = fields.raw_get(name)?;
        Ok(value.map(|value| shortened(&value.as_bytes())))
    };
    let texts = |name: &str| -> mlua::Result<Vec<String>> {
        let list: Option<Vec<LuaString>> = fields.raw_get(name)?;
        Ok(list.unwrap_or_default().iter().map(|value| shortened(&value.as_bytes())).collect())
    };
    Ok(ScriptError {
        code: text("code")?.unwrap_or_default(),
        message: text("message")?.unwrap_or_default(),
        cause: text("cause")?,
        hint: text("hint")?,
        effect: text("effect")?,
        retryable: fields.raw_get::<Option<bool>>("retryable")?.unwrap_or_default(),
        details: texts("details")?,
        missing: texts("missing")?,
    })
}

fn shortened(text: &[u8]) -> String {
    if text.len() <= LONGEST_LINE {
        return String::from_utf8_lossy(text).into_owned();
    }
    let rest = text.len() - LONGEST_LINE;
    format!("{}… ({rest} bytes more)", String::from_utf8_lossy(&text[..LONGEST_LINE]))
}

/// `(name, source)` → a function, or nothing, a message and its line
fn compile(lua: &Lua, (name, source): (String, LuaString)) -> mlua::Result<MultiValue> {
    let source = source.as_bytes();
    let chunk = lua.load(&*source).set_name(format!("={name}")).set_mode(mlua::chunk::ChunkMode::Text);
    match chunk.into_function() {
        Ok(function) => function.into_lua_multi(lua),
        Err(mlua::Error::SyntaxError { message, .. }) => {
            let (line, message) = split_position(&message);
            (Value::Nil, message, line).into_lua_multi(lua)
        }
        Err(error @ mlua::Error::MemoryError(_)) => Err(error),
        Err(error) => (Value::Nil, error.to_string(), 0).into_lua_multi(lua),
    }
}

/// The compiler puts `name:line: ` before its message.
fn split_position(message: &str) -> (u32, &str) {
    let found = message.match_indices(':').find_map(|(at, _)| {
        let (digits, text) = message[at + 1..].split_once(": ")?;
        Some((digits.parse().ok()?, text))
    });
    found.unwrap_or((0, message))
}

/// `thread?` → the stack as JSON
fn trace(lua: &Lua, thread: Option<Thread>) -> mlua::Result<String> {
    let frames = frames_of(lua, thread)?;
    Ok(serde_json::to_string(&frames).expect("frames are strings and numbers"))
}

fn frames_of(lua: &Lua, thread: Option<Thread>) -> mlua::Result<Vec<Frame>> {
    match thread {
        Some(thread) => stack::of(lua, &thread),
        None => stack::here(lua),
    }
}

/// `trace?` → the file and line where it was raised, if the script was there
fn place_of(_: &Lua, trace: Option<String>) -> mlua::Result<(Option<String>, Option<u32>)> {
    let frames: Vec<Frame> = trace.and_then(|trace| serde_json::from_str(&trace).ok()).unwrap_or_default();
    let place = stack::place(&frames);
    Ok(if place.line > 0 { (Some(place.file), Some(place.line)) } else { (None, None) })
}

fn traceback(lua: &Lua, (): ()) -> mlua::Result<String> {
    Ok(stack::traceback(&stack::here(lua)?))
}

/// `thread?`: the heap is exhausted; does not return.
fn memory_exceeded(lua: &Lua, thread: Option<Thread>) -> mlua::Result<()> {
    exceeded(WhichLimit::Memory, frames_of(lua, thread).unwrap_or_default())
}

fn seconds(_: &Lua, text: String) -> mlua::Result<Option<f64>> {
    Ok(text.parse::<effect::units::Span>().ok().map(|span| span.0.as_secs_f64()))
}

fn nearest_name(_: &Lua, (word, names): (LuaString, Vec<String>)) -> mlua::Result<Option<String>> {
    let word: String = String::from_utf8_lossy(&word.as_bytes()).chars().take(64).collect();
    Ok(nearest(&word, names.iter().map(String::as_str)).map(str::to_owned))
}

/// `(text, needle, start)` → first and last byte
fn find(lua: &Lua, (haystack, needle, start): (LuaString, LuaString, f64)) -> mlua::Result<MultiValue> {
    match text::find(&haystack.as_bytes(), &needle.as_bytes(), start) {
        Some((first, last)) => (first, last).into_lua_multi(lua),
        None => Value::Nil.into_lua(lua)?.into_lua_multi(lua),
    }
}

fn split(lua: &Lua, (whole, separator): (LuaString, LuaString)) -> mlua::Result<Table> {
    let parts = lua.create_table()?;
    for (index, part) in text::split(&whole.as_bytes(), &separator.as_bytes()).enumerate() {
        parts.raw_set(index + 1, lua.create_string(part)?)?;
    }
    Ok(parts)
}

/// The output that the host allows on the pipe has to be wider than what is counted here.
const _: () = assert!(LONGEST_LINE < protocol::GREATEST_FRAME);
