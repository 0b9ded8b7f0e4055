//! Owns the making of the VM: safety flags, library, prelude, sandbox, limits. Nothing of the script is touched here.

use effect::Rewind;
use mlua::chunk::Compiler;
use mlua::{Function, Lua, LuaOptions, StdLib, Table};

use super::data::Data;
use super::decode::Decoder;
use super::encode::Encoder;
use super::inbox::Inbox;
use super::natives::{Natives, exceeded};
use super::random::Streams;
use super::{deadline, stack};
use crate::protocol::{Mode, Module, Start, WhichLimit};

/// Safety fixes of the VM that ship switched off. A flag that a later version no longer has is on by then.
const SAFETY_FLAGS: [&str; 3] = ["LuauTableRobustOom", "LuauOptimizeStringSplit", "LuauTableMoveTimeoutFix"];

const ERRORS: &str = include_str!("../prelude/errors.luau");
const VALUES: &str = include_str!("../prelude/values.luau");
const SCHEDULER: &str = include_str!("../prelude/scheduler.luau");
const EFFECTS: &str = include_str!("../prelude/effects.luau");
const DATA: &str = include_str!("../prelude/data.luau");
const DURABLE: &str = include_str!("../prelude/durable.luau");
const TRANSACTION: &str = include_str!("../prelude/transaction.luau");
const PLAYBOOK: &str = include_str!("../prelude/playbook.luau");
const MODULES: &str = include_str!("../prelude/modules.luau");
const GLOBALS: &str = include_str!("../prelude/globals.luau");
const MAIN: &str = include_str!("../prelude/main.luau");

/// A VM that is ready to compile a script.
pub(super) struct Prepared {
    lua: Lua,
    main: Function,
    exec: std::time::Duration,
}

impl Prepared {
    /// Runs the script. The prelude reports its end; this returns only when the runtime itself fails.
    pub(super) fn run(&self, script: &Module) -> mlua::Result<()> {
        deadline::arm(self.exec, deadline::now());
        self.main.call((script.name.as_str(), script.source.as_str()))
    }
}

/// A VM with the prelude compiled, which needs to know nothing of what it will run: a worker that was started in advance
/// gets here on its own.
pub(super) struct Blank {
    lua: Lua,
    errors: Function,
    values: Function,
    others: [Function; 6],
    globals: Function,
    data: Function,
    main: Function,
}

impl Blank {
    /// Makes the VM.
    pub(super) fn new() -> mlua::Result<Self> {
        for flag in SAFETY_FLAGS {
            let _ = Lua::set_fflag(flag, true);
        }
        let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new().catch_rust_panics(true))?;
        let load = |source: &str| lua.load(source).set_name(format!("={}", stack::RUNTIME)).into_function();
        let others = [SCHEDULER, EFFECTS, DURABLE, TRANSACTION, MODULES, PLAYBOOK].map(load);
        let [scheduler, effects, durable, transaction, modules, playbook] = others;
        let others = [scheduler?, effects?, durable?, transaction?, modules?, playbook?];
        let (errors, values) = (load(ERRORS)?, load(VALUES)?);
        let (globals, data, main) = (load(GLOBALS)?, load(DATA)?, load(MAIN)?);
        Ok(Self { lua, errors, values, others, globals, data, main })
    }
}

