//! Owns the image of the tests, for whichever engine.

use std::fs;
use std::path::Path;

/// The image of the tests; `:2` has other content.
pub(crate) const IMAGE: &str = "localhost/mcrun-conformance:1";
pub(crate) const OTHER_IMAGE: &str = "localhost/mcrun-conformance:2";

/// The context from which every engine builds the image with this content.
pub(crate) fn write_image(context: &Path, content: &str) {
    let _ = fs::remove_dir_all(context);
    fs::create_dir_all(context.join("root/bin")).unwrap();
    fs::copy("/bin/busybox", context.join("root/bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "sleep", "cat", "ls", "env", "id", "httpd", "stat", "tr"] {
        std::os::unix::fs::symlink("busybox", context.join("root/bin").join(applet)).unwrap();
    }
    let recipe = format!(
        "FROM scratch\nCOPY root/ /\nENV FROM_IMAGE=yes CONTENT={content}\nLABEL vendor=acme\nVOLUME /cache\n\
         WORKDIR /bin\nSTOPSIGNAL SIGINT\nCMD [\"/bin/sleep\", \"500\"]\n"
    );
    fs::write(context.join("Containerfile"), recipe).unwrap();
}
