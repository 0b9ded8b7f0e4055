//! Branches that are cancelled because another one fails, with real effects and a real journal.

use crate::harness::Place;

#[test]
fn what_branches_only_wait_for_is_given_up_and_a_change_under_way_is_not() {
    let place = Place::new();
    let text = format!(
        r#"
        parallel({{ on_failure = "cancel" }}, {{
            sleeper = function() sleep("1h") end,
            asker = function() exec.query {{ argv = {{ "/bin/sleep", "3600" }}, timeout = "2h" }} end,
            worker = function()
                exec.run {{ argv = {{ "/bin/sh", "-c", "until [ -e cancelled ]; do sleep 0.02; done; echo done > worked" }}, cwd = "{0}" }}
                exec.run {{ argv = {{ "/bin/sh", "-c", "echo never > never" }}, cwd = "{0}" }}
            end,
            undoer = function()
                transaction(function()
                    exec.run {{
                        argv = {{ "/bin/sh", "-c", "touch started" }}, cwd = "{0}",
                        undo = function() exec.run {{ argv = {{ "/bin/sh", "-c", "touch cancelled" }}, cwd = "{0}" }} end,
                    }}
                    sleep("1h")
                end)
            end,
            failing = function()
                exec.run {{ argv = {{ "/bin/sh", "-c", "until [ -e started ]; do sleep 0.02; done" }}, cwd = "{0}" }}
                fail("enough")
            end,
        }})
        "#,
        place.path().display()
    );
    let script = place.script("cancel.lua", &text);
    let seen = place.ends(1, &[&script, "--allow", "*"]);
    seen.says(&[
        "branch `failing`: enough",
        "branch `sleeper` was cancelled",
        "branch `asker` was cancelled",
    ]);
    assert_eq!(place.read("worked"), "done\n");
    assert!(!place.path().join("never").exists());
    let shown = place.newest_shown();
    let status = |name: &str| {
        let entries = shown["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["identity"]["name"] == name).unwrap();
        entry["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        [status("sleep"), status("exec.query"), status("exec.run")],
        ["cancelled", "cancelled", "done"]
    );
}
