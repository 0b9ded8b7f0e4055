//! Effects: where they work, what they carry, how they fail.

use effect::Code;

use crate::support::{World, done, failure, printed};

#[test]
fn an_effect_returns_what_the_host_answers() {
    let lines = printed(
        r#"local r = test.echo { b = { 1, 2.5, "x" }, a = true } print(r.a, r.b[1], r.b[2], r.b[3], #r.b)"#,
    );
    assert_eq!(lines, ["true\t1\t2.5\tx\t3"]);
}

#[test]
fn an_effect_of_a_family_within_a_primitive_is_one_like_any_other() {
    let world = World::default();
    done("test.deep.echo { a = 1 } test.deep.deeper.echo { a = 2 } test.echo { a = 3 }", &world);
    let expected = [
        r##"#1 test.deep.echo {"a":1}"##,
        r##"#2 test.deep.deeper.echo {"a":2}"##,
        r##"#3 test.echo {"a":3}"##,
    ];
    assert_eq!(world.asked(), expected);
    for (source, message, hint) in [
        ("test.deep.ehco {}", "there is no test.deep.ehco", "did you mean test.deep.echo?"),
        ("test.depe.echo {}", "there is no test.depe", "did you mean test.deep?"),
        ("test.deep:echo {}", "test.deep.echo is called with a colon", "write `test.deep.echo` with a dot"),
    ] {
        let error = failure(source).error;
        assert_eq!((error.message.as_str(), error.hint.as_deref()), (message, Some(hint)), "{source}");
    }
    for source in [
        "test.deep.mine = 1",
        "test.deep = nil",
        "test.deep.deeper.echo = print",
        "rawset(test.deep, 'a', 1)",
    ] {
        assert!(failure(source).error.message.contains("readonly"), "{source}");
    }
}

#[test]
fn arguments_are_canonical_json() {
    let world = World::default();
    done(
        r#"
        test.echo { z = 1, a = { y = {}, x = { 1, 2 } }, text = "q\"\n", n = 0.5, big = 2^52, yes = false }
        test.echo()
        test.echo {}
        test.echo "text"
        "#,
        &world,
    );
    let expected = [
        r##"#1 test.echo {"a":{"x":[1,2],"y":[]},"big":4503599627370496,"n":0.5,"text":"q\"\n","yes":false,"z":1}"##,
        "#2 test.echo {}",
        "#3 test.echo {}",
        "#4 test.echo \"text\"",
    ];
    assert_eq!(world.asked(), expected);
}

#[test]
fn an_effect_knows_its_line() {
    let world = World::default();
    done("\n\nlocal function f()\n  return test.echo {}\nend\nf()", &world);
    let place = world.requests.borrow()[0].place.clone();
    assert_eq!((place.file.as_str(), place.line), ("test.luau", 4));
}

