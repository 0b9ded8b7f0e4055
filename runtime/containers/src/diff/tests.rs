use effect::units::{Size, Span};
use serde_json::json;

use super::*;
use crate::observed::State;
use crate::spec::{Health, Port, Protocol, Restart};

fn image() -> ImageDefaults {
    ImageDefaults {
        id: "sha256:aaaa".to_owned(),
        entrypoint: vec!["/bin/app".to_owned()],
        cmd: vec!["serve".to_owned()],
        env: BTreeMap::from([("LOG_LEVEL".to_owned(), "debug".to_owned())]),
        labels: BTreeMap::from([("vendor".to_owned(), "acme".to_owned())]),
        user: "1000".to_owned(),
        workdir: "/srv".to_owned(),
        stop_signal: Some("2".to_owned()),
        volumes: vec!["/cache".to_owned()],
        ..ImageDefaults::default()
    }
}

/// What an engine shows for a container of nothing but a name and an image.
fn live() -> Observed {
    let env = [
        ("PATH", "/bin"),
        ("TERM", "xterm"),
        ("container", "podman"),
        ("HOSTNAME", "x"),
        ("LOG_LEVEL", "debug"),
    ];
    Observed {
        name: "web".to_owned(),
        driver: "podman".to_owned(),
        id: "1".to_owned(),
        state: State::Running,
        exit_code: None,
        pid: Some(1),
        started_at: None,
        restarts: 0,
        managed: true,
        adopted: false,
        service: Some("web".to_owned()),
        image: Some("localhost/app:v1".to_owned()),
        image_id: Some("aaaa".to_owned()),
        native: false,
        argv: vec!["/bin/app".to_owned(), "serve".to_owned()],
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        secrets: BTreeMap::new(),
        origins: BTreeMap::new(),
        volumes: vec!["0123abc:/cache".to_owned()],
        ports: Vec::new(),
        network: "bridge".to_owned(),
        user: "1000".to_owned(),
        restart: Restart::default(),
        labels: BTreeMap::from([("vendor".to_owned(), "acme".to_owned())]),
        cpus: None,
        memory: None,
        health: None,
        stop_signal: "SIGINT".to_owned(),
        stop_timeout: Span::seconds(10),
        read_only: false,
        workdir: "/srv".to_owned(),
        privileged: false,
        devices: Vec::new(),
        cap_add: Vec::new(),
        capabilities: vec!["CHOWN".to_owned()],
    }
}

fn spec() -> Spec {
    Spec { name: "web".to_owned(), image: Some("app:v1".to_owned()), ..Spec::default() }
}

fn compare(spec: &Spec, observed: &Observed) -> Diff {
    let features = [Feature::UpdateMemory, Feature::UpdateCpus, Feature::LiftLimits];
    diff(spec, Some(&image()), Some(observed), &BTreeMap::new(), &features).unwrap()
}

fn paths(diff: &Diff) -> Vec<&str> {
    diff.fields.iter().map(|field| field.path.as_str()).collect()
}

#[test]
fn omitted_fields_mean_what_the_image_says() {
    let diff = compare(&spec(), &live());
    assert_eq!((diff.action, paths(&diff)), (Action::None, vec![]));
}

#[test]
fn every_field_changed_alone_is_one_difference_of_that_name() {
    type Change = fn(&mut Observed);
    let changes: Vec<(&str, Action, Change)> = vec![
        ("state", Action::Update, |live| live.state = State::Exited),
        ("managed", Action::Replace, |live| live.managed = false),
        ("service", Action::Replace, |live| live.service = None),
        ("image", Action::Replace, |live| live.image_id = Some("bbbb".to_owned())),
        ("cmd", Action::Replace, |live| live.argv[1] = "other".to_owned()),
        ("entrypoint", Action::Replace, |live| live.argv[0] = "/bin/sh".to_owned()),
        ("env.LOG_LEVEL", Action::Replace, |live| drop(live.env.insert("LOG_LEVEL".into(), "info".into()))),
        ("env.EXTRA", Action::Replace, |live| drop(live.env.insert("EXTRA".into(), "1".into()))),
        ("secrets.DB", Action::Replace, |live| drop(live.secrets.insert("DB".into(), "tag".into()))),
        ("labels.vendor", Action::Replace, |live| drop(live.labels.remove("vendor"))),
        ("labels.extra", Action::Replace, |live| drop(live.labels.insert("extra".into(), "1".into()))),
        ("volumes", Action::Replace, |live| live.volumes.push("/a:/b".to_owned())),
        ("ports", Action::Replace, |live| {
            live.ports.push(Port { host: 80, container: 80, ..Port::default() });
        }),
        ("network", Action::Replace, |live| live.network = "host".to_owned()),
        ("user", Action::Replace, |live| live.user = String::new()),
        ("restart", Action::Replace, |live| live.restart = "always".parse().unwrap()),
        ("cpus", Action::Update, |live| live.cpus = Some(0.5)),
        ("memory", Action::Update, |live| live.memory = Some(Size(64 << 20))),
        ("health", Action::Replace, |live| {
            live.health = Some(Health { tcp: Some(true), ..Health::default() });
        }),
        ("stop_signal", Action::Replace, |live| live.stop_signal = "SIGTERM".to_owned()),
        ("stop_timeout", Action::Replace, |live| live.stop_timeout = Span::seconds(1)),
        ("read_only", Action::Replace, |live| live.read_only = true),
        ("workdir", Action::Replace, |live| live.workdir = "/".to_owned()),
        ("privileged", Action::Replace, |live| live.privileged = true),
        ("devices", Action::Replace, |live| live.devices.push("/dev/fuse".to_owned())),
        ("cap_add", Action::Replace, |live| live.cap_add.push("NET_ADMIN".to_owned())),
    ];
    for (path, action, change) in changes {
        let mut observed = live();
        change(&mut observed);
        let diff = compare(&spec(), &observed);
        assert_eq!((paths(&diff), diff.action), (vec![path], action), "{path}");
    }
}

