//! What only podman can show.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use containers::orphans::End;
use containers::{Action, Driver as _, Orphan, Secrets, Spec, check_ownership, podman};
use effect::Code;
use effect::units::Size;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::bench::{Bench, IMAGE, OTHER_IMAGE, podman_command};

#[tokio::test]
async fn limits_changed_behind_the_engine_are_seen_and_repaired_in_place() {
    let bench = Bench::podman();
    let mut spec = bench.sleeping("limits");
    spec.memory = Some(Size(64 << 20));
    spec.cpus = Some(0.5);
    bench.ensured(&spec).await;
    let before = bench.inspect(&spec).await.unwrap();
    podman_command(&["update", "--memory", "128m", "--memory-swap", "256m", &spec.name]);
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["memory"]);
    podman_command(&["update", "--cpus", "0.75", &spec.name]);
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["memory", "cpus"]);
    assert_eq!(bench.ensured(&spec).await.action, Action::Update);
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
    assert_eq!(bench.inspect(&spec).await.unwrap().pid, before.pid);
}

#[tokio::test]
async fn a_foreign_container_is_left_alone_until_adopted() {
    let bench = Bench::podman();
    let mut spec = bench.sleeping("foreign");
    podman_command(&["run", "--detach", "--stop-timeout", "0", "--name", &spec.name, IMAGE]);
    let observed = bench.inspect(&spec).await;
    assert_eq!(check_ownership(&spec, observed.as_ref()).unwrap_err().code, Code::ForeignContainer);
    spec.adopt = true;
    check_ownership(&spec, observed.as_ref()).unwrap();
    assert_eq!(bench.ensured(&spec).await.action, Action::Replace);
    assert!(bench.inspect(&spec).await.unwrap().managed);
}

#[tokio::test]
async fn a_named_volume_outlives_its_container() {
    let bench = Bench::podman();
    let volume = bench.name("kept");
    let mut spec = bench.sleeping("volume");
    spec.volumes = vec![format!("{volume}:/data")];
    bench.ensured(&spec).await;
    bench.inside(&spec, "echo precious > /data/file").await;
    spec.env.insert("VERSION".to_owned(), "2".to_owned());
    assert_eq!(bench.ensured(&spec).await.action, Action::Replace);
    assert_eq!(bench.inside(&spec, "cat /data/file").await, "precious");
    let mounts = ["inspect", "--format", "{{range .Mounts}}{{println .Name}}{{end}}", &spec.name];
    let mounted = podman_command(&mounts);
    let anonymous = mounted.lines().find(|name| name.len() == 64).expect("the image has a volume of its own");
    bench.driver.remove(&spec.name, true).await.unwrap();
    let left = podman_command(&["volume", "ls", "--quiet"]);
    assert!(left.lines().any(|name| name == volume));
    assert!(!left.lines().any(|name| name == anonymous), "the image's own volume goes with its container");
    podman_command(&["volume", "rm", &volume]);
}

#[tokio::test]
async fn what_podman_knows_is_no_orphan_and_is_never_ended_as_one() {
    let bench = Bench::podman();
    let spec = bench.sleeping("known");
    bench.ensured(&spec).await;
    let known = bench.inspect(&spec).await.unwrap();
    let orphans = bench.driver.orphans().await.unwrap();
    assert!(orphans.iter().all(|orphan| orphan.id != known.id));
    let taken =
        Orphan { name: spec.name.clone(), id: known.id.clone(), processes: Vec::new(), volumes: Vec::new() };
    let error = bench.driver.release(&taken, &End { timeout: Duration::ZERO, ports: &[] }).await.unwrap_err();
    assert_eq!(error.code, Code::OrphanLives);
    assert_eq!(bench.inspect(&spec).await.unwrap().pid, known.pid);
}

#[tokio::test]
async fn a_network_of_ones_own_is_joined() {
    let bench = Bench::podman();
    let network = bench.name("net");
    podman_command(&["network", "create", &network]);
    let mut spec = bench.sleeping("network");
    bench.ensured(&spec).await;
    spec.network = Some(network.clone());
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["network"]);
    bench.ensured(&spec).await;
    assert_eq!(bench.inspect(&spec).await.unwrap().network, network);
    bench.driver.remove(&spec.name, true).await.unwrap();
    podman_command(&["network", "rm", &network]);
}

