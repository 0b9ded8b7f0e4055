//! What becomes of the effects that still run when a run ends, and what it ends with then.

use effect::Code;
use script::{Ended, Interrupt, run};
use tokio::sync::watch;

use crate::ends::limit;
use crate::support::{World, block_on, launch, run_with, start};

/// Runs `source` and asks for `asked` as soon as `ready`.
fn interrupted(
    source: &str,
    world: &World,
    asked: &[Interrupt],
    ready: impl Fn(&World) -> bool,
) -> Ended<String> {
    block_on(async {
        let (ask, interrupt) = watch::channel(Interrupt::None);
        let asking = async {
            while !ready(world) {
                tokio::task::yield_now().await;
            }
            for level in asked {
                ask.send(*level).unwrap();
                tokio::task::yield_now().await;
            }
            std::future::pending().await
        };
        tokio::select! {
            ended = run(start(), launch(source), world, interrupt) => ended,
            ended = asking => ended,
        }
    })
}

fn asked_for(count: usize) -> impl Fn(&World) -> bool {
    move |world| world.requests.borrow().len() == count
}

fn both(a: &str, b: &str) -> String {
    format!("parallel {{ a = function() {a} {{}} end, b = function() {b} {{}} end }}")
}

#[test]
fn an_effect_may_stop_the_run() {
    let ended = run_with(launch("test.stop {} print('not reached')"), &World::default());
    assert!(matches!(ended, Ended::Stopped(reason) if reason == "as asked"));
}

#[test]
fn the_first_stop_is_the_end() {
    let ended = run_with(launch(&both("test.stop", "test.crash")), &World::default());
    assert!(matches!(ended, Ended::Stopped(reason) if reason == "as asked"));
}

#[test]
fn an_interrupt_lets_running_effects_end() {
    let world = World::default();
    let ended = interrupted("test.slow {}", &world, &[Interrupt::Soft], asked_for(1));
    assert!(matches!(ended, Ended::Interrupted), "{ended:?}");
    assert_eq!(world.completed.borrow().len(), 1);
}

#[test]
fn an_interrupt_of_a_run_that_only_waits_parks_it() {
    let world = World::default();
    let source = both("test.hang", "test.hang");
    let ended = interrupted(&source, &world, &[Interrupt::Soft], asked_for(2));
    assert!(matches!(&ended, Ended::Stopped(reason) if reason == "given up"), "{ended:?}");
}

#[test]
fn an_interrupt_of_a_run_that_acts_and_waits_does_not_park_it() {
    let world = World::default();
    let source = both("test.hang", "test.slow");
    let ended = interrupted(&source, &world, &[Interrupt::Soft], asked_for(2));
    assert!(matches!(ended, Ended::Interrupted), "{ended:?}");
    assert_eq!(world.completed.borrow().len(), 1);
}

#[test]
fn a_stop_that_comes_while_others_end_is_the_end() {
    for source in [both("test.hang", "test.crash"), both("test.slow", "test.crash")] {
        let world = World::default();
        let ended = interrupted(&source, &world, &[Interrupt::Soft], asked_for(2));
        assert!(matches!(&ended, Ended::Stopped(reason) if reason == "broken"), "{source}: {ended:?}");
    }
}

#[test]
fn a_hard_interrupt_waits_for_nothing() {
    let world = World::default();
    let source = both("test.hang", "test.stuck");
    let ended = interrupted(&source, &world, &[Interrupt::Soft, Interrupt::Hard], asked_for(2));
    assert!(matches!(ended, Ended::Interrupted), "{ended:?}");
}

#[test]
fn an_interrupt_ends_a_spinning_script() {
    let source = "print('go') while true do end";
    let ended =
        interrupted(source, &World::default(), &[Interrupt::Soft], |world| !world.lines.borrow().is_empty());
    assert!(matches!(ended, Ended::Interrupted), "{ended:?}");
}

#[test]
fn a_limit_does_not_wait_for_effects_that_never_end() {
    assert_eq!(limit("test.stuck {}", &["wall=50ms"]).error.code, Code::LimitWall);
    let spinning = "parallel { a = function() test.stuck {} end, b = function() while true do end end }";
    assert_eq!(limit(spinning, &["exec=100ms"]).error.code, Code::LimitExecution);
}

#[test]
fn effects_that_end_soon_after_a_limit_are_recorded() {
    let mut launch = launch("test.slow {}");
    launch.limits.set("wall=50ms").unwrap();
    let world = World::default();
    let ended = run_with(launch, &world);
    assert!(matches!(&ended, Ended::Limit(hit) if hit.error.code == Code::LimitWall), "{ended:?}");
    assert_eq!(world.completed.borrow().len(), 1);
}

#[test]
fn a_stop_does_not_hide_a_limit() {
    assert_eq!(limit("test.crash {}", &["wall=50ms"]).error.code, Code::LimitWall);
    assert_eq!(limit("test.hang {}", &["wall=50ms"]).error.code, Code::LimitWall);
}

#[test]
fn requests_behind_a_limit_are_not_performed() {
    let world = World::default();
    let mut launch =
        launch("local all = {} for n = 1, 20 do all[n] = function() test.echo {} end end parallel(all)");
    launch.limits.set("effects=10").unwrap();
    let ended = run_with(launch, &world);
    assert!(matches!(&ended, Ended::Limit(hit) if hit.error.code == Code::LimitEffects), "{ended:?}");
    assert!(world.completed.borrow().len() <= 10);
}
