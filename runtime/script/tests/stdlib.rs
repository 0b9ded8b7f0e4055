//! The facts about `@std` in `stdlib/tests`, each in a VM of its own with effects that act on tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use mlua::{Function, Lua, Table, Value};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stdlib")
}

/// A VM whose `require` knows `@std`.
fn machine() -> Lua {
    let lua = Lua::new();
    let loaded = lua.create_table().unwrap();
    let require = lua.create_function(move |lua, name: String| {
        if let module @ Value::Table(_) = loaded.get::<Value>(&*name)? {
            return Ok(module);
        }
        let module = load(lua, name.strip_prefix("@std/").unwrap());
        loaded.set(name, &module)?;
        Ok(Value::Table(module))
    });
    lua.globals().set("require", require.unwrap()).unwrap();
    lua
}

fn load(lua: &Lua, name: &str) -> Table {
    let source = std::fs::read_to_string(folder().join(name).with_extension("luau")).unwrap();
    lua.load(source).set_name(format!("={name}")).eval().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(lua: &Lua, file: &str) -> Vec<String> {
    load(lua, file).pairs::<String, Function>().map(|fact| fact.unwrap().0).collect()
}

fn holds(file: &str, fact: &str) -> mlua::Result<()> {
    let lua = machine();
    let new: Function = load(&lua, "tests/world").get("new")?;
    let world: Table = new.call(lua.globals())?;
    load(&lua, file).get::<Function>(fact)?.call::<()>(world)
}

#[test]
fn every_fact_about_the_standard_library_holds() {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder().join("tests")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        // Those that `mcrun test` runs are run by the suite.
        if name == "world" || name.ends_with(".test") {
            continue;
        }
        let file = format!("tests/{name}");
        for fact in names(&machine(), &file) {
            count += 1;
            if let Err(error) = holds(&file, &fact) {
                failures.push(format!("{name}: {fact}: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 30, "only {count} facts were found");
}
