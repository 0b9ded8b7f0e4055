//! Every field of the spec, changed behind mcrun's back through the engine's own command line, one at a time: the
//! comparison names it, and an ensure repairs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use containers::effects::World;
use containers::{Action, Health, Observed, Secrets, Spec, State, check_ownership, diff};
use effect::Code;
use effect::units::{Size, Span};

use crate::bench::{Bench, IMAGE, OTHER_IMAGE, free_port, secrets};
use crate::undo::Content;

fn base(bench: &Bench) -> Spec {
    let mut spec = bench.running("hand", &["sleep", "1000"]);
    spec.entrypoint = Some(vec!["/bin/busybox".to_owned()]);
    spec.env.insert("A".to_owned(), "1".to_owned());
    spec.env.insert("GONE".to_owned(), "1".to_owned());
    spec.labels.insert("tier".to_owned(), "web".to_owned());
    spec
}

/// What a person types to get exactly the container of [`base`]: options, image, arguments.
#[derive(Clone)]
struct Typed {
    options: Vec<(String, String)>,
    image: String,
    arguments: Vec<String>,
}

impl Typed {
    fn like(spec: &Spec) -> Self {
        let options = [
            ("--name", spec.name.as_str()),
            ("--label=mcrun.managed", "=1"),
            ("--label=mcrun.service", &format!("={}", spec.name)),
            ("--label=tier", "=web"),
            ("--env=A", "=1"),
            ("--env=GONE", "=1"),
            ("--entrypoint", "/bin/busybox"),
            ("--stop-timeout", "0"),
        ];
        Self {
            options: options.map(|(option, value)| (option.to_owned(), value.to_owned())).to_vec(),
            image: IMAGE.to_owned(),
            arguments: ["sleep", "1000"].map(str::to_owned).to_vec(),
        }
    }

