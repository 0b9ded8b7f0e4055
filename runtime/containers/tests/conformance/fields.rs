//! Every field of the spec, changed on the live object one at a time: the comparison names it, an ensure repairs it,
//! and a driver that does not have the field refuses it.

use containers::{Action, Feature, Health, Port, Protocol, Secrets, Spec};
use effect::Code;
use effect::units::{Size, Span};

use crate::bench::{Bench, OTHER_IMAGE, free_port, secrets};

struct Change {
    /// The field that the comparison has to name, and nothing else.
    path: &'static str,
    needs: &'static [Feature],
    make: Box<dyn Fn(&mut Spec)>,
    secrets: Secrets,
}

fn change(path: &'static str, needs: &'static [Feature], make: impl Fn(&mut Spec) + 'static) -> Change {
    Change { path, needs, make: Box::new(make), secrets: Secrets::new() }
}

/// The spec that each change departs from.
fn base(bench: &Bench) -> Spec {
    let mut spec = bench.sleeping("field");
    spec.env.insert("A".to_owned(), "1".to_owned());
    spec.env.insert("GONE".to_owned(), "1".to_owned());
    spec.labels.insert("tier".to_owned(), "web".to_owned());
    spec
}

async fn verify(bench: &Bench, base: &Spec, changes: Vec<Change>) {
    for change in changes {
        let mut changed = base.clone();
        (change.make)(&mut changed);
        if !change.needs.iter().all(|feature| bench.driver.features().contains(feature)) {
            let error = bench.driver.check(&changed).expect_err(change.path);
            assert_eq!(error.code, Code::Unsupported, "{}: {error}", change.path);
            continue;
        }
        bench
            .ensure(&changed, &change.secrets)
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", change.path));
        let left = bench.diff(&changed, &change.secrets).await;
        assert_eq!(left.action, Action::None, "{} does not read back: {left:#?}", change.path);
        let found = bench.differences(base, &Secrets::new()).await;
        assert_eq!(found, [change.path], "what the comparison says of a changed `{}`", change.path);
        bench.ensured(base).await;
        let left = bench.diff(base, &Secrets::new()).await;
        assert_eq!(left.action, Action::None, "{} is not repaired: {left:#?}", change.path);
    }
}

pub(crate) async fn programs_and_environments_changed_by_hand_are_repaired(bench: &Bench) {
    let other = || vec!["/bin/sleep".to_owned(), "2000".to_owned()];
    let mut changes = vec![
        change("env.A", &[], |spec| drop(spec.env.insert("A".to_owned(), "2".to_owned()))),
        change("env.EXTRA", &[], |spec| drop(spec.env.insert("EXTRA".to_owned(), "1".to_owned()))),
        change("env.GONE", &[], |spec| drop(spec.env.remove("GONE"))),
        change("labels.tier", &[], |spec| drop(spec.labels.insert("tier".to_owned(), "db".to_owned()))),
        change("workdir", &[], |spec| spec.workdir = Some("/proc".to_owned())),
    ];
    if bench.is_engine() {
        changes.push(change("cmd", &[], move |spec| spec.cmd = Some(other())));
        // The default arguments of the image are what an omitted `cmd` means.
        changes.push(change("cmd", &[], |spec| spec.cmd = None));
    } else {
        changes.push(change("exec", &[Feature::Exec], move |spec| spec.exec = Some(other())));
        changes.push(change("image", &[Feature::Image], |spec| {
            spec.image = Some(OTHER_IMAGE.to_owned());
            spec.exec = None;
        }));
    }
    verify(bench, &base(bench), changes).await;
    if bench.is_engine() {
        let mut base = base(bench);
        base.entrypoint = Some(vec!["/bin/busybox".to_owned()]);
        base.cmd = Some(vec!["sleep".to_owned(), "1000".to_owned()]);
        let env = |spec: &mut Spec| spec.entrypoint = Some(vec!["/bin/env".to_owned()]);
        verify(bench, &base, vec![change("entrypoint", &[Feature::Entrypoint], env)]).await;
        another_image_is_a_difference(bench).await;
    }
}

/// Its defaults differ too, in one variable.
async fn another_image_is_a_difference(bench: &Bench) {
    let spec = base(bench);
    let changed = Spec { image: Some(OTHER_IMAGE.to_owned()), ..spec.clone() };
    bench.ensured(&changed).await;
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["image", "env.CONTENT"]);
    assert_eq!(bench.ensured(&spec).await.action, Action::Replace);
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
}

