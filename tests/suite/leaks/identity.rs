//! What proves who somebody is: the passphrase, the key of one-time codes, recovery codes, a session, what clients and other
//! issuers share with us. Each is used, rightly and wrongly, and looked for in all that a daemon keeps and tells.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::json;

use super::search::{each_stored, search_for};
use crate::harness::{Place, program};
use crate::processes;
use crate::secrets::echo;
use crate::signed_in::{PASSWORD, Served, oathtool};

const PASSPHRASE: &str = "pl4nted passphrase &<7f>/+ =?%";
const AT_GITHUB: &str = "pl4nted-at-github-1d0e";

/// Each thing that is searched for, with its name.
type Sought = Vec<(&'static str, String)>;

#[track_caller]
fn search_all(sought: &Sought, bytes: &[u8], place: &str) {
    for (name, secret) in sought {
        search_for(secret, bytes, &format!("{place} ({name})"));
    }
}

/// What curl is answered, head and all, by a request that stands in its own configuration and in no list of processes.
fn curl(served: &Served, path: &str, more: &str) -> String {
    let to = format!("mcias.mcrun.test:443:{}", served.identity);
    let mut curl = program("curl");
    curl.args(["-ski", "--max-time", "30", "--connect-to", &to, "-K", "-"]);
    let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = format!("url = \"https://mcias.mcrun.test{path}\"\n{more}");
    child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The octets behind a text in base32.
fn base32(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut octets, mut number, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.chars() {
        number = number << 5 | u32::try_from(LETTERS.find(letter).unwrap()).unwrap();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            octets.push(u8::try_from(number >> bits & 0xff).unwrap());
        }
    }
    octets
}

/// A daemon that knows a GitHub which says again what it is told.
fn served(github: &str) -> Served {
    let place = Place::new();
    fs::write(place.at("github"), AT_GITHUB).unwrap();
    let configuration = format!(
        "[mcias]\nlisten = \"127.0.0.1:0\"\nurl = \"https://mcias.mcrun.test\"\ntokens_to = [\"files:{}/**\"]\n\
         [mcias.external.github]\nkind = \"github\"\nclient_id = \"us\"\nclient_secret = \"github\"\n\
         url = \"{github}\"\napi = \"{github}\"\n\
         [secrets.github]\nfile = \"{}\"\nto = [\"mcias:external\"]\n\
         [daemon.api]\nlisten = \"127.0.0.1:0\"\nhost = \"daemon.mcrun.test\"\ntokens = true\n",
        place.path().canonicalize().unwrap().display(),
        place.at("github"),
    );
    Served::with(place, &configuration, &["-v", "-v", "-v", "serve"])
}

/// A client of single sign-on, with what it is given to prove that it is that client.
fn client(served: &Served) -> String {
    let place = &served.place;
    let text = "local app = mcias.sso_clients.ensure { id = \"app\", service = \"mcq\", redirect_uris = { \"https://app.example/cb\" } }\n\
                files.write { path = args[1], secret = app.after.secret }\n";
    let file = place.path().canonicalize().unwrap().join("client");
    let words = [&*place.script("client.lua", text), file.to_str().unwrap(), "--allow", "*"];
    place.ends(0, &words);
    fs::read_to_string(file).unwrap()
}

#[test]
fn what_proves_who_somebody_is_is_found_nowhere() {
    let (github, _server) = echo(8);
    let served = served(&github);
    let mut sought: Sought = vec![("the passphrase", PASSPHRASE.into()), ("GitHub's", AT_GITHUB.into())];
    let mut answers = Vec::new();

    let root = served.token("root", "mcias");
    let change = json!({ "current": PASSWORD, "new": PASSPHRASE });
    let (status, answer) = served.ask("PUT", "/v1/password", Some(&root), Some(&change));
    assert_eq!(status, 204, "{answer}");
    let proof = json!({ "password": PASSPHRASE });
    let (_, enrolment) = served.ask("POST", "/v1/totp", Some(&root), Some(&proof));
    let key = enrolment["key"].as_str().unwrap_or_else(|| panic!("{enrolment}")).to_owned();
    let code = json!({ "code": oathtool(&key, "30 seconds ago") });
    let (_, recovery) = served.ask("POST", "/v1/totp/confirm", Some(&root), Some(&code));
    let codes: Vec<String> = serde_json::from_value(recovery["recovery"].clone()).unwrap();
    sought.extend(codes.iter().map(|code| ("a recovery code", code.clone())));
    sought.push(("the key of one-time codes", key.clone()));

    // A session, and what only whoever has it knows: its signature.
    let wish = |recovery: &str, service: &str| json!({ "name": "root", "password": PASSPHRASE, "recovery": recovery, "service": service });
    let (_, signed) = served.ask("POST", "/v1/login", None, Some(&wish(&codes[0], "mcias")));
    let session = signed["token"].as_str().unwrap_or_else(|| panic!("{signed}")).to_owned();
    sought.push(("a session", session.rsplit('.').next().unwrap().to_owned()));
    let cookie = format!("header = \"cookie: __Host-mcias={session}\"\n");
    let account = curl(&served, "/account", &cookie);
    assert!(account.starts_with("HTTP/2 200") || account.starts_with("HTTP/1.1 200"), "{account}");
    answers.push(account);

    // Each of them, where it is wrong or comes in another's place.
    for body in [
        wish(&codes[0], "mcias"),
        wish(PASSPHRASE, "mcias"),
        wish(&codes[1], "No Service"),
        json!({ "name": "root", "password": [PASSPHRASE], "service": "mcias" }),
        json!({ "name": "root", "password": key, "recovery": codes[1], "totp": codes[2], "service": "mcias" }),
        json!({ "name": "nobody", "password": session, "service": "mcias" }),
        // Typed into the wrong field.
        json!({ "name": PASSPHRASE, "password": "another one", "service": "mcias" }),
    ] {
        let (status, answer) = served.ask("POST", "/v1/login", None, Some(&body));
        assert!(answer["token"].is_null(), "{status} {answer}");
        answers.push(answer.to_string());
    }
    let secret = client(&served);
    sought.push(("a client's", secret.clone()));
    let verifier = "v".repeat(43);
    let form = format!(
        "grant_type=authorization_code&code=none&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_verifier={verifier}"
    );
    for (secret, outcome) in [(&*secret, "invalid_grant"), (AT_GITHUB, "invalid_client")] {
        for more in [
            format!("user = \"app:{secret}\"\ndata = \"{form}\"\n"),
            format!("data = \"{form}&client_id=app&client_secret={secret}\"\n"),
        ] {
            let answer = curl(&served, "/sso/token", &more);
            assert!(answer.contains(outcome), "{answer}");
            answers.push(answer);
        }
    }
    // The other issuer says again all that it was told.
    let away = curl(&served, "/external/github", "");
    let state = away.split_once("&state=").unwrap_or_else(|| panic!("{away}")).1.split('&').next().unwrap();
    let set = away.lines().find(|line| line.to_lowercase().starts_with("set-cookie:"));
    let kept = set.unwrap().split_once(": ").unwrap().1.split(';').next().unwrap().to_owned();
    let back = format!("/external/github/callback?code=a-code&state={state}");
    let back = curl(&served, &back, &format!("header = \"cookie: {kept}\"\n"));
    assert!(back.contains("did not confirm the sign-in"), "{back}");
    answers.push(back);

    for answer in &answers {
        search_all(&sought, answer.as_bytes(), "an answer");
    }
    let place = &served.place;
    for words in [
        &["audit"][..],
        &["audit", "--json"],
        &["events", "--json"],
        &["doctor", "--json"],
        &["-v", "-v", "-v", "mcias", "accounts", "--json"],
        &["mcias", "explain", "root", "--service", "mcias", "--json"],
        &["runs", "--json"],
        &["show", &place.newest_id(), "--json"],
    ] {
        let seen = place.run(words);
        search_all(&sought, format!("{seen}").as_bytes(), &words.join(" "));
    }
    let backup = place.at("backup");
    place.ends(0, &["backup", "--out", &backup]);
    search_all(&sought, &fs::read(&backup).unwrap(), "the backup");
    each_stored(place, |bytes, what| {
        search_all(&sought, bytes, what);
        let raw = base32(&key);
        assert!(
            !bytes.windows(raw.len()).any(|window| window == raw),
            "the key of one-time codes is in {what}"
        );
    });
    processes::signal(served.daemon.pid(), Signal::TERM);
    let seen = served.daemon.end();
    assert!(seen.stderr.contains("an external sign-in failed"), "it was told: {seen}");
    search_all(&sought, format!("{seen}").as_bytes(), "the log of the daemon");
}
