//! Workers that are copied from a template: as good as those that are started, and children of the host all the same.

use effect::Code;
use script::{Ended, Interrupt, Launch, Limits, Template, run};
use tokio::sync::watch;

use crate::support::{World, block_on, launch, program};

async fn run_in(template: &Template, launch: Launch, world: &World) -> Ended<String> {
    let (_keep, interrupt) = watch::channel(Interrupt::None);
    run(template.worker().await.unwrap(), launch, world, interrupt).await
}

fn children() -> usize {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    children.split_whitespace().count()
}

#[test]
fn copies_run_scripts_that_know_nothing_of_each_other() {
    block_on(async {
        let template = Template::start(&program()).await.unwrap();
        for round in 1..=3 {
            let world = World::default();
            let source = format!(
                "print(rawget(_G, 'left')) left = {round} print(left, test.echo {{ n = {round} }}.n)"
            );
            let ended = run_in(&template, launch(&source), &world).await;
            assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
            assert_eq!(world.messages(), ["nil".to_owned(), format!("{round}\t{round}")]);
            assert_eq!(world.landlock.get(), Some(true));
        }
        assert_eq!(children(), 1, "the template, and no zombies");
    });
}

#[test]
fn copies_run_beside_each_other() {
    block_on(async {
        let template = Template::start(&program()).await.unwrap();
        let worlds: Vec<World> = (0..10).map(|_| World::default()).collect();
        let runs =
            worlds.iter().map(|world| run_in(&template, launch("for _ = 1, 20 do test.echo {} end"), world));
        for ended in futures_util::future::join_all(runs).await {
            assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
        }
    });
}

#[test]
fn a_copy_is_confined_and_bounded_like_any_worker() {
    block_on(async {
        let template = Template::start(&program()).await.unwrap();
        let limits =
            Limits { exec: std::time::Duration::from_millis(200), memory: 8 << 20, ..Limits::default() };
        let spin = Launch { limits: limits.clone(), ..launch("while true do end") };
        let hungry = Launch {
            limits,
            ..launch("local all = {} while true do table.insert(all, string.rep('x', 1e5) .. #all) end")
        };
        for (launch, code) in [(spin, Code::LimitExecution), (hungry, Code::LimitMemory)] {
            match run_in(&template, launch, &World::default()).await {
                Ended::Limit(hit) => assert_eq!(hit.error.code, code),
                other => panic!("{other:?}"),
            }
        }
        let ended = run_in(&template, launch("print('still here')"), &World::default()).await;
        assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    });
}

#[test]
fn a_copy_that_nobody_uses_is_ended() {
    block_on(async {
        let template = Template::start(&program()).await.unwrap();
        drop(template.worker().await.unwrap());
        assert_eq!(children(), 1, "the template");
    });
}

#[test]
fn how_a_copy_dies_is_known() {
    block_on(async {
        let template = Template::start(&program()).await.unwrap();
        let worker = template.worker().await.unwrap();
        let all = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        let copy = all.split_whitespace().last().unwrap().parse().unwrap();
        let (_keep, interrupt) = watch::channel(Interrupt::None);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(copy).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        match run(worker, launch("test.stuck {}"), &World::default(), interrupt).await {
            Ended::Lost(lost) => assert_eq!(lost.status, "it was killed (signal SIGKILL)"),
            other => panic!("{other:?}"),
        }
    });
}