pub(crate) async fn mounts_and_secrets_changed_by_hand_are_repaired(bench: &Bench) {
    let dir = bench.dir.path().to_string_lossy().into_owned();
    let volume = bench.name("volume");
    // Native programs get no folders made for them.
    let place = if bench.is_engine() { "/data".to_owned() } else { format!("{dir}/place") };
    std::fs::create_dir(format!("{dir}/place")).unwrap();
    let (elsewhere, same, read_only) =
        (format!("{dir}:{place}"), format!("{dir}:{dir}"), format!("{dir}:{dir}:ro"));
    let named = format!("{volume}:/data");
    let mount = |text: String| move |spec: &mut Spec| spec.volumes = vec![text.clone()];
    let with_secret = |spec: &mut Spec| {
        spec.secrets.insert("TOKEN".to_owned(), effect::Secret::named("token", "tag".to_owned()));
    };
    let changes = vec![
        change("volumes", &[Feature::Volumes], mount(elsewhere)),
        change("volumes", &[Feature::SamePathVolumes], mount(same)),
        change("volumes", &[Feature::SamePathVolumes, Feature::ReadOnlyVolumes], mount(read_only)),
        change("volumes", &[Feature::NamedVolumes], mount(named)),
        Change {
            secrets: secrets(&[("TOKEN", "hunter2")]),
            ..change("secrets.TOKEN", &[Feature::Secrets], with_secret)
        },
    ];
    verify(bench, &base(bench), changes).await;
    if bench.is_engine() {
        bench.engine(&["volume", "rm", "--force", &volume]);
    }
}

pub(crate) async fn networks_and_ports_changed_by_hand_are_repaired(bench: &Bench) {
    let number = free_port();
    let other = free_port();
    let port = Port { host: number, container: number, ..Port::default() };
    let published = |port: Port| move |spec: &mut Spec| spec.ports = vec![port.clone()];
    let network = |name: &'static str| move |spec: &mut Spec| spec.network = Some(name.to_owned());
    let mut changes = vec![
        change("ports", &[Feature::Ports], published(port.clone())),
        change(
            "ports",
            &[Feature::PortMapping],
            published(Port { container: if other == number { 1 } else { other }, ..port.clone() }),
        ),
        change(
            "ports",
            &[Feature::PortAddress],
            published(Port { address: Some("127.0.0.1".to_owned()), ..port.clone() }),
        ),
        change("ports", &[Feature::UdpPorts], published(Port { protocol: Protocol::Both, ..port })),
        change("network", &[Feature::NoNetwork], network("none")),
    ];
    if bench.is_engine() {
        changes.push(change("network", &[Feature::HostNetwork], network("host")));
    } else {
        changes.push(change("network", &[Feature::Network], network("bridge")));
    }
    verify(bench, &base(bench), changes).await;
}

pub(crate) async fn limits_and_privileges_changed_by_hand_are_repaired(bench: &Bench) {
    let changes = vec![
        change("memory", &[Feature::Memory], |spec| spec.memory = Some(Size(64 << 20))),
        change("cpus", &[Feature::Cpus], |spec| spec.cpus = Some(0.5)),
        change("read_only", &[Feature::ReadOnly], |spec| spec.read_only = Some(true)),
        change("user", &[Feature::User], |spec| spec.user = Some("1234:1234".to_owned())),
        change("devices", &[Feature::Devices], |spec| spec.devices = vec!["/dev/null:/dev/other".to_owned()]),
        change("cap_add", &[Feature::CapAdd], |spec| spec.cap_add = vec!["NET_ADMIN".to_owned()]),
    ];
    verify(bench, &base(bench), changes).await;
    let privileged = || change("privileged", &[Feature::Privileged], |spec| spec.privileged = Some(true));
    if bench.can_give_all_privileges() {
        verify(bench, &base(bench), vec![privileged()]).await;
    } else {
        privileges_that_cannot_be_given(bench).await;
    }
}

/// It is made and never starts; that is seen all the same, and repaired.
async fn privileges_that_cannot_be_given(bench: &Bench) {
    let spec = base(bench);
    let privileged = Spec { privileged: Some(true), ..spec.clone() };
    let error = bench.ensure(&privileged, &Secrets::new()).await.unwrap_err();
    assert_eq!(error.code, Code::EngineFailed, "{error:?}");
    assert_eq!(bench.differences(&privileged, &Secrets::new()).await, ["state"]);
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["state", "privileged"]);
    bench.ensured(&spec).await;
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
}

pub(crate) async fn lifecycle_fields_changed_by_hand_are_repaired(bench: &Bench) {
    let changes = vec![
        change("restart", &[], |spec| spec.restart = Some("on-failure:3".parse().unwrap())),
        change("stop_signal", &[], |spec| spec.stop_signal = Some("SIGUSR1".to_owned())),
        change("stop_timeout", &[], |spec| spec.stop_timeout = Some(Span::seconds(1))),
        change("service", &[], |spec| spec.service = Some("other".to_owned())),
        change("health", &[], |spec| {
            spec.health = Some(Health {
                http: Some("/".to_owned()),
                within: Some(Span::seconds(9)),
                ..Health::default()
            });
        }),
    ];
    verify(bench, &base(bench), changes).await;
}