#[test]
fn a_container_that_is_missing_lists_every_field_given() {
    let mut spec = spec();
    spec.env.insert("A".to_owned(), "1".to_owned());
    spec.memory = Some(Size(64 << 20));
    let diff = diff(&spec, Some(&image()), None, &BTreeMap::new(), &[]).unwrap();
    assert_eq!((diff.action, paths(&diff)), (Action::Create, vec!["image", "env.A", "memory"]));
    assert!(diff.fields[1].secret);
}

#[test]
fn environment_values_are_marked_as_secret() {
    let mut observed = live();
    observed.env.insert("TOKEN".to_owned(), "hunter2".to_owned());
    let diff = compare(&spec(), &observed);
    assert!(diff.fields[0].secret);
    assert_eq!((&diff.fields[0].before, &diff.fields[0].after), (&Some(json!("hunter2")), &None));
}

#[test]
fn a_variable_that_engines_add_counts_only_when_it_is_named() {
    let mut spec = spec();
    assert_eq!(compare(&spec, &live()).action, Action::None);
    spec.env.insert("PATH".to_owned(), "/opt/bin".to_owned());
    assert_eq!(paths(&compare(&spec, &live())), ["env.PATH"]);
}

#[test]
fn the_path_variable_of_a_secret_is_not_a_difference_of_its_own() {
    let mut spec = spec();
    spec.secrets.insert("DB".to_owned(), effect::Secret::named("db", "tag".to_owned()));
    let mut observed = live();
    observed.env.insert("DB_FILE".to_owned(), "/run/secrets/DB".to_owned());
    observed.secrets.insert("DB".to_owned(), "tag".to_owned());
    let tags = BTreeMap::from([("DB".to_owned(), "tag".to_owned())]);
    assert_eq!(diff(&spec, Some(&image()), Some(&observed), &tags, &[]).unwrap().action, Action::None);
    let tags = BTreeMap::from([("DB".to_owned(), "newer".to_owned())]);
    assert_eq!(paths(&diff(&spec, Some(&image()), Some(&observed), &tags, &[]).unwrap()), ["secrets.DB"]);
}

#[test]
fn a_new_entry_point_drops_the_arguments_of_the_image() {
    let mut spec = spec();
    spec.entrypoint = Some(vec!["/bin/sh".to_owned()]);
    let mut observed = live();
    observed.argv = vec!["/bin/sh".to_owned()];
    assert_eq!(compare(&spec, &observed).action, Action::None);
}

#[test]
fn equal_ways_of_writing_are_no_difference() {
    let mut spec = spec();
    spec.stop_signal = Some("INT".to_owned());
    spec.workdir = Some("/srv/".to_owned());
    spec.user = Some("0".to_owned());
    spec.cap_add = vec!["cap_net_admin".to_owned(), "NET_ADMIN".to_owned()];
    spec.devices = vec!["/dev/fuse:/dev/fuse".to_owned()];
    spec.ports =
        vec![Port { host: 53, container: 53, address: Some("0.0.0.0".to_owned()), protocol: Protocol::Both }];
    let mut observed = live();
    observed.user = "root".to_owned();
    spec.cap_add.push("CHOWN".to_owned());
    observed.cap_add = vec!["NET_ADMIN".to_owned()];
    observed.capabilities.push("NET_ADMIN".to_owned());
    observed.devices = vec!["/dev/fuse".to_owned()];
    observed.ports = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| Port { host: 53, container: 53, address: None, protocol })
        .to_vec();
    assert_eq!(paths(&compare(&spec, &observed)), Vec::<&str>::new());
}

#[test]
fn a_label_changes_in_place_where_the_driver_can() {
    let mut observed = live();
    observed.labels.clear();
    let diff =
        diff(&spec(), Some(&image()), Some(&observed), &BTreeMap::new(), &[Feature::UpdateLabels]).unwrap();
    assert_eq!(diff.action, Action::Update);
}

#[test]
fn a_foreign_container_is_refused_unless_adopted() {
    let mut observed = live();
    observed.managed = false;
    let mut spec = spec();
    assert_eq!(check_ownership(&spec, Some(&observed)).unwrap_err().code, Code::ForeignContainer);
    spec.adopt = true;
    check_ownership(&spec, Some(&observed)).unwrap();
    check_ownership(&spec, None).unwrap();
}

