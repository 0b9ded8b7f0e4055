//! Owns the images that stand in for the platform's: each bears the name of one, answers at its ports, and writes records to
//! its volume where that one has data.

use std::fs;
use std::path::Path;

use super::engine::Engine;
use super::record::CONTAINERS;

const REGISTRY: &str = "mcr.svc.mcp.metacircular.net:8443";

/// What an image of the platform does as a stand-in.
struct Behaviour {
    image: &'static str,
    /// The ports at which it answers with its name.
    ports: &'static str,
    /// The folder of its volume, in which `ports` says what its configuration would; and `records` is written.
    folder: &'static str,
    is_writer: bool,
}

const fn of(image: &'static str, ports: &'static str, folder: &'static str) -> Behaviour {
    Behaviour { image, ports, folder, is_writer: false }
}

const BEHAVIOURS: [Behaviour; 12] = [
    of("mcns:v1.2.0", "53 8443", "mcns"),
    of("mc-proxy:v1.2.2", "", "mc-proxy"),
    Behaviour { image: "mcr:v1.2.1", ports: "8443 9443", folder: "mcr", is_writer: true },
    of("mcr-web:v1.3.2", "8080", "mcr"),
    of("metacrypt:v1.3.1", "8443 9443", "metacrypt"),
    of("metacrypt-web:v1.4.1", "8080", "metacrypt"),
    of("mcp-master:v0.10.3", "", "mcp-master"),
    Behaviour { image: "mcq:v0.4.2", ports: "8080", folder: "mcq", is_writer: true },
    of("mcdoc:v0.1.0", "8080", "mcdoc"),
    of("mcat:v1.2.0", "8443", "mcat"),
    of("kls:v0.2.0", "8080", "kls"),
    of("sgardd:v3.2.0", "9473", "sgard"),
];

/// The entry point. A writer has a name of its own in each life, so that two of them on one volume are seen.
const ENTRY: &str = r#"
trap 'exit 0' TERM INT
b=/bin/busybox
$b mkdir -p /www/v1
echo "$STANDIN" > /www/index.html
echo ok > /www/v1/health
for port in $STANDIN_PORTS $([ -f "$STANDIN_DATA/ports" ] && $b cat "$STANDIN_DATA/ports"); do
    $b httpd -p "$port" -h /www
done
writer="$($b hostname)-$($b cut -c1-8 /proc/sys/kernel/random/uuid)"
count=0
while [ -n "$STANDIN_WRITES" ]; do
    count=$((count + 1))
    echo "$writer $count" >> "$STANDIN_DATA/records"
    $b sleep 0.05
done
while :; do
    $b sleep 3600 &
    wait $!
done
"#;

/// The name of a platform's image.
pub(super) fn reference(image: &str) -> String {
    format!("{REGISTRY}/{image}")
}

/// The image that all others are made of: what it does is said by its environment.
pub(super) const BASE: &str = "localhost/standin:v1";

/// Builds that one.
pub(super) fn build_base(engine: &Engine, context: &Path) {
    let root = context.join("root");
    fs::create_dir_all(root.join("bin")).expect("the place is writable");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    fs::write(root.join("entry"), ENTRY).expect("the place is writable");
    let recipe = "FROM scratch\nCOPY root/ /\nENTRYPOINT [\"/bin/busybox\", \"sh\", \"/entry\"]\n";
    build_one(engine, context, BASE, recipe);
}

fn build_one(engine: &Engine, context: &Path, tag: &str, recipe: &str) {
    fs::write(context.join("Containerfile"), recipe).expect("the place is writable");
    engine.podman(&["build", "--quiet", "--tag", tag, context.to_str().expect("a plain name")]);
}

/// Builds all twelve.
pub(super) fn build(engine: &Engine, context: &Path) {
    build_base(engine, context);
    for Behaviour { image, ports, folder, is_writer } in BEHAVIOURS {
        let name = image.split(':').next().unwrap_or_default();
        let writes = if is_writer { "1" } else { "" };
        let recipe = format!(
            "FROM {BASE}\nENV STANDIN={name} STANDIN_PORTS=\"{ports}\" STANDIN_DATA=/srv/{folder} \
             STANDIN_WRITES=\"{writes}\"\n"
        );
        build_one(engine, context, &reference(image), &recipe);
    }
    assert!(CONTAINERS.iter().all(|container| BEHAVIOURS.iter().any(|of| of.image == container.image)));
}
