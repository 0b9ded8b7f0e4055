//! What native programs see where that is not the machine as it is. On a machine without namespaces each is refused.

use std::fs;
use std::net::{TcpListener, TcpStream};

use containers::{Attach, Exec, Feature, Health, Port, Secrets, Spec};
use effect::Code;

use crate::bench::{Bench, secrets};
use crate::facts::kill;

/// A fresh folder in the bench's, open to everyone.
fn folder(bench: &Bench, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = bench.dir.path().join(name);
    fs::create_dir(&path).unwrap();
    for open in [bench.dir.path(), &path] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
    }
    path.to_string_lossy().into_owned()
}

/// Whether this machine can do what `spec` asks for; where it cannot, the driver has to refuse.
fn can(bench: &Bench, spec: &Spec, feature: Feature) -> bool {
    if bench.driver.features().contains(&feature) {
        return true;
    }
    assert_eq!(bench.driver.check(spec).unwrap_err().code, Code::Unsupported);
    false
}

#[tokio::test]
async fn a_volume_is_at_its_place_for_the_program_alone() {
    let bench = Bench::process();
    let (source, target) = (folder(&bench, "source"), folder(&bench, "target"));
    let mut spec =
        bench.shell("volume", &format!("echo written > {target}/file; echo done; exec sleep 1000"));
    spec.volumes = vec![format!("{source}:{target}")];
    spec.workdir = Some(target.clone());
    if !can(&bench, &spec, Feature::Volumes) {
        return;
    }
    bench.ensured(&spec).await;
    bench.wait_for_line(&spec, "done").await;
    assert_eq!(fs::read_to_string(format!("{source}/file")).unwrap(), "written\n");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "the host sees nothing of it");
    assert_eq!(bench.inside(&spec, "pwd; cat file").await, format!("{target}\nwritten"));
}

#[tokio::test]
async fn a_volume_in_a_volume_is_mounted_after_it() {
    let bench = Bench::process();
    let (outer, inner, target) = (folder(&bench, "outer"), folder(&bench, "inner"), folder(&bench, "target"));
    fs::create_dir(format!("{outer}/in")).unwrap();
    fs::write(format!("{inner}/file"), "inner").unwrap();
    let mut spec = bench.sleeping("nested");
    spec.volumes = vec![format!("{inner}:{target}/in:ro"), format!("{outer}:{target}")];
    if !can(&bench, &spec, Feature::Volumes) {
        return;
    }
    bench.ensured(&spec).await;
    assert_eq!(bench.inside(&spec, &format!("cat {target}/in/file")).await, "inner");
}

#[tokio::test]
async fn a_program_in_a_volume_is_found_where_it_is_mounted() {
    let bench = Bench::process();
    let (source, target) = (folder(&bench, "source"), folder(&bench, "target"));
    fs::copy("/bin/sleep", format!("{source}/program")).unwrap();
    let mut spec = bench.running("moved", &[&format!("{target}/program"), "1000"]);
    spec.volumes = vec![format!("{source}:{target}:ro")];
    if !can(&bench, &spec, Feature::Volumes) {
        return;
    }
    bench.driver.check_node(&spec, &|_| false).unwrap();
    bench.ensured(&spec).await;
    bench.inside(&spec, &format!("test -x {target}/program")).await;
}

#[tokio::test]
async fn read_only_parts_stay_so_even_for_root() {
    let bench = Bench::process();
    let (data, fixed, plain) = (folder(&bench, "data"), folder(&bench, "fixed"), folder(&bench, "plain"));
    let mut spec = bench.sleeping("sealed");
    spec.volumes = vec![format!("{data}:{data}"), format!("{fixed}:{fixed}:ro")];
    spec.read_only = Some(true);
    if !can(&bench, &spec, Feature::ReadOnly) {
        return;
    }
    bench.ensured(&spec).await;
    let script = format!(
        "for dir in {data} {fixed} {plain}; do (: > $dir/file) 2>/dev/null && echo $dir; done
         for way in / {fixed}; do mount -o remount,bind,rw $way 2>/dev/null && echo $way; done
         nsenter -t 1 -m true 2>/dev/null && echo left
         echo null > /dev/null && test -d /proc/self && echo ready"
    );
    assert_eq!(bench.inside(&spec, &script).await, format!("{data}\nready"));
    assert!(fs::write(format!("{plain}/file"), "").is_ok(), "for everybody else nothing has changed");
}