    /// The same with an option changed or added.
    fn with(mut self, option: &str, value: &str) -> Self {
        self = self.without(option);
        self.options.push((option.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, option: &str) -> Self {
        self.options.retain(|(known, _)| known != option);
        self
    }

    async fn run(&self, bench: &Bench, name: &str) {
        bench.driver.remove(name, true).await.unwrap();
        let mut words = vec!["run", "--detach"];
        let joined: Vec<String> =
            self.options.iter().map(|(option, value)| format!("{option}{value}")).collect();
        for ((option, value), joined) in self.options.iter().zip(&joined) {
            match value.strip_prefix('=') {
                Some(_) => words.push(joined),
                None if value.is_empty() => words.push(option),
                None => words.extend([option.as_str(), value.as_str()]),
            }
        }
        words.push(&self.image);
        words.extend(self.arguments.iter().map(String::as_str));
        bench.engine(&words);
    }
}

async fn repairs(bench: &Bench, spec: &Spec, typed: &Typed, fields: &[&str]) {
    typed.run(bench, &spec.name).await;
    assert_eq!(bench.differences(spec, &Secrets::new()).await, fields, "typed: {:?}", typed.options);
    if !fields.is_empty() {
        assert_eq!(bench.ensured(spec).await.action, Action::Replace);
        let left = bench.diff(spec, &Secrets::new()).await;
        assert_eq!(left.action, Action::None, "{fields:?} is not repaired: {left:#?}");
    }
}

pub(crate) async fn a_container_typed_like_its_spec_is_right(bench: &Bench) {
    let spec = base(bench);
    repairs(bench, &spec, &Typed::like(&spec), &[]).await;
}

/// Whoever takes a container over has to be able to say what it is.
pub(crate) async fn a_container_of_somebody_else_is_described_as_it_runs(bench: &Bench) {
    let spec = base(bench);
    let typed = Typed::like(&spec).without("--label=mcrun.managed").without("--label=mcrun.service");
    typed.with("--publish", "127.0.0.1::80").run(bench, &spec.name).await;
    let live = bench.inspect(&spec).await.unwrap();
    let world = World::of(bench.driver.clone(), bench.driver.clone(), Arc::new(Content));
    let described = world.describe(&live).await.unwrap();
    let port = described.spec.ports.first().expect("the port that the engine has chosen");
    assert_eq!((port.container, port.address.as_deref()), (80, Some("127.0.0.1")));
    assert!(port.host > 0);
    assert_eq!(described.spec.env.get("A").map(String::as_str), Some("1"));
    let taken = Observed { managed: true, service: Some(spec.name.clone()), ..live };
    let image = bench.image(&described.spec).await;
    let again = Spec { service: Some(spec.name.clone()), ..described.spec };
    let found =
        diff(&again, image.as_ref(), Some(&taken), &BTreeMap::new(), bench.driver.features()).unwrap();
    assert_eq!(found.action, Action::None, "{found:#?}");
}

pub(crate) async fn typed_programs_and_environments_are_repaired(bench: &Bench) {
    let spec = base(bench);
    let typed = Typed::like(&spec);
    let other_arguments = Typed { arguments: ["sleep", "2000"].map(str::to_owned).to_vec(), ..typed.clone() };
    repairs(bench, &spec, &other_arguments, &["cmd"]).await;
    for (option, value, field) in [
        ("--entrypoint", "/bin/env", "entrypoint"),
        ("--env=A", "=2", "env.A"),
        ("--env=EXTRA", "=1", "env.EXTRA"),
        ("--workdir", "/proc", "workdir"),
        ("--label=tier", "=db", "labels.tier"),
        ("--label=more", "=1", "labels.more"),
        ("--label=mcrun.service", "=other", "service"),
    ] {
        repairs(bench, &spec, &typed.clone().with(option, value), &[field]).await;
    }
    repairs(bench, &spec, &typed.clone().without("--env=GONE"), &["env.GONE"]).await;
    repairs(bench, &spec, &typed.clone().without("--label=tier"), &["labels.tier"]).await;
    let other_image = Typed { image: OTHER_IMAGE.to_owned(), ..typed.clone() };
    repairs(bench, &spec, &other_image, &["image", "env.CONTENT"]).await;

    typed.without("--label=mcrun.managed").run(bench, &spec.name).await;
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["managed"]);
    let live = bench.inspect(&spec).await;
    assert_eq!(check_ownership(&spec, live.as_ref()).unwrap_err().code, Code::ForeignContainer);
}

pub(crate) async fn typed_mounts_networks_and_ports_are_repaired(bench: &Bench) {
    let spec = base(bench);
    let typed = Typed::like(&spec);
    let dir = bench.dir.path().to_string_lossy().into_owned();
    let volume = bench.name("typed");
    let port = free_port();
    for (option, value, field) in [
        ("--volume", format!("{dir}:/data"), "volumes"),
        ("--volume", format!("{dir}:{dir}:ro"), "volumes"),
        ("--volume", format!("{volume}:/data"), "volumes"),
        ("--publish", format!("{port}:{port}"), "ports"),
        ("--publish", format!("127.0.0.1:{port}:80"), "ports"),
        ("--publish", format!("{port}:{port}/udp"), "ports"),
        ("--publish", "127.0.0.1::80".to_owned(), "ports"),
        ("--network", "none".to_owned(), "network"),
        ("--network", "host".to_owned(), "network"),
    ] {
        repairs(bench, &spec, &typed.clone().with(option, &value), &[field]).await;
    }
    // The other way round: what the spec asks for was left out.
    let mut full = base(bench);
    full.name.clone_from(&spec.name);
    full.volumes = vec![format!("{dir}:/data")];
    full.network = Some("host".to_owned());
    let with_network = typed.clone().with("--network", "host");
    repairs(bench, &full, &with_network, &["volumes"]).await;
    repairs(bench, &full, &typed.with("--volume", &format!("{dir}:/data")), &["network"]).await;
    bench.driver.remove(&spec.name, true).await.unwrap();
    bench.engine(&["volume", "rm", "--force", &volume]);
}

pub(crate) async fn typed_limits_and_privileges_are_repaired(bench: &Bench) {
    let spec = base(bench);
    let typed = Typed::like(&spec);
    for (option, value, field) in [
        ("--read-only", "", "read_only"),
        ("--user", "1234:1234", "user"),
        ("--device", "/dev/null:/dev/other", "devices"),
        ("--cap-add", "NET_ADMIN", "cap_add"),
    ] {
        repairs(bench, &spec, &typed.clone().with(option, value), &[field]).await;
    }
    if bench.can_give_all_privileges() {
        repairs(bench, &spec, &typed.with("--privileged", ""), &["privileged"]).await;
    }
    let mut limited = base(bench);
    limited.memory = Some(Size(64 << 20));
    limited.cpus = Some(0.5);
    bench.ensured(&limited).await;
    let before = bench.inspect(&limited).await.unwrap().pid;
    bench.engine(&["update", "--memory", "128m", "--memory-swap", "256m", &limited.name]);
    assert_eq!(bench.differences(&limited, &Secrets::new()).await, ["memory"]);
    bench.engine(&["update", "--cpus", "0.75", &limited.name]);
    assert_eq!(bench.differences(&limited, &Secrets::new()).await, ["memory", "cpus"]);
    assert_eq!(bench.ensured(&limited).await.action, Action::Update);
    assert_eq!(bench.diff(&limited, &Secrets::new()).await.action, Action::None);
    assert_eq!(bench.inspect(&limited).await.unwrap().pid, before, "in place");
}

pub(crate) async fn typed_lifecycles_are_repaired(bench: &Bench) {
    let spec = base(bench);
    let typed = Typed::like(&spec);
    for (option, value, field) in [
        ("--restart", "on-failure:3", "restart"),
        ("--restart", "always", "restart"),
        ("--stop-signal", "SIGUSR1", "stop_signal"),
        ("--stop-timeout", "3", "stop_timeout"),
        ("--label=mcrun.health", "={\"http\":\"/\"}", "health"),
    ] {
        let before = typed.clone().with(option, value);
        before.run(bench, &spec.name).await;
        assert_eq!(bench.differences(&spec, &Secrets::new()).await, [field]);
        bench.ensured(&spec).await;
        assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None, "{field} is not repaired");
    }
    let checked =
        Spec { health: Some(Health { tcp: Some(true), port: Some(1), ..Health::default() }), ..spec.clone() };
    typed.run(bench, &spec.name).await;
    assert_eq!(bench.differences(&checked, &Secrets::new()).await, ["health"]);
    let patient = Spec { stop_timeout: Some(Span::seconds(7)), ..spec };
    assert_eq!(bench.differences(&patient, &Secrets::new()).await, ["stop_timeout"]);
}

