//! Single sign-on as services and browsers see it: by TLS, with relying parties of others' making.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Place, Started, program, until};
use crate::names::peers::port;

const PASSWORD: &str = "correct horse battery";
const CALLBACK: &str = "http://127.0.0.1:9/callback";

/// A daemon that lets `root` in to everything, with a client of each type.
struct Provider {
    place: Place,
    _serving: Started,
    url: String,
}

fn provider() -> Provider {
    provider_with("")
}

/// The same with more in mcrun.toml.
fn provider_with(more: &str) -> Provider {
    let place = Place::new();
    let at = port();
    let url = format!("https://localhost:{}", at.port());
    place.configure(&format!("[mcias]\nlisten = \"{at}\"\nurl = \"{url}\"\n{more}"));
    let password = place.at("password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    place.ends(0, &["mcias", "init", "root", "--passphrase-file", &password]);
    let script = place.script(
        "clients.lua",
        &format!(
            r#"
mcias.policy.ensure {{ name = "staff", rules = {{ {{ name = "all", allow = true, services = {{ "mcq" }} }} }} }}
local app = mcias.sso_clients.ensure {{ id = "app", service = "mcq", redirect_uris = {{ "{CALLBACK}" }} }}
assert(app.changed and app.after.secret)
mcias.sso_clients.ensure {{ id = "cli", type = "public", service = "mcq",
    redirect_uris = {{ "{CALLBACK}" }}, logout_uris = {{ "{CALLBACK}?bye" }} }}
assert(not mcias.sso_clients.ensure({{ id = "app", service = "mcq", redirect_uris = {{ "{CALLBACK}" }} }}).changed)
assert(#mcias.sso_clients.list {{}} == 2 and mcias.sso_clients.get({{ id = "cli" }}).secret == nil)
"#
        ),
    );
    place.ends(0, &[&script, "--allow", "mcias"]);
    let serving = place.start(&["serve"]);
    until("it is ready", || serving.stderr().contains("ready").then_some(()));
    let roots = place.ends(0, &["certs", "ca", "bundle"]).stdout;
    fs::write(place.at("roots.pem"), roots).unwrap();
    Provider { place, _serving: serving, url }
}

/// Where the clients of others are installed.
fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(path)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/sso").join(name)
}

fn told(output: &std::process::Output) -> Value {
    let shown = String::from_utf8_lossy(&output.stdout);
    // A provider says more than it was asked; what the party has to say comes last.
    serde_json::from_str(shown.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{shown}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_party_made_of_authlib_signs_people_in() {
    let provider = provider();
    let mut python = program(beside("peers/bin/python3"));
    python.args(["-W", "ignore"]).arg(source("authlib_party.py"));
    python.args([&provider.url, "cli", "", "root", PASSWORD]);
    let said = told(&python.env("SSL_CERT_FILE", provider.place.at("roots.pem")).output().unwrap());
    assert_eq!(said["claims"]["preferred_username"], "root", "{said}");
    assert_eq!((&said["claims"]["aud"], &said["claims"]["nonce"]), (&"cli".into(), &"a-nonce".into()));
    assert_eq!((&said["again"], &said["gone"]), (&"invalid_grant".into(), &401.into()), "{said}");
}

#[test]
fn a_party_made_of_openid_client_signs_people_in_and_out() {
    let provider = provider();
    // Modules are found beside the file that asks for them.
    let folder = beside("npm");
    let party = folder.join(format!("party-{}.mjs", std::process::id()));
    fs::copy(source("openid_party.mjs"), &party).unwrap();
    let mut node = program("node");
    node.arg(&party).args([&provider.url, "cli", "", "root", PASSWORD]);
    let output = node.env("NODE_EXTRA_CA_CERTS", provider.place.at("roots.pem")).output().unwrap();
    fs::remove_file(&party).unwrap();
    let said = told(&output);
    assert_eq!(said["told"]["preferred_username"], "root", "{said}");
    assert_eq!(said["gone"], "WWWAuthenticateChallengeError", "{said}");
    assert_eq!(
        (&said["left"], &said["asked_again"]),
        (&format!("{CALLBACK}?bye").into(), &true.into()),
        "{said}"
    );
}

/// What becomes of these people, one after the other, who sign in by the word of a foreign provider with these settings.
fn vouched_for(settings: &str, people: &str) -> Value {
    let at = port();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "a-secret-between-the-two").unwrap();
    let provider = provider_with(&format!(
        "[mcias.external.idp]\nkind = \"oidc\"\nissuer = \"http://{at}\"\nclient_id = \"us\"\n\
         client_secret = \"idp\"\n{settings}\n\
         [secrets.idp]\nfile = \"{}\"\nto = [\"mcias:external\"]\n",
        secret.path().display()
    ));
    let script = provider.place.script(
        "outside.lua",
        r#"
mcias.accounts.ensure { name = "root", email = "root@example.org" }
mcias.policy.ensure { name = "outside", rules = { { name = "outside", allow = true, services = { "mcias" },
    first_factors = { "external" } } } }
"#,
    );
    provider.place.ends(0, &[&script, "--allow", "mcias"]);
    let party = beside("npm").join(format!("foreign-{}.mjs", at.port()));
    fs::copy(source("foreign.mjs"), &party).unwrap();
    let mut node = program("node");
    node.arg(&party).args([&provider.url, &at.port().to_string(), people]);
    let output = node.env("NODE_EXTRA_CA_CERTS", provider.place.at("roots.pem")).output().unwrap();
    fs::remove_file(&party).unwrap();
    told(&output)
}

#[test]
fn a_foreign_provider_vouches_for_those_whom_it_knows() {
    let said = vouched_for("match_email = true", "root,root-unverified,root-other,nobody,root");
    // By the address at first, by the subject from then on; another subject with the same address is somebody else.
    for (who, path, account) in [
        ("root-unverified", "/external/idp/callback", Value::Null),
        ("root", "/account", "root".into()),
        ("root-other", "/external/idp/callback", Value::Null),
        ("nobody", "/external/idp/callback", Value::Null),
        ("root-again", "/account", "root".into()),
    ] {
        assert_eq!((&said[who]["path"], &said[who]["as"]), (&path.into(), &account), "{who}: {said}");
    }
}

#[test]
fn whom_a_foreign_provider_knows_and_we_do_not_gets_an_account_where_the_settings_say_so() {
    let said = vouched_for("create = true\nroles = [\"user\"]", "root,carol,root-unverified,carol");
    assert_eq!(said["root"]["path"], "/external/idp/callback", "the address of an account: {said}");
    let name = |who: &str| said[who]["as"].as_str().unwrap_or_else(|| panic!("{who}: {said}")).to_owned();
    assert!(name("carol").starts_with("idp.carol-"), "{said}");
    assert_eq!(name("carol-again"), name("carol"));
    // An address that is not verified is nobody's: it is somebody new, under a name of their own.
    assert!(name("root-unverified").starts_with("idp.root-unverified-"), "{said}");
}

/// What curl is answered, head and all.
fn curl(provider: &Provider, words: &[&str]) -> String {
    let mut curl = program("curl");
    curl.args(["--silent", "--include", "--max-time", "20", "--cacert", &provider.place.at("roots.pem")]);
    String::from_utf8(curl.args(words).output().unwrap().stdout).unwrap()
}

#[test]
fn nobody_is_led_elsewhere_and_no_other_site_asks() {
    let provider = provider();
    let at = |path: &str| format!("{}{path}", provider.url);
    let asked = "/sso/authorize?client_id=cli&response_type=code&scope=openid&code_challenge_method=S256\
                 &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&redirect_uri=";
    for address in
        ["https://evil.example/", "http://127.0.0.1:9/callback/", "http%3A//127.0.0.1%3A9/CALLBACK"]
    {
        let said = curl(&provider, &[&at(&format!("{asked}{address}"))]);
        assert!(said.starts_with("HTTP/1.1 400") && !said.contains("evil"), "{said}");
    }
    let good = curl(&provider, &[&at(&format!("{asked}http%3A%2F%2F127.0.0.1%3A9%2Fcallback"))]);
    assert!(good.starts_with("HTTP/1.1 303") && good.contains("location: /login?next=%2Fsso"), "{good}");
    let forged = curl(&provider, &["--header", "Host: evil.example", &at("/login")]);
    assert!(forged.starts_with("HTTP/1.1 421"), "{forged}");
    for next in ["//evil.example", "/%5Cevil.example", "https://evil.example", "/x%0d%0aSet-Cookie:%20a=b"] {
        let page = curl(&provider, &[&at(&format!("/login?next={next}"))]);
        assert!(!page.contains("evil") && !page.contains("a=b"), "{page}");
    }
    let form = "name=root&password=correct+horse+battery";
    let without = curl(&provider, &["--data", form, &at("/login")]);
    assert!(without.starts_with("HTTP/1.1 403") && !without.contains("__Host-mcias="), "{without}");
    let other = curl(&provider, &["--data", form, "--header", "Origin: https://evil.example", &at("/login")]);
    assert!(other.starts_with("HTTP/1.1 403"), "{other}");
    let page = curl(&provider, &[&at("/login")]);
    for said in ["content-security-policy: default-src 'none'", "x-frame-options: DENY", "<html lang=\"en\">"]
    {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("<script>") && !page.contains(" style="), "{page}");
}

#[test]
fn a_client_that_makes_no_sense_is_refused() {
    let place = Place::new();
    for (fields, code) in [
        ("redirect_uris = { \"https://mcq.example/*\" }", "MC-W020"),
        ("redirect_uris = { \"http://mcq.example/cb\" }", "MC-W020"),
        ("redirect_uris = {}", "MC-W020"),
        ("redirect_uris = { \"https://mcq.example/cb\" }, service = \"a b\"", "MC-W001"),
    ] {
        let script =
            place.script("client.lua", &format!("mcias.sso_clients.ensure {{ id = \"mcq\", {fields} }}"));
        let refused = place.ends(1, &[&script, "--allow", "mcias"]);
        assert!(refused.stderr.contains(code), "{fields}: {refused}");
    }
}