/// Makes `blank` ready for what the host asks to run.
pub(super) fn prepare(blank: Blank, start: &Start) -> mlua::Result<Prepared> {
    let lua = blank.lua;
    let runtime = lua.create_table()?;
    let plan = start.mode == Mode::Plan;
    runtime.raw_set("sources", lua.create_table()?)?;
    runtime.raw_set("own_sources", lua.create_table()?)?;
    runtime.raw_set("plan", plan)?;
    runtime.raw_set("reads", start.mode == Mode::Read)?;
    // A playbook's file has effects only in its `run`.
    runtime.raw_set("at_top", start.mode == Mode::Read || start.event.is_some())?;
    runtime.raw_set("rewinds", rewinds(&lua, start)?)?;
    let (secrets, seals, unknowns) = (weak_table(&lua)?, weak_table(&lua)?, weak_table(&lua)?);
    let encoder = Encoder::new(secrets.clone(), seals.clone(), unknowns.clone(), &start.limits);
    let functions = Data::new(&encoder).table(&lua)?;
    let natives = Natives::new(
        Inbox::new(&start.limits, start.resumed),
        Streams::new(start.seed),
        encoder,
        start.limits.clone(),
    );
    let native = natives.table(&lua)?;

    blank.errors.call::<()>((&native, &runtime))?;
    blank.values.call::<()>((&native, &runtime, secrets, seals, unknowns))?;
    natives.set_decoder(decoder(&runtime)?);
    for chunk in blank.others {
        chunk.call::<()>((&native, &runtime))?;
    }
    let params = natives.decode(&lua, &start.params)?;
    if let Some(event) = &start.event {
        runtime.raw_set("event", natives.decode_foreign(&lua, event)?)?;
    }
    let args = lua.create_sequence_from(start.args.iter().map(String::as_str))?;
    let names = lua.create_sequence_from(start.effects.iter().map(String::as_str))?;
    blank.globals.call::<()>((&native, &runtime, lua.globals(), args, params, names))?;
    blank.data.call::<()>((&native, &runtime, lua.globals(), functions))?;
    blank.main.call::<()>((&native, &runtime))?;
    let main = runtime.raw_get("main")?;

    lua.sandbox(true)?;
    // Otherwise `_G` would be the read-only table behind the script's own globals.
    let globals = lua.globals();
    globals.raw_set("_G", &globals)?;
    lua.set_compiler(compiler(start.mode));
    deadline::install(&lua)?;
    lua.set_memory_limit(usize::try_from(start.limits.memory).unwrap_or(usize::MAX))?;
    Ok(Prepared { lua, main, exec: start.limits.exec })
}

/// The compiler and the VM have short cuts for well-known globals that would pass by our replacements.
fn compiler(mode: Mode) -> Compiler {
    let always = ["pcall", "xpcall", "tostring", "coroutine"];
    let guarded_in_plans =
        ["next", "pairs", "ipairs", "rawget", "rawset", "rawlen", "rawequal", "unpack", "tonumber", "table"];
    let compiler = Compiler::new().set_mutable_globals(always);
    match mode {
        Mode::Run | Mode::Read => compiler,
        Mode::Plan => guarded_in_plans.into_iter().fold(compiler, Compiler::add_mutable_global),
    }
}

/// By effect, the word for what a failed transaction does.
fn rewinds(lua: &Lua, start: &Start) -> mlua::Result<Table> {
    let word = |rewind: &Rewind| match rewind {
        Rewind::Restore => "restore",
        Rewind::Repeat => "repeat",
        Rewind::Refuse => "refuse",
    };
    lua.create_table_from(start.rewinds.iter().map(|(name, rewind)| (name.as_str(), word(rewind))))
}

fn weak_table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__mode", "k")?;
    table.set_metatable(Some(metatable))?;
    Ok(table)
}

fn decoder(runtime: &Table) -> mlua::Result<Decoder> {
    let values: Table = runtime.raw_get("values")?;
    Ok(Decoder {
        secret: values.raw_get("secret")?,
        sealed: values.raw_get("sealed")?,
        partial: values.raw_get("partial")?,
    })
}

/// The text of an error of the runtime itself; an exhausted heap is reported as the limit that it is.
pub(super) fn memory_or(error: &mlua::Error, prepared: &Prepared) -> String {
    let text = error.to_string();
    if text.contains("not enough memory") {
        exceeded(WhichLimit::Memory, stack::here(&prepared.lua).unwrap_or_default());
    }
    text
}
