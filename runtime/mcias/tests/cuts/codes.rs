//! Codes of single sign-on: what a client redeems once.

use mcias::driver::{Holder, Via};
use mcias::embedded::Authorized;
use mcias::sso::{Client, Pairs, Type};

use super::*;

const ASKED: &str = "client_id=cli&redirect_uri=https%3A%2F%2Fmcq.example%2Fcallback&response_type=code&scope=openid\
                     &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A place with the client `cli`, and alice signed in.
async fn place() -> (Place, Holder) {
    let place = Place::new().await;
    let service = opened(place.folder.path(), &place.clock);
    let client = Client {
        id: name("cli"),
        kind: Type::Public,
        service: name("mcq"),
        redirect_uris: ["https://mcq.example/callback".to_owned()].into(),
        logout_uris: BTreeSet::new(),
        secret_version: 1,
        secret: None,
    };
    service.put_sso_client(None, Some(&client)).await.unwrap();
    let (first, second) = (First::Password(PASSWORD), Second::Recovery(&place.recovery[0]));
    let wish = SignIn { name: "alice", first, second: Some(second), service: "mcias", address: None };
    let Outcome::Token(session) = service.sign_in(&wish).await.unwrap() else { panic!("not let in") };
    let session = service.validate(&session.text, &name("mcias")).await.unwrap().unwrap();
    (place, session)
}

async fn code(service: &Embedded, session: &Holder) -> String {
    match service.authorize(ASKED, Some(session), None).await.unwrap() {
        Authorized::Back(address) => {
            let sent = Pairs::parse(address.split_once('?').unwrap().1).unwrap();
            sent.get("code").unwrap().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

/// The token that it gives. A full disk is an answer as well.
async fn redeemed(service: &Embedded, code: &str) -> Option<String> {
    let form = format!(
        "grant_type=authorization_code&client_id=cli&code={code}&code_verifier={VERIFIER}\
         &redirect_uri=https%3A%2F%2Fmcq.example%2Fcallback"
    );
    let granted = service.redeem_code(&Pairs::parse(&form).unwrap(), None, None).await.ok()?.ok()?;
    Some(granted.access_token.to_string())
}

/// How many tokens of clients there are, and how many of them are valid.
async fn given(service: &Embedded) -> (usize, usize) {
    let tokens = service.tokens(&name("alice")).await.unwrap();
    let given: Vec<_> = tokens.into_iter().filter(|token| token.via == Via::Sso).collect();
    (given.len(), given.iter().filter(|token| !token.revoked).count())
}

/// What is left of a code is its token, or itself: one of them, and each once.
async fn is_whole(service: &Embedded, code: &str) -> usize {
    let (made, _) = given(service).await;
    let again = redeemed(service, code).await;
    assert_eq!(made + usize::from(again.is_some()), 1, "given twice, or used up for nothing");
    if let Some(token) = &again {
        assert!(service.validate(token, &name("mcq")).await.unwrap().is_ok());
        assert_eq!(redeemed(service, code).await, None, "taken twice");
    }
    // Nobody can tell whom of two it was meant for.
    assert_eq!(given(service).await, (1, 0));
    made
}

#[tokio::test]
async fn a_kill_anywhere_in_a_redemption_gives_one_token_or_leaves_the_code() {
    let (place, session) = place().await;
    let disk = Disk::of(place.folder.path());
    let service = opened(place.folder.path(), &place.clock);
    let code = code(&service, &session).await;
    *disk.left.lock().unwrap() = Some(Vec::new());
    let token = redeemed(&service, &code).await.unwrap();
    let left = disk.left.lock().unwrap().take().unwrap();
    assert!(service.validate(&token, &name("mcq")).await.unwrap().is_ok());
    let mut kinds = BTreeSet::new();
    for folder in left {
        kinds.insert(is_whole(&opened(folder.path(), &place.clock), &code).await);
    }
    assert_eq!(kinds, [0, 1].into(), "the kill came before and after the commit");
}

#[tokio::test]
async fn a_full_disk_anywhere_in_a_redemption_gives_one_token_or_leaves_the_code() {
    let (place, session) = place().await;
    let (mut struck, mut told) = (0, 0);
    for from in 0..12 {
        let folder = copied(place.folder.path());
        let disk = Disk::of(folder.path());
        let service = opened(folder.path(), &place.clock);
        let code = code(&service, &session).await;
        let begin = disk.operations.load(Ordering::Relaxed);
        disk.full_from.store(begin + from, Ordering::Relaxed);
        let token = redeemed(&service, &code).await;
        drop(service);
        disk.full_from.store(usize::MAX, Ordering::Relaxed);
        struck += usize::from(disk.is_struck.load(Ordering::Relaxed));
        let service = opened(folder.path(), &place.clock);
        if let Some(token) = &token {
            told += 1;
            assert!(service.validate(token, &name("mcq")).await.unwrap().is_ok(), "what was told is there");
        }
        is_whole(&service, &code).await;
    }
    assert!(struck >= 2 && told >= 2, "the disk was full {struck} times, and {told} were given a token");
}
