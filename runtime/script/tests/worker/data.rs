//! Pure functions: what they give, what they refuse, and that no input gets the better of them.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::support::{World, failure, planned, printed};

/// The code, the message and the hint of what an expression raises.
fn refused(expression: &str) -> String {
    let source = format!(
        "local ok, fault = pcall(function() return {expression} end)\nassert(not ok, 'nothing was raised')\n\
         print(`\\{{fault.code}} \\{{fault.message}} (\\{{fault.hint}})`)"
    )
    .replace("\\{", "{");
    printed(&source).pop().unwrap()
}

fn value(expression: &str) -> String {
    printed(&format!("print({expression})")).pop().unwrap()
}

#[track_caller]
fn refuses(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        let said = refused(expression);
        assert!(said.starts_with(expected), "{expression}\n  says     {said}\n  expected {expected}");
    }
}

#[track_caller]
fn gives(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(value(expression), *expected, "{expression}");
    }
}

#[test]
fn every_declared_function_is_reachable_and_every_reachable_one_declared() {
    for function in script::functions::all() {
        assert_eq!(value(&format!("type({})", function.name)), "function", "{}", function.name);
    }
    let families: std::collections::BTreeSet<_> =
        script::functions::all().map(|function| function.parts().0).collect();
    for family in families {
        let count = script::functions::all().filter(|function| function.parts().0 == family).count();
        let source = format!("local n = 0 for _ in {family} do n += 1 end print(n)");
        assert_eq!(printed(&source), [count.to_string()], "{family}");
    }
}

#[test]
fn json_keeps_what_a_lua_value_can_keep() {
    gives(&[
        (
            "json.encode(json.decode([[ {\"b\":[1,2.5,true,\"\\u00e4\"],\"a\":{\"c\":-0.5}} ]]))",
            "{\"a\":{\"c\":-0.5},\"b\":[1,2.5,true,\"ä\"]}",
        ),
        ("json.decode('[9007199254740991]')[1] == 2^53 - 1", "true"),
        ("json.decode('1e300')", "1e+300"),
        ("json.decode('null')", "nil"),
        ("json.decode('{\"a\":null}').a", "nil"),
        ("json.encode(json.decode('[1,null]', { null = 'none' }), { null = 'none' })", "[1,null]"),
        ("json.encode({})", "[]"),
        ("json.encode({ a = {} }, { empty = 'table' })", "{\"a\":{}}"),
        ("json.encode({ b = 1, a = { 1 } }, { pretty = true })", "{\n  \"a\": [\n    1\n  ],\n  \"b\": 1\n}"),
        ("json.encode({ [\"$secret\"] = 1 })", "{\"$secret\":1}"),
        ("json.encode(nil)", "null"),
    ]);
}

#[test]
fn json_that_would_lose_something_is_refused_with_its_place() {
    refuses(&[
        ("json.decode('{\\n  \"a\": 1,\\n  b\\n}')", "MC-D001 json.decode: 3:3: key must be a string"),
        ("json.decode('[1,]')", "MC-D001 json.decode: 1:4: trailing comma"),
        ("json.decode('')", "MC-D001 json.decode: 1:0: EOF while parsing a value"),
        ("json.decode('[1] x')", "MC-D001 json.decode: 1:5: trailing characters"),
        ("json.decode('{\"a\":1,\\n\"a\":2}')", "MC-D001 json.decode: 2:3: the key `a` occurs twice"),
        ("json.decode('{\"a\":null,\"a\":2}')", "MC-D001 json.decode: 1:13: the key `a` occurs twice"),
        ("json.decode('[1, null]')", "MC-D001 json.decode: 1:9: null in a list would leave a hole"),
        ("json.decode('[1,\\n9007199254740992]')", "MC-D001 json.decode: 2:1: the number is not exact"),
        ("json.decode('-12345678901234567890123')", "MC-D001 json.decode: 1:1: the number is not exact"),
        ("json.decode('1e999')", "MC-D001 json.decode: 1:5: number out of range"),
        ("json.decode('\\255')", "MC-D001 json.decode: byte 1 is not UTF-8"),
        ("json.decode(string.rep('[', 70))", "MC-S017 json.decode: 1:65: the value is nested too deeply"),
        ("json.decode(string.rep('[', 100000))", "MC-S017"),
        (
            "json.decode(string.rep(' ', 5 * 2^20))",
            "MC-D002 json.decode: argument `text` is longer than 4194304 bytes",
        ),
        (
            "json.encode({ a = { print } })",
            "MC-S030 json.encode: field `a[1]`: a function cannot leave the script",
        ),
        ("json.encode({ 1, nil, 3 })", "MC-S030"),
        ("json.encode(0/0)", "MC-S030"),
        ("json.encode('\\255')", "MC-S030"),
        ("json.encode({ string.rep('x', 3 * 2^20), string.rep('x', 3 * 2^20) })", "MC-D002"),
        ("(function() local t = {} t.t = t return json.encode(t) end)()", "MC-S030"),
    ]);
}

