//! What only docker can show.

use containers::docker::{Docker, Options};
use containers::{Action, Driver as _, Secrets, Spec};
use effect::Code;
use effect::units::Size;

use crate::bench::Bench;

#[tokio::test]
async fn limits_are_changed_in_place_and_lifted_by_a_replacement() {
    let bench = Bench::docker();
    let mut spec = bench.sleeping("limits");
    spec.memory = Some(Size(64 << 20));
    spec.cpus = Some(0.5);
    bench.ensured(&spec).await;
    spec.memory = Some(Size(96 << 20));
    spec.cpus = Some(0.75);
    spec.restart = Some("on-failure:2".parse().unwrap());
    assert_eq!(bench.ensured(&spec).await.action, Action::Update);
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
    spec.memory = None;
    assert_eq!(bench.ensured(&spec).await.action, Action::Replace);
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
}

#[tokio::test]
async fn a_name_that_docker_refuses_is_refused_by_the_plan() {
    let driver = Docker::new(&Options { socket: Some("/no/such/docker.sock".into()) });
    let spec = Spec { name: "x".to_owned(), image: Some("app:v1".to_owned()), ..Spec::default() };
    assert_eq!(driver.check(&spec).unwrap_err().code, Code::Argument);
    let error = driver.ping().await.unwrap_err();
    assert_eq!(error.code, Code::EngineUnavailable);
    assert!(error.cause.unwrap().contains("/no/such/docker.sock"));
}

#[tokio::test]
async fn an_image_that_is_not_there_has_no_defaults_and_cannot_be_created() {
    let bench = Bench::docker();
    let image = "localhost/mcrun-no-such-image:1";
    let spec = Spec { image: Some(image.to_owned()), ..bench.sleeping("noimage") };
    assert_eq!(bench.driver.image_defaults(image).await.unwrap(), None);
    let error = bench.driver.create(&spec, None, &Secrets::new()).await.unwrap_err();
    assert_eq!(error.code, Code::ImageMissing, "{error:?}");
}

#[tokio::test]
async fn a_path_that_is_not_there_is_not_made_by_mounting_it() {
    let bench = Bench::docker();
    let missing = bench.dir.path().join("missing");
    let spec = Spec { volumes: vec![format!("{}:/data", missing.display())], ..bench.sleeping("mount") };
    let error = bench.ensure(&spec, &Secrets::new()).await.unwrap_err();
    assert_eq!(error.code, Code::EngineFailed, "{error:?}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn the_beginning_of_an_id_is_not_a_name() {
    let bench = Bench::docker();
    let spec = bench.sleeping("prefix");
    bench.ensured(&spec).await;
    let id = bench.inspect(&spec).await.unwrap().id;
    assert_eq!(bench.driver.inspect(&id[..12]).await.unwrap(), None);
    bench.driver.remove(&id[..12], true).await.unwrap();
    assert!(bench.inspect(&spec).await.unwrap().is_up());
}

#[test]
fn every_feature_of_containers_is_declared() {
    use containers::Feature::*;
    let driver = Docker::new(&Options::default());
    let required = [
        Image,
        Entrypoint,
        Secrets,
        Volumes,
        SamePathVolumes,
        ReadOnlyVolumes,
        NamedVolumes,
        Ports,
        PortMapping,
        PortAddress,
        UdpPorts,
        Network,
        HostNetwork,
        NoNetwork,
        User,
        Cpus,
        Memory,
        ReadOnly,
        Privileged,
        Devices,
        CapAdd,
        Terminal,
        Pause,
        UpdateMemory,
        UpdateCpus,
        UpdateRestart,
    ];
    assert_eq!(required.iter().find(|feature| !driver.features().contains(feature)), None);
}
