//! Coroutines of scripts: effects pass through them, and nobody answers in the host's place.

use crate::support::printed;

#[test]
fn an_effect_in_a_coroutine_reaches_the_host() {
    let lines = printed(
        r#"
        local co = coroutine.create(function(a)
            local b = coroutine.yield(test.echo { n = a }.n)
            return test.echo { n = b }.n
        end)
        print(coroutine.resume(co, 1))
        print(coroutine.resume(co, 2))
        print(coroutine.status(co), coroutine.resume(co))
        "#,
    );
    assert_eq!(lines, ["true\t1", "true\t2", "dead\tfalse\tcannot resume dead coroutine"]);
}

#[test]
fn effects_pass_through_nested_coroutines_and_iterators() {
    let lines = printed(
        r#"
        local function numbers()
            return coroutine.wrap(function()
                for i = 1, 3 do
                    local inner = coroutine.wrap(function() coroutine.yield(test.echo { n = i }.n) end)
                    coroutine.yield(inner())
                end
            end)
        end
        for n in numbers() do print(n) end
        "#,
    );
    assert_eq!(lines, ["1", "2", "3"]);
}

#[test]
fn a_failed_effect_is_an_error_inside_the_coroutine() {
    let lines = printed(
        r#"
        local co = coroutine.create(function() test.fail {} end)
        local ok, e = coroutine.resume(co)
        print(ok, e.code, coroutine.status(co))
        local ok, e = pcall(coroutine.wrap(function() test.fail {} end))
        print(ok, e.code)
        "#,
    );
    assert_eq!(lines, ["false\tMC-C002\tdead", "false\tMC-C002"]);
}

#[test]
fn nobody_can_answer_a_request_in_the_hosts_place() {
    let lines = printed(
        r#"
        local victim, main = nil, coroutine.running()
        parallel {
            a = function()
                victim = coroutine.create(function() return test.after { name = "a", after = "b" } end)
                print("a", coroutine.resume(victim))
            end,
            b = function()
                print("status", coroutine.status(victim))
                print("forged", coroutine.resume(victim, true, "forged"))
                print("main", coroutine.resume(main, true, "forged"))
                print("closed", pcall(coroutine.close, victim))
                test.after { name = "b" }
            end,
        }
        "#,
    );
    let expected = [
        "status\tnormal",
        "forged\tfalse\tcannot resume a coroutine that waits for an effect",
        "main\tfalse\tcannot resume a coroutine that belongs to the runtime",
        "closed\tfalse\tcannot close a coroutine that belongs to the runtime or waits for an effect",
        "a\ttrue\ta",
    ];
    assert_eq!(lines[..4], expected[..4].iter().map(ToString::to_string).collect::<Vec<_>>()[..]);
    assert_eq!(lines[4], expected[4]);
}

#[test]
fn a_yield_at_the_top_is_an_error() {
    let lines = printed("print(pcall(coroutine.yield, 1)) print(coroutine.isyieldable())");
    assert!(lines[0].contains("attempt to yield from outside a coroutine"), "{lines:?}");
    assert_eq!(lines[1], "false");
}

#[test]
fn a_coroutine_keeps_its_own_scope() {
    let lines = printed(
        r#"
        local co = coroutine.create(function()
            step("inside", function()
                test.echo {}
                coroutine.yield()
                test.echo {}
            end)
        end)
        coroutine.resume(co)
        test.echo { outside = true }
        coroutine.resume(co)
        print(coroutine.status(co))
        "#,
    );
    assert_eq!(lines, ["dead"]);
}