#[test]
fn a_failed_effect_raises_its_error() {
    let lines = printed(
        r#"
        local ok, e = pcall(test.fail, {})
        print(ok, e.code, e.message, e.cause, e.hint, e.retryable, tostring(e))
        local ok, e = pcall(function() return test.fail {} end)
        print(ok, e.code)
        "#,
    );
    let expected = [
        "false\tMC-C002\tit went wrong\tthe cause\tthe hint\tfalse\tMC-C002: it went wrong",
        "false\tMC-C002",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_uncaught_error_has_place_and_stack() {
    let failed = failure("local function inner()\n  test.fail {}\nend\ninner()");
    assert_eq!(failed.error.code, Code::EngineFailed);
    assert_eq!(failed.error.cause.as_deref(), Some("the cause"));
    assert_eq!(failed.place.line, 2);
    let stack: Vec<_> =
        failed.stack.iter().map(|frame| (frame.place.line, frame.function.as_deref())).collect();
    assert_eq!(stack, [(2, Some("inner")), (4, None)]);
}

#[test]
fn effects_work_in_every_place_that_can_wait() {
    let lines = printed(
        r#"
        print(select(2, pcall(function() return test.echo { n = 1 }.n end)))
        print(select(2, xpcall(function() return test.echo { n = 2 }.n end, tostring)))
        print(select(2, pcall(pcall, function() return test.echo { n = 3 }.n end)))
        local function each()
            local i = 0
            return function() i += 1; if i <= 2 then return test.echo { n = i }.n end end
        end
        for n in each() do print("iterated", n) end
        local callable = setmetatable({}, { __call = function(_, n) return test.echo { n = n }.n end })
        print("called", callable(4))
        "#,
    );
    assert_eq!(lines, ["1", "2", "true\t3", "iterated\t1", "iterated\t2", "called\t4"]);
}

#[test]
fn effects_are_refused_where_nothing_can_wait() {
    let places = [
        "table.sort({ 2, 1 }, function(a, b) test.echo {} return a < b end)",
        "string.gsub('x', 'x', function() test.echo {} end)",
        "local t = setmetatable({}, { __index = function() return test.echo {} end }) local _ = t.x",
        "local t = setmetatable({}, { __newindex = function() test.echo {} end }) t.x = 1",
        "local t = setmetatable({}, { __add = function() return test.echo {} end }) local _ = t + 1",
        "local t = setmetatable({}, { __tostring = function() test.echo {} return '' end }) tostring(t)",
        "local t = setmetatable({}, { __iter = function() test.echo {} return next, {} end }) for _ in t do end",
        "table.sort({ 2, 1 }, coroutine.wrap(function() test.echo {} end))",
        "table.sort({ 2, 1 }, function() parallel { a = function() test.echo {} end } return true end)",
    ];
    for place in places {
        let failed = failure(place);
        assert_eq!(failed.error.code, Code::EffectPlace, "{place}: {:?}", failed.error);
        assert!(failed.error.hint.is_some() || place.contains("parallel"), "{place}");
    }
}

#[test]
fn an_effect_in_an_error_handler_is_refused() {
    let lines = printed(
        r#"
        local code
        xpcall(error, function() local _, e = pcall(test.echo, {}) code = e.code end, "x")
        print(code)
        "#,
    );
    assert_eq!(lines, ["MC-S004"]);
}

#[test]
fn values_that_are_not_plain_data_are_refused_by_field() {
    let cases = [
        ("{ a = { print } }", "field `a[1]`: a function cannot leave the script"),
        ("{ a = { b = coroutine.create(print) } }", "field `a.b`: a thread cannot leave the script"),
        ("{ n = 0/0 }", "field `n`: NaN cannot leave the script"),
        ("{ n = math.huge }", "field `n`: inf cannot leave the script"),
        (
            "{ t = { 1, x = 2 } }",
            "field `t`: a table with both a list and named fields, or with holes, cannot leave",
        ),
        ("{ t = { [1] = 1, [5] = 5 } }", "cannot leave the script"),
        ("{ t = { [true] = 1 } }", "field `t`: a key that is not a string"),
        ("{ t = '\\xff' }", "field `t`: a string that is not UTF-8"),
        ("{ ['$secret'] = 'mcq/db' }", "field `$secret`: the name is reserved"),
        ("(function() local t = {} t.t = t return t end)()", "field `t`: a table that contains itself"),
    ];
    for (argument, message) in cases {
        let failed = failure(&format!("test.echo({argument})"));
        assert_eq!(failed.error.code, Code::BadValue, "{argument}");
        assert!(failed.error.message.contains(message), "{argument}: {}", failed.error.message);
    }
}

#[test]
fn deep_and_large_arguments_pass_limits() {
    let deep = failure("local t = {} for _ = 1, 100 do t = { t } end test.echo { t = t }");
    assert_eq!(deep.error.code, Code::LimitDepth);
    let large = failure("test.echo { t = string.rep('x', 5000000) }");
    assert_eq!(large.error.code, Code::LimitArgument);
    let bomb = failure("local t = { 1 } for _ = 1, 40 do t = { t, t } end test.echo { t = t }");
    assert_eq!(bomb.error.code, Code::LimitArgument);
}

#[test]
fn a_misspelt_effect_is_suggested() {
    let failed = failure("test.ehco {}");
    assert_eq!(failed.error.code, Code::UnknownEffect);
    assert_eq!(failed.error.hint.as_deref(), Some("did you mean test.echo?"));
    let colon = failure("test:echo {}");
    assert_eq!(colon.error.code, Code::Argument);
}

#[test]
fn primitives_cannot_be_changed() {
    for change in ["test.echo = print", "test.new = 1", "setmetatable(test, {})", "rawset(test, 'x', 1)"] {
        assert_eq!(failure(change).error.code, Code::Uncaught, "{change}");
    }
}

#[test]
fn nothing_in_a_result_is_null_twice() {
    let lines = printed(
        r#"
        local r = test.json { text = '{"a":null,"b":[1,null,3],"c":{},"d":"\\u00e9"}' }
        print(r.a, r.b[1], r.b[3], next(r.c), r.d)
        "#,
    );
    assert_eq!(lines, ["nil\t1\t3\tnil\té"]);
}

#[test]
fn an_effect_in_an_error_handler_says_where_to_move_it() {
    let lines = printed(
        r#"
        local ok, e = xpcall(function() error("first") end, function() return test.echo {} end)
        print(ok, e.code, e.effect, e.hint)
        print(xpcall(function() error("first") end, function(e) error(`again: {e}`, 0) end))
        print(xpcall(function() error("first", 0) end, function(e) return e, "more" end))
        "#,
    );
    let hint = "perform it before, keep its result in a local and use that here";
    let expected = [
        format!("false\tMC-S004\ttest.echo\t{hint}"),
        "false\tagain: test.luau:4: first".to_owned(),
        "false\tfirst".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_name_that_nobody_gave_is_an_error_with_the_nearest_one() {
    let cases = [
        ("slep('1s')", "there is no global `slep`", "did you mean `sleep`?"),
        ("tset.echo {}", "there is no global `tset`", "did you mean `test`?"),
        (
            "if undefined then print(1) end",
            "there is no global `undefined`",
            "`local undefined = …` declares",
        ),
        ("test.ehco {}", "there is no test.ehco", "did you mean test.echo?"),
        ("log.inof('x')", "there is no log.inof", "did you mean log.info?"),
        ("string.fnd('a', 'b')", "there is no string.fnd", "did you mean string.find?"),
        ("print(('a'):uper())", "there is no string.uper", "did you mean string.upper?"),
    ];
    for (script, message, hint) in cases {
        let failed = failure(&format!("\n{script}"));
        assert_eq!((failed.error.code, failed.place.line), (Code::UnknownEffect, 2), "{script}: {failed:?}");
        assert_eq!(failed.error.message, message);
        assert!(failed.error.hint.as_deref().unwrap_or_default().starts_with(hint), "{failed:?}");
    }
}

#[test]
fn a_global_of_the_script_can_be_set_and_looked_for() {
    let lines = printed("counter = 1 print(counter, _G.counter, rawget(_G, 'other'), rawget(_G, 'print'))");
    assert_eq!(lines, ["1\t1\tnil\tnil"]);
}
