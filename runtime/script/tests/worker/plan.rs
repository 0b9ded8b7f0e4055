//! Plans: values that nobody can know yet end the plan of the branch that touches them, and of no other.

use crate::support::{World, planned};

#[test]
fn touching_an_unknown_value_ends_the_plan_of_its_branch() {
    let touches = [
        "local _ = r.code",
        "r.code = 1",
        "local _ = r .. 'x'",
        "local _ = r + 1",
        "local _ = #r",
        "local _ = -r",
        "r()",
        "for _ in r do end",
        "local _ = r < r",
        "tostring(r)",
        "local _ = `{r}`",
        "test.echo { x = r }",
        "test.echo(r)",
        "pairs(r)",
        "next(r)",
        "rawget(r, 'x')",
        "ipairs(r)",
        "table.concat(r)",
        "table.clone(r)",
    ];
    for touch in touches {
        let world = World::default();
        let source =
            format!("test.echo {{}}\nlocal r = test.act {{}}\n{touch}\ntest.echo {{ after = true }}");
        assert!(planned(&source, &world), "{touch}");
        let ends = world.plan_ends.borrow();
        assert_eq!(ends.len(), 1, "{touch}");
        assert_eq!((ends[0].note.as_str(), ends[0].place.line), ("the result of test.act", 3), "{touch}");
        assert_eq!(world.asked().len(), 2, "{touch}");
    }
}

#[test]
fn a_field_that_is_unknown_ends_the_plan_only_when_it_is_touched() {
    let world = World::default();
    let source = r#"
        local r = test.json { text = '{"changed":true,"after":{"name":"x","$unknown":["ip"]},"id":{"$sealed":"its id"}}' }
        print(r.changed, r.after.name)
        test.echo { name = r.after.name }
        local ip = r.after.ip
        test.echo { ip = ip }
    "#;
    assert!(planned(source, &world));
    assert_eq!(world.messages(), ["true\tx"]);
    assert_eq!(world.plan_ends.borrow()[0].note, "`ip` is not known yet");
    assert_eq!(world.asked().len(), 2);
    for touch in ["r.id", "r.x", "pairs(r)", "#r", "next(r)", "rawget(r, 'id')", "test.echo(r)"] {
        let world = World::default();
        let source = format!(
            "local r = test.json {{ text = '{{\"a\":1,\"id\":{{\"$sealed\":\"its id\"}}}}' }} local _ = {touch}"
        );
        let ended = planned(&source, &world);
        assert_eq!(ended, touch != "r.x", "{touch}");
    }
}

#[test]
fn later_effects_stay_refused_although_the_error_is_caught() {
    let world = World::default();
    let source = r#"
        local r = test.act {}
        print(pcall(function() return r.code end))
        local ok, e = pcall(test.echo, {})
        print(ok, e.code)
        retry({ times = 3 }, function() test.echo {} end)
    "#;
    assert!(planned(source, &world));
    assert_eq!(world.asked().len(), 1);
    assert_eq!(world.plan_ends.borrow().len(), 1);
    assert_eq!(world.messages()[1], "false\tMC-S032");
}

#[test]
fn other_branches_go_on_and_so_does_the_parent() {
    let world = World::default();
    let source = r#"
        local r = parallel {
            a = function() return test.act {}.code end,
            b = function() test.echo { b = 1 } return "known" end,
        }
        print(r.b)
        test.echo { after = 1 }
        print(r.a)
        test.echo { never = 1 }
    "#;
    assert!(planned(source, &world));
    assert_eq!(world.messages(), ["known"]);
    assert_eq!(world.asked().len(), 3, "{:?}", world.asked());
    assert_eq!(world.plan_ends.borrow().len(), 2);
}

#[test]
fn a_plan_without_unknown_values_is_whole() {
    let world = World::default();
    assert!(!planned("local r = test.act {} print(r) test.echo {}", &world));
    assert_eq!(world.messages(), ["(not known yet)"]);
}
