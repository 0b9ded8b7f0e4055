//! Checkpoints: a finished one is folded away, and a resumed run goes on behind it as if it had just been there.

use crate::harness::Place;

/// Each effect within leaves a line in `ledger`, and the run pauses behind the checkpoint.
fn script(place: &Place) -> String {
    let text = format!(
        r#"
        local branches = {{
            loop = function()
                return checkpoint("count", function()
                    local sum = 0
                    for n = 1, 20 do
                        exec.run {{ argv = {{ "/bin/sh", "-c", `echo {{n}} {{random(1000)}} >> ledger` }}, cwd = "{0}" }}
                        sum += n
                    end
                    files.write {{ path = "{0}/kept", content = "within" }}
                    return {{ sum = sum, list = {{ 1, 2 }} }}
                end)
            end,
            beside = function()
                for n = 1, 20 do
                    exec.run {{ argv = {{ "/bin/sh", "-c", "echo beside >> ledger" }}, cwd = "{0}" }}
                end
                return "done"
            end,
        }}
        if args[1] == "alone" then branches.beside = nil end
        local result = parallel(branches)
        log.info("counted", {{ sum = result.loop.sum, second = result.loop.list[2], chance = random(1000000) }})
        pause {{ reason = "look" }}
        print("behind", result.loop.sum, random(1000000))
        "#,
        place.path().display()
    );
    place.script("loop.lua", &text)
}

fn is_folded_and_goes_on(arguments: &[&str], lines: usize) {
    let place = Place::new();
    let script = script(&place);
    let mut words = vec![script.as_str(), "--allow", "*"];
    words.extend(arguments);
    place.ends(6, &words);
    let ledger = place.read("ledger");
    assert_eq!(ledger.lines().count(), lines, "{ledger}");
    let before = place.ends(0, &["logs", &place.newest_id()]).stdout;
    assert!(place.ends(0, &["resume", &place.newest_id()]).stdout.starts_with("behind\t210\t"));
    assert_eq!(place.read("ledger"), ledger, "nothing is done again");
    let after = place.ends(0, &["logs", &place.newest_id()]).stdout;
    assert!(after.starts_with(&before) && after.contains("behind"), "{before}\n{after}");
    let shown = place.ends(0, &["show", &place.newest_id()]).stdout;
    assert_eq!(shown.matches("exec.run").count(), lines, "{shown}");

    // What was done within can still be taken back.
    assert!(place.path().join("kept").exists());
    place.ends(0, &["undo", &place.newest_id(), "--yes"]).says(&["exec.run cannot be undone"]);
    assert!(!place.path().join("kept").exists());
}

#[test]
fn a_finished_checkpoint_is_not_replayed() {
    is_folded_and_goes_on(&["alone"], 20);
}

#[test]
fn a_checkpoint_beside_other_branches_is_not_replayed() {
    is_folded_and_goes_on(&[], 40);
}

#[test]
fn a_checkpoint_that_was_cut_is_replayed_from_what_it_had_done() {
    let place = Place::new();
    let text = format!(
        r#"
        local value = checkpoint("loop", function()
            for n = 1, 3 do
                exec.run {{ argv = {{ "/bin/sh", "-c", `echo {{n}} >> ledger` }}, cwd = "{}" }}
                if n == 2 then pause {{ reason = "within" }} end
            end
            return nil
        end)
        print("value", value)
        "#,
        place.path().display()
    );
    let script = place.script("cut.lua", &text);
    place.ends(6, &[&script, "--allow", "*"]);
    assert_eq!(place.ends(0, &["resume", &place.newest_id()]).stdout, "value\tnil\n");
    assert_eq!(place.read("ledger"), "1\n2\n3\n");
}

#[test]
fn a_plan_goes_through_a_checkpoint() {
    let place = Place::new();
    let script = script(&place);
    let plan = place.json(&["plan", &script, "--allow", "*", "--json", "alone"]);
    let steps: Vec<&str> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["identity"]["name"].as_str())
        .collect();
    assert_eq!(steps.iter().filter(|name| **name == "exec.run").count(), 20, "{steps:?}");
}

#[test]
fn what_a_checkpoint_cannot_hold_is_refused() {
    let place = Place::new();
    let cases = [
        ("checkpoint(\"a\", function() return print end)", "MC-S030"),
        ("checkpoint(\"a\", function() on_failure(print) end)", "register it before"),
        ("transaction(function() checkpoint(\"a\", function() end) end)", "put the transaction into"),
        ("checkpoint(\"a/b\", function() end)", "MC-A001"),
        ("runs.fold { opened = 1 }", "no checkpoint was opened"),
        ("step(\"x\", function() runs.fold { opened = 7 } end)", "no checkpoint was opened"),
    ];
    for (text, said) in cases {
        let script = place.script("refused.lua", text);
        place.ends(1, &[&script]).says(&[said]);
    }
}