pub(crate) async fn states_changed_by_hand_are_repaired(bench: &Bench) {
    let spec = base(bench);
    bench.ensured(&spec).await;
    let id = bench.inspect(&spec).await.unwrap().id;
    for command in [&["stop", "--time", "0"][..], &["kill"], &["pause"]] {
        bench.engine(&[command, &[spec.name.as_str()]].concat());
        bench.wait_until(&spec, "down", |live| live.state != State::Running).await;
        assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["state"], "{command:?}");
        assert_eq!(bench.ensured(&spec).await.action, Action::Update);
        let live = bench.inspect(&spec).await.unwrap();
        assert_eq!((live.state, &live.id), (State::Running, &id), "{command:?}");
    }

    bench.engine(&["rm", "--force", &spec.name]);
    assert_eq!(bench.ensured(&spec).await.action, Action::Create);

    let renamed = bench.name("renamed");
    bench.engine(&["rename", &spec.name, &renamed]);
    assert_eq!(bench.inspect(&spec).await, None);
    assert_eq!(bench.ensured(&spec).await.action, Action::Create);
    assert_eq!(bench.driver.inspect(&renamed).await.unwrap().unwrap().state, State::Running, "it stays");
}

pub(crate) async fn networks_joined_and_left_by_hand_are_repaired(bench: &Bench) {
    let spec = base(bench);
    let network = bench.name("joined");
    bench.engine(&["network", "create", &network]);
    bench.ensured(&spec).await;
    bench.engine(&["network", "connect", &network, &spec.name]);
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["network"]);
    bench.ensured(&spec).await;
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);

    let joined = Spec { network: Some(network.clone()), ..spec.clone() };
    bench.ensured(&joined).await;
    bench.engine(&["network", "disconnect", &network, &spec.name]);
    assert_eq!(bench.differences(&joined, &Secrets::new()).await, ["network"]);
    bench.ensured(&joined).await;
    assert_eq!(bench.diff(&joined, &Secrets::new()).await.action, Action::None);
    bench.driver.remove(&spec.name, true).await.unwrap();
    bench.engine(&["network", "rm", &network]);
}

pub(crate) async fn a_secret_that_left_the_memory_is_repaired(bench: &Bench) {
    let mut spec = base(bench);
    spec.secrets.insert("TOKEN".to_owned(), effect::Secret::named("token", "tag".to_owned()));
    let given = secrets(&[("TOKEN", "hunter2")]);
    bench.ensure(&spec, &given).await.unwrap();
    let mounts = ["inspect", "--format", "{{range .Mounts}}{{println .Source}}{{end}}", &spec.name];
    let mounts = bench.engine(&mounts);
    let file = mounts.lines().find(|source| source.ends_with("/TOKEN")).expect("the secret is mounted");
    std::fs::remove_file(Path::new(file)).unwrap();
    assert_eq!(bench.differences(&spec, &given).await, ["secrets.TOKEN"]);
    assert_eq!(bench.ensure(&spec, &given).await.unwrap().action, Action::Replace);
    assert_eq!(bench.inside(&spec, "cat $TOKEN_FILE").await, "hunter2");
}