#[test]
fn toml_keeps_what_a_lua_value_can_keep() {
    gives(&[
        ("toml.decode('a = 1\\n[b]\\nc = [1, 2.5]\\n').b.c[2]", "2.5"),
        ("toml.decode('d = 1979-05-27T07:32:00Z').d", "1979-05-27T07:32:00Z"),
        ("toml.decode('n = 0xff').n + toml.decode('n = 1_000').n", "1255"),
        (
            "toml.encode({ z = 1, a = { b = { { c = 'x' }, { c = 'y' } } }, list = { 1, 2 } })",
            "list = [1, 2]\nz = 1\n\n[[a.b]]\nc = \"x\"\n\n[[a.b]]\nc = \"y\"\n",
        ),
        ("toml.encode({})", ""),
        (
            "toml.encode(toml.decode('[[s]]\\nname = \"a\"\\n[s.x]\\ny = 2\\n'))",
            "[[s]]\nname = \"a\"\n\n[s.x]\ny = 2\n",
        ),
        ("toml.places('[[s]]\\nname = \"a\"\\n  [s.x]\\n  y = [1,\\n 2]\\n')['s[1].x.y[2]']", "5:2"),
        ("toml.places('\"ä\" = 1\\n\"ä.b\".c = 2')['ä.b.c']", "2:7"),
    ]);
}

#[test]
fn toml_that_is_malformed_is_refused_with_its_place() {
    refuses(&[
        ("toml.decode('a = 1\\nb = \\n')", "MC-D001 toml.decode: 2:"),
        ("toml.decode('a = 1\\na = 2\\n')", "MC-D001 toml.decode: 2:1: duplicate key"),
        ("toml.decode('a = [1,\\n 9007199254740992]')", "MC-D001 toml.decode: 2:2: the number is not exact"),
        ("toml.decode('a = 99999999999999999999')", "MC-D001 toml.decode: 1:5:"),
        ("toml.decode('a = ' .. string.rep('[', 5000) .. string.rep(']', 5000))", "MC-D001 toml.decode: 1:"),
        ("toml.decode('a = ' .. string.rep('[', 70) .. string.rep(']', 70))", "MC-S017"),
        (
            "toml.decode(string.rep('#', 2^20 + 1))",
            "MC-D002 toml.decode: the text is longer than 1048576 bytes",
        ),
        ("toml.encode({ 1, 2 })", "MC-S030 toml.encode: a TOML text is a table with named fields"),
        ("toml.encode('x')", "MC-S030 toml.encode: a TOML text is a table"),
    ]);
}

