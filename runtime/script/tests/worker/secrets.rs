//! Secrets: they pass through a script without becoming text.

use effect::Code;

use crate::support::{World, done, failure, printed};

#[test]
fn a_secret_goes_back_as_it_came() {
    let world = World::default();
    done(
        r#"
        local s = secrets.get "mcq/db"
        test.echo { password = s }
        test.echo { url = "postgres://" .. s .. "@host" }
        "#,
        &world,
    );
    let asked = world.asked();
    assert_eq!(asked[1], r##"#2 test.echo {"password":{"$secret":[{"name":"mcq/db","tag":"00"}]}}"##);
    assert_eq!(
        asked[2],
        r##"#3 test.echo {"url":{"$secret":["postgres://",{"$secret":[{"name":"mcq/db","tag":"00"}]},"@host"]}}"##
    );
}

#[test]
fn a_secret_never_becomes_text() {
    let ways = [
        "tostring(s)",
        "local _ = `{s}`",
        "string.format('%s', s)",
        "local _ = #s",
        "local _ = s.x",
        "local _ = s .. {}",
        "for _ in s do end",
    ];
    for way in ways {
        let failed = failure(&format!("local s = secrets.get 'mcq/db' {way}"));
        assert_eq!(failed.error.code, Code::SecretPlace, "{way}: {:?}", failed.error);
    }
}

#[test]
fn what_is_shown_of_a_secret_is_its_name() {
    let world = World::default();
    done(
        r#"
        local s = secrets.get "mcq/db"
        print(s, "x" .. s .. secrets.get "other")
        log.info("with", { s = s })
        print(getmetatable(s))
        "#,
        &world,
    );
    assert_eq!(world.messages(), ["secret(mcq/db)\tsecret(mcq/db, other)", "with", "secret"]);
    assert_eq!(
        world.lines.borrow()[1].fields.as_ref().unwrap().get(),
        r#"{"s":{"$secret":[{"name":"mcq/db","tag":"00"}]}}"#
    );
    let raised = failure("error(secrets.get 'mcq/db')");
    assert_eq!(raised.error.message, "the script raised secret(mcq/db)");
}

#[test]
fn a_secret_cannot_be_taken_apart() {
    let lines = printed(
        r#"
        local s = secrets.get "mcq/db"
        print(pcall(rawget, s, 1), pcall(setmetatable, s, {}), (pcall(next, s)))
        "#,
    );
    assert!(lines[0].starts_with("false") && lines[0].ends_with("false"), "{lines:?}");
}
