//! Deploy, see it before, run it again.

use crate::harness::Place;

#[test]
fn nothing_is_granted_by_default() {
    let place = Place::new();
    let script = place.script("a.lua", "exec.run { argv = { \"/bin/true\" } }\n");
    let seen = place.run(&[script.to_str().unwrap()]);
    assert_eq!(seen.code, Some(4), "{seen:?}");
    assert!(seen.stderr.contains("--allow exec:write:"), "{seen:?}");
}