#[test]
fn a_limit_is_lifted_in_place_only_where_the_driver_can() {
    let limited = Observed { memory: Some(Size(1 << 20)), cpus: Some(0.5), ..live() };
    let wanted = Spec { memory: Some(Size(2 << 20)), cpus: Some(1.0), ..spec() };
    let features = [Feature::UpdateMemory, Feature::UpdateCpus];
    let action =
        |spec: &Spec| diff(spec, Some(&image()), Some(&limited), &BTreeMap::new(), &features).unwrap().action;
    assert_eq!(action(&wanted), Action::Update);
    assert_eq!(action(&Spec { memory: None, ..wanted.clone() }), Action::Replace);
    assert_eq!(action(&Spec { cpus: None, ..wanted }), Action::Replace);
    assert_eq!(compare(&spec(), &limited).action, Action::Update);
}

#[test]
fn what_is_seen_leads_back_to_a_spec_that_makes_it_again() {
    let image = image();
    let described = ("localhost/app:v1", &image);
    let plain = live().spec(Some(described)).unwrap();
    assert_eq!((&plain.cmd, &plain.entrypoint, &plain.user, &plain.workdir), (&None, &None, &None, &None));
    assert_eq!(plain.env, BTreeMap::from([("PATH".into(), "/bin".into()), ("HOSTNAME".into(), "x".into())]));
    assert_eq!(compare(&plain, &live()).action, Action::None);

    type Change = fn(&mut Observed);
    let changes: [Change; 14] = [
        |live| live.argv = vec!["/bin/app".into()],
        |live| live.argv = vec!["/bin/app".into(), "other".into()],
        |live| live.argv = vec!["/bin/sh".into(), "-c".into(), "true".into()],
        |live| drop(live.env.insert("LOG_LEVEL".into(), "info".into())),
        |live| drop(live.env.insert("HOME".into(), "/root".into())),
        |live| drop(live.labels.insert("vendor".into(), "other".into())),
        |live| live.volumes = vec!["/a:/b:ro".into(), "cache:/cache".into()],
        |live| live.network = "host".into(),
        |live| live.network = "own".into(),
        |live| live.user = "root".into(),
        |live| live.workdir = "/".into(),
        |live| live.privileged = true,
        |live| live.stop_signal = "SIGTERM".into(),
        |live| live.health = Some(Health { tcp: Some(true), ..Health::default() }),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut observed = live();
        change(&mut observed);
        let spec = observed.spec(Some(described)).unwrap();
        let diff = compare(&spec, &observed);
        assert_eq!((diff.action, paths(&diff)), (Action::None, vec![]), "change {index}: {spec:#?}");
    }
}

#[test]
fn what_no_spec_can_say_is_refused() {
    let image = image();
    let refusal = |change: fn(&mut Observed)| {
        let mut observed = live();
        change(&mut observed);
        let error = observed.spec(Some(("localhost/app:v1", &image))).unwrap_err();
        assert_eq!(error.code, Code::NotUndoable);
        error.cause.unwrap()
    };
    assert!(refusal(|live| live.network = "one and two".into()).starts_with("network: "));
    assert!(refusal(|live| live.volumes = vec![format!("{}:/data", "a".repeat(64))]).contains("no name"));
    assert!(refusal(|live| live.volumes = vec![":/run".into()]).contains("volumes"));
}

#[test]
fn volumes_of_the_image_and_variables_of_secrets_come_by_themselves() {
    let image = image();
    let mut observed = live();
    observed.volumes = vec![format!("{}:/cache", "a".repeat(64))];
    observed.env.insert("DB_FILE".into(), "/run/secrets/DB".into());
    observed.origins.insert("DB".into(), effect::Sealer::ephemeral().hide(b"x"));
    let spec = observed.spec(Some(("localhost/app:v1", &image))).unwrap();
    assert!(spec.volumes.is_empty() && !spec.env.contains_key("DB_FILE"), "{spec:#?}");
}

#[test]
fn a_native_program_without_a_network_differs_from_one_on_the_hosts() {
    let exec = vec!["/bin/true".to_owned()];
    let spec = Spec { name: "web".to_owned(), exec: Some(exec.clone()), ..Spec::default() };
    let alone = Spec { network: Some("none".to_owned()), ..spec.clone() };
    let observed = Observed { native: true, image: None, argv: exec, network: "none".to_owned(), ..live() };
    let found = diff(&spec, None, Some(&observed), &BTreeMap::new(), &[]).unwrap();
    let network = found.fields.iter().find(|field| field.path == "network").unwrap();
    assert_eq!((&network.before, &network.after), (&Some(json!("none")), &Some(json!("host"))));
    let found = diff(&alone, None, Some(&observed), &BTreeMap::new(), &[]).unwrap();
    assert!(!paths(&found).contains(&"network"), "{found:?}");
    assert_eq!(observed.spec(None).unwrap().network.as_deref(), Some("none"), "undo makes it so again");
    let usual = Observed { network: "host".to_owned(), ..observed };
    assert_eq!(usual.spec(None).unwrap().network, None);
}
