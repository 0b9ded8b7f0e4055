//! Requests of curl.

use serde_json::json;

use super::backend::Backend;
use super::stage::{Stage, local};

#[expect(clippy::disallowed_methods, reason = "the client is a program")]
async fn curl(stage: &Stage, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &stage.ca).unwrap();
    let to = format!("a.example:8443:{}", stage.address);
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--connect-to", &to, "--cacert"])
        .arg(&ca)
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_is_answered_over_http_1_and_2() {
    local(async {
        let backend = Backend::fine().await;
        let stage = Stage::secure(backend.address, json!({})).await;
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let given =
                curl(&stage, &[option, "--write-out", " %{http_version}", "https://a.example:8443/"]).await;
            assert_eq!(given, format!("ok {version}"));
            let body = "x".repeat(100_000);
            let post = ["--data", &body, option, "--write-out", " %{http_code}", "https://a.example:8443/"];
            assert_eq!(curl(&stage, &post).await, "ok 200");
        }
        assert!(backend.requests()[1].ends_with(&"x".repeat(100_000)));
    });
}