#[tokio::test]
async fn an_image_that_is_not_there_has_no_defaults_and_cannot_be_created() {
    let bench = Bench::podman();
    let image = "localhost/mcrun-no-such-image:1";
    let spec = Spec { image: Some(image.to_owned()), ..bench.sleeping("noimage") };
    assert_eq!(bench.driver.image_defaults(image).await.unwrap(), None);
    let error = bench.driver.create(&spec, None, &Secrets::new()).await.unwrap_err();
    assert_eq!(error.code, Code::ImageMissing, "{error:?}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_a_coded_error() {
    let socket = Some(std::path::PathBuf::from("/no/such/podman.sock"));
    let options = podman::Options { socket, state_dir: "/no/such/state".into() };
    let driver = podman::Podman::new(&options);
    let error = driver.ping().await.unwrap_err();
    assert_eq!(error.code, Code::EngineUnavailable);
    assert!(error.cause.unwrap().contains("/no/such/podman.sock"));
}

#[tokio::test]
async fn the_beginning_of_an_id_is_not_a_name() {
    let bench = Bench::podman();
    let spec = bench.sleeping("prefix");
    bench.ensured(&spec).await;
    let id = bench.inspect(&spec).await.unwrap().id;
    let prefix = &id[..12];
    assert_eq!(bench.driver.inspect(prefix).await.unwrap(), None);
    assert_eq!(bench.driver.start(prefix).await.unwrap_err().code, Code::ContainerUnknown);
    bench.driver.stop(prefix, None).await.unwrap();
    bench.driver.remove(prefix, true).await.unwrap();
    assert!(bench.inspect(&spec).await.unwrap().is_up());
    let named = Spec { name: prefix.chars().rev().collect(), ..spec.clone() };
    bench.ensured(&named).await;
    assert_eq!(bench.inspect(&named).await.unwrap().name, named.name);
    bench.driver.remove(&named.name, true).await.unwrap();
}

#[tokio::test]
async fn a_paused_container_goes_on() {
    let bench = Bench::podman();
    let spec = bench.sleeping("paused");
    bench.ensured(&spec).await;
    podman_command(&["pause", &spec.name]);
    assert_eq!(bench.differences(&spec, &Secrets::new()).await, ["state"]);
    bench.ensured(&spec).await;
    assert_eq!(bench.diff(&spec, &Secrets::new()).await.action, Action::None);
}

#[tokio::test]
async fn every_feature_of_containers_is_declared() {
    use containers::Feature::*;
    let driver = crate::bench::podman_driver();
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
    ];
    assert_eq!(required.iter().find(|feature| !driver.features().contains(feature)), None);
}

/// Hands every byte on to the engine and counts the requests.
struct Counter {
    socket: std::path::PathBuf,
    requests: Arc<AtomicUsize>,
}

impl Counter {
    fn before(engine: String, dir: &Path) -> Self {
        let socket = dir.join("counted.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let engine = UnixStream::connect(&engine).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_engine, mut to_engine) = engine.into_split();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move { tokio::io::copy(&mut from_engine, &mut to_client).await });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                        // The client sends the head of a request at once and at the beginning of a piece.
                        let is_head =
                            [&b"GET "[..], b"POST ", b"DELETE "].iter().any(|m| buffer.starts_with(m));
                        counted.fetch_add(usize::from(is_head), Ordering::SeqCst);
                        to_engine.write_all(&buffer[..length]).await.unwrap();
                    }
                });
            }
        });
        Self { socket, requests }
    }

    fn take(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn an_image_is_asked_for_once_until_its_name_moves() {
    let bench = Bench::podman();
    bench.driver.ping().await.unwrap();
    let counter = Counter::before(bench.driver.place(), bench.dir.path());
    let options =
        podman::Options { socket: Some(counter.socket.clone()), state_dir: bench.dir.path().to_owned() };
    let driver = podman::Podman::new(&options);
    let name = format!("localhost/{}:1", bench.name("moved"));
    podman_command(&["tag", IMAGE, &name]);
    let first = driver.image_defaults(&name).await.unwrap().unwrap();
    assert_eq!(counter.take(), 1);
    // Other tests give names to images at the same time, after each of which it is rightly asked for again.
    let mut asked = 1;
    for _ in 0..100 {
        let again = driver.image_defaults(&name).await.unwrap().unwrap();
        asked = counter.take();
        assert_eq!(again, first);
        if asked == 0 {
            break;
        }
    }
    assert_eq!(asked, 0, "what is known is not asked for again");
    podman_command(&["tag", OTHER_IMAGE, &name]);
    assert_ne!(driver.image_defaults(&name).await.unwrap().unwrap().id, first.id);
    podman_command(&["untag", OTHER_IMAGE, &name]);
    assert_eq!(driver.image_defaults(&name).await.unwrap(), None);
}

#[tokio::test]
async fn a_deploy_takes_no_more_requests_than_it_has_to() {
    let bench = Bench::podman();
    bench.driver.ping().await.unwrap();
    let counter = Counter::before(bench.driver.place(), bench.dir.path());
    let options =
        podman::Options { socket: Some(counter.socket.clone()), state_dir: bench.dir.path().to_owned() };
    let driver = podman::Podman::new(&options);
    let spec = bench.sleeping("counted");
    let image = driver.image_defaults(IMAGE).await.unwrap();
    counter.take();
    assert_eq!(driver.inspect(&spec.name).await.unwrap(), None);
    assert_eq!(counter.take(), 1);
    driver.create(&spec, image.as_ref(), &Secrets::new()).await.unwrap();
    assert_eq!(counter.take(), 1);
    let started = driver.start(&spec.name).await.unwrap();
    assert_eq!(counter.take(), 2, "to start it, and to see that it stays up");
    assert!(started.is_up());
}