#[test]
fn base64_and_hashes_are_those_of_the_standards() {
    gives(&[
        ("base64.encode('hello')", "aGVsbG8="),
        ("base64.encode('\\255\\254', { url = true })", "__4"),
        ("base64.decode('__4', { url = true }) == '\\255\\254'", "true"),
        ("base64.decode(base64.encode('\\0\\1\\255')) == '\\0\\1\\255'", "true"),
        ("hash.sha256('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("string.sub(hash.sha512('abc'), 1, 16)", "ddaf35a193617aba"),
    ]);
    refuses(&[
        ("base64.decode('aGVsbG8')", "MC-D001 base64.decode: "),
        ("base64.decode('a b=')", "MC-D001 base64.decode: "),
    ]);
}

#[test]
fn versions_compare_by_semver() {
    gives(&[
        ("semver.compare('v1.10.0', '1.9.3')", "1"),
        ("semver.compare('1.0.0-rc.1', '1.0.0')", "-1"),
        ("semver.compare('1.0.0+a', '1.0.0+b')", "0"),
        ("semver.parse('v1.2.3-rc.1+x').pre", "rc.1"),
        ("semver.satisfies('v1.4.0', '>=1.2, <2')", "true"),
        ("semver.satisfies('2.0.0', '^1.2')", "false"),
    ]);
    refuses(&[
        ("semver.parse('1.2')", "MC-D001 semver.parse: `1.2` is not a version"),
        (
            "semver.parse('9007199254740992.0.0')",
            "MC-D001 semver.parse: `9007199254740992.0.0` has a number that is not",
        ),
        ("semver.satisfies('1.2.3', '=>1')", "MC-D001 semver.satisfies: `=>1` is not a range"),
        ("semver.parse(string.rep('1', 300))", "MC-D002"),
    ]);
}

#[test]
fn patterns_find_replace_and_split() {
    gives(&[
        ("regex.is_match([[^v\\d+]], 'v12')", "true"),
        ("regex.find([[(a)|(?<b>b)]], 'xb').names.b", "b"),
        ("regex.find([[(a)|(b)]], 'xb').groups[1] == ''", "true"),
        ("regex.find([[b]], 'abab', 3).first", "4"),
        ("regex.find([[b]], 'abab', 99)", "nil"),
        ("#regex.find_all([[\\d]], 'a1b2c3')", "3"),
        ("regex.replace([[(\\w+)@(\\w+)]], 'u@h', '$2 $$ ${1}')", "h $ u"),
        ("table.concat(regex.split([[,\\s*]], 'a, b,c'), '|')", "a|b|c"),
        ("regex.is_match(regex.escape('a.b'), 'axb')", "false"),
        ("regex.find([[^$]], '').last", "0"),
    ]);
    refuses(&[
        ("regex.is_match('(', '')", "MC-D001 regex.is_match: the pattern is malformed"),
        ("regex.is_match([[(a)\\1]], '')", "MC-D001"),
        ("regex.is_match('a{1000}{1000}', '')", "MC-D002 regex.is_match: the pattern becomes too large"),
        ("regex.is_match(string.rep('a', 5000), '')", "MC-D002"),
        ("regex.is_match(string.rep('(', 60) .. string.rep(')', 60), '')", "MC-D001"),
        ("regex.is_match('a', string.rep('a', 2^20 + 1))", "MC-D002"),
        ("regex.replace('.+', string.rep('a', 2^20), string.rep('$0', 4000))", "MC-D002"),
        ("regex.replace('a', string.rep('a', 2^18), string.rep('b', 100))", "MC-D002"),
        ("regex.find('a', 'a', 0)", "MC-A001 regex.find: argument `from` takes a whole number of at least 1"),
    ]);
}

#[test]
fn arguments_are_checked_against_the_declaration() {
    refuses(&[
        ("json.decode()", "MC-A001 json.decode: argument `text` takes a string, not nothing"),
        ("json.decode(1)", "MC-A001 json.decode: argument `text` takes a string, not a number"),
        ("json.decode('1', 2)", "MC-A001 json.decode: argument `options` takes a table, not a number"),
        (
            "json.encode(1, { prety = true })",
            "MC-A002 json.encode: field `prety` is unknown (did you mean `pretty`?)",
        ),
        (
            "json.encode(1, { pretty = 1 })",
            "MC-A001 json.encode: field `pretty` takes true or false, not a number",
        ),
        (
            "json.encode(1, { empty = 'x' })",
            "MC-A001 json.encode: field `empty` takes one of \"list\", \"table\"",
        ),
        ("hash.sha256('a', 'b')", "MC-A001 hash.sha256: takes one argument, not 2"),
        ("json:decode('1')", "MC-A001 json.decode is called with a colon"),
        ("json.decod('1')", "MC-A003 there is no json.decod (did you mean json.decode?)"),
        ("hash.sha265('1')", "MC-A003 there is no hash.sha265 (did you mean hash.sha256?)"),
    ]);
}

#[test]
fn nobody_can_change_a_family() {
    assert!(failure("json.decode = print").error.message.contains("readonly"));
}

#[test]
fn secrets_never_become_text() {
    for expression in [
        "json.encode({ password = secrets.get('x') })",
        "toml.encode({ password = secrets.get('x') })",
        "base64.encode(secrets.get('x'))",
        "hash.sha256('a' .. secrets.get('x'))",
        "regex.replace('a', 'a', secrets.get('x'))",
        "json.encode({}, { null = secrets.get('x') })",
    ] {
        assert!(refused(expression).starts_with("MC-P011"), "{expression}: {}", refused(expression));
    }
}

#[test]
fn what_is_not_known_yet_ends_the_branchs_plan() {
    for expression in [
        "json.encode(test.act {})",
        "json.encode({ a = { test.act {} } })",
        "json.decode(test.act {})",
        "hash.sha256(test.act {})",
        "json.encode(1, { null = test.act {} })",
    ] {
        let world = World { history: RefCell::new(VecDeque::new()), ..World::default() };
        assert!(planned(&format!("local x = {expression}\nprint(x)"), &world), "{expression}");
        assert_eq!(world.messages(), Vec::<String>::new(), "{expression}");
    }
}
