//! Modules: each runs once, may perform effects, and fails with its own place.

use effect::Code;
use script::Ended;

use crate::support::{World, done, launch, run_with};

fn world(modules: &[(&str, &str)]) -> World {
    let modules = modules.iter().map(|(path, source)| ((*path).to_owned(), (*source).to_owned())).collect();
    World { modules, ..World::default() }
}

fn failed(modules: &[(&str, &str)], source: &str) -> script::Failure {
    match run_with(launch(source), &world(modules)) {
        Ended::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_module_runs_once() {
    let world = world(&[
        ("./a", "print('loading') return { n = test.echo { n = 7 }.n }"),
        ("@std/b", "return require('./a')"),
    ]);
    done("print(require('./a').n, require('./a') == require('./a'), require('@std/b').n)", &world);
    assert_eq!(world.messages(), ["loading", "7\ttrue\t7"]);
}

#[test]
fn branches_wait_for_a_module_that_another_loads() {
    let world = world(&[("./slow", "print('loading') test.echo {} return 'value'")]);
    done(
        r#"
        local r = parallel { a = function() return require("./slow") end, b = function() return require("./slow") end }
        print(r.a, r.b)
        "#,
        &world,
    );
    assert_eq!(world.messages(), ["loading", "value\tvalue"]);
}

#[test]
fn a_circle_is_refused() {
    let one = failed(&[("./a", "return require('./b')"), ("./b", "return require('./a')")], "require('./a')");
    assert_eq!(one.error.code, Code::ModuleCycle);
    let across = failed(
        &[("./a", "test.echo {} return require('./b')"), ("./b", "test.echo {} return require('./a')")],
        "parallel { a = function() require('./a') end, b = function() require('./b') end }",
    );
    assert_eq!(across.error.code, Code::ModuleCycle);
}

#[test]
fn a_modules_errors_have_its_place() {
    let syntax = failed(&[("./a", "\nlocal = 1")], "require('./a')");
    assert_eq!((syntax.error.code, syntax.place.file.as_str(), syntax.place.line), (Code::Syntax, "a", 2));
    let raised = failed(&[("./a", "\nerror('no')")], "require('./a')");
    assert_eq!((raised.error.code, raised.place.file.as_str(), raised.place.line), (Code::Uncaught, "a", 2));
    let missing = failed(&[], "\nrequire('./a')");
    assert_eq!((missing.error.code, missing.place.line), (Code::ModuleNotFound, 2));
}

#[test]
fn bytecode_is_never_loaded() {
    let bytecode = failed(&[("./a", "\u{6}\u{3}\u{0}\u{1}")], "require('./a')");
    assert_eq!(bytecode.error.code, Code::Syntax);
}