#[tokio::test]
async fn a_program_without_a_network_reaches_itself_alone() {
    let bench = Bench::process();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut spec = bench.sleeping("alone");
    spec.network = Some("none".to_owned());
    if !can(&bench, &spec, Feature::NoNetwork) {
        return;
    }
    bench.ensured(&spec).await;
    let devices = bench.inside(&spec, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").await;
    assert_eq!(devices, "lo");
    let knock = format!("bash -c ': > /dev/tcp/127.0.0.1/{port}' 2>&1 || true");
    assert!(bench.inside(&spec, &knock).await.contains("refused"), "it is up, and nobody listens");
    assert_eq!(bench.inspect(&spec).await.unwrap().network, "none");

    spec.ports = vec![Port { host: port, container: port, ..Port::default() }];
    let error = bench.driver.check(&spec).unwrap_err();
    assert!(error.code == Code::Argument && error.message.starts_with("ports: "), "{error:?}");
    spec.ports.clear();
    spec.health = Some(Health { tcp: Some(true), port: Some(port), ..Health::default() });
    let error = bench.driver.check(&spec).unwrap_err();
    assert!(error.code == Code::Argument && error.message.starts_with("health: "), "{error:?}");
    spec.health = Some(Health { exec: Some(vec!["/bin/true".to_owned()]), ..Health::default() });
    bench.driver.check(&spec).unwrap();
}

#[tokio::test]
async fn another_user_gets_the_same_view_with_its_secret() {
    let bench = Bench::process();
    let (source, target) = (folder(&bench, "source"), folder(&bench, "target"));
    let mut spec = bench.sleeping("user");
    spec.user = Some("1234:1234".to_owned());
    spec.read_only = Some(true);
    spec.network = Some("none".to_owned());
    spec.volumes = vec![format!("{source}:{target}")];
    spec.secrets.insert("TOKEN".to_owned(), effect::Secret::named("token", "tag".to_owned()));
    if !can(&bench, &spec, Feature::ReadOnly) || !can(&bench, &spec, Feature::User) {
        return;
    }
    bench.ensure(&spec, &secrets(&[("TOKEN", "hunter2")])).await.unwrap();
    let script = format!("id -u; id -G; cat $TOKEN_FILE; echo; echo mine > {target}/file; pwd");
    assert_eq!(bench.inside(&spec, &script).await, "1234\n1234\nhunter2\n/");
    assert_eq!(fs::read_to_string(format!("{source}/file")).unwrap(), "mine\n");
    let argv = ["/bin/sh", "-c", "id -u"].map(str::to_owned).to_vec();
    let mut attached = bench.driver.attach(&spec.name, &Attach { argv, ..Attach::default() }).await.unwrap();
    let (_, bytes) = attached.output.recv().await.unwrap();
    assert_eq!(&bytes[..], b"1234\n");
}

#[tokio::test]
async fn a_restarted_program_has_its_view_again() {
    let bench = Bench::process();
    let mut spec = bench.sleeping("again");
    spec.read_only = Some(true);
    spec.restart = Some("always".parse().unwrap());
    if !can(&bench, &spec, Feature::ReadOnly) {
        return;
    }
    bench.ensured(&spec).await;
    let before = bench.inspect(&spec).await.unwrap().pid.unwrap();
    kill(before);
    bench.wait_until(&spec, "running", |live| live.pid.is_some_and(|pid| pid != before)).await;
    let script = format!("(: > {}/file) 2>/dev/null || echo sealed", bench.dir.path().display());
    assert_eq!(bench.inside(&spec, &script).await, "sealed");
}

#[tokio::test]
async fn what_is_missing_in_a_view_is_named_before_it_starts() {
    let bench = Bench::process();
    let (source, target) = (folder(&bench, "source"), folder(&bench, "target"));
    let mut spec = bench.sleeping("missing");
    spec.volumes = vec![format!("{source}:{target}")];
    if !can(&bench, &spec, Feature::Volumes) {
        return;
    }
    bench.ensured(&spec).await;
    let missing = Exec::new(vec!["/no/such/program".to_owned()]);
    assert_eq!(bench.driver.exec(&spec.name, &missing).await.unwrap_err().code, Code::ProgramMissing);
    bench.driver.stop(&spec.name, None).await.unwrap();
    fs::remove_dir(&target).unwrap();
    let error = bench.driver.start(&spec.name).await.unwrap_err();
    assert!(error.code == Code::Argument && error.message.contains(&target), "{error:?}");
    let error = bench.driver.check_node(&spec, &|_| false).unwrap_err();
    assert!(error.code == Code::Argument && error.message.contains(&target), "{error:?}");

    fs::create_dir(&target).unwrap();
    spec.workdir = Some(format!("{target}/gone"));
    let error = bench.ensure(&spec, &Secrets::new()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("`{target}/gone`")), "the shim's word: {error}");
}
