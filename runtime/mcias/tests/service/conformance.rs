//! What every driver does, each feature that it declares in whole. Another driver is handed to the same functions.

use mcias::driver::{Driver, Feature, Planned, Question};
use mcias::sso::{Client, Type};

use super::*;

pub(super) async fn conforms(driver: &dyn Driver) {
    let service = name("mcq");
    assert!(driver.validate("no token", &service).await.unwrap().is_err());
    if driver.features().contains(&Feature::Accounts) {
        accounts(driver).await;
    }
    if driver.features().contains(&Feature::Policy) {
        rules(driver).await;
    }
    if driver.features().contains(&Feature::Tokens) {
        tokens(driver).await;
    }
    if driver.features().contains(&Feature::Sso) {
        clients(driver).await;
    }
    for missing in Feature::ALL.iter().filter(|feature| !driver.features().contains(feature)) {
        let refused = mcias::driver::check_feature(driver, *missing).unwrap_err();
        assert_eq!(refused.code, Code::Unsupported);
    }
}

async fn accounts(driver: &dyn Driver) {
    assert!(driver.account(&name("conforming")).await.unwrap().is_none());
    let account = Account::new(name("conforming"), Kind::System, START).unwrap();
    driver.put(None, Some(&account)).await.unwrap();
    assert_eq!(driver.put(None, Some(&account)).await.unwrap_err().code, Code::AccountChanged);
    assert_eq!(driver.account(&account.name).await.unwrap().as_ref(), Some(&account));
    assert!(driver.accounts().await.unwrap().contains(&account));
}

async fn rules(driver: &dyn Driver) {
    let set = RuleSet { name: name("conforming"), rules: vec![rule("all", true)] };
    driver.put_rules(None, Some(&set)).await.unwrap();
    assert_eq!(driver.rules(&set.name).await.unwrap().as_ref(), Some(&set));
    let question = Question {
        account: &name("conforming"),
        service: &name("mcq"),
        address: None,
        at: None,
        first: None,
        planned: Planned::default(),
    };
    let said = driver.explain(&question).await.unwrap();
    assert_eq!((said.allowed, said.rule.as_deref()), (true, Some("all")));
    let nobody = Question { account: &name("nobody"), ..question };
    assert_eq!(driver.explain(&nobody).await.unwrap_err().code, Code::AccountUnknown);
}

async fn tokens(driver: &dyn Driver) {
    let (account, service) = (driver.account(&name("conforming")).await.unwrap().unwrap(), name("mcq"));
    let order = Order { account: &account, service: &service, lifetime: None, id: "an-id" };
    let issued = driver.issue(&order).await.unwrap();
    let holder = driver.validate(&issued.text, &service).await.unwrap().unwrap();
    assert_eq!(holder.account, account.name);
    assert_eq!(driver.tokens(&account.name).await.unwrap(), *std::slice::from_ref(&issued.token));
    for _ in 0..2 {
        driver.revoke(&account.name, std::slice::from_ref(&issued.token.id)).await.unwrap();
    }
    assert!(driver.validate(&issued.text, &service).await.unwrap().is_err());
}

async fn clients(driver: &dyn Driver) {
    let client = Client {
        id: name("conforming"),
        kind: Type::Confidential,
        service: name("mcq"),
        redirect_uris: ["https://mcq.example/callback".to_owned()].into(),
        logout_uris: BTreeSet::new(),
        secret_version: 1,
        secret: None,
    };
    let made = driver.put_sso_client(None, Some(&client)).await.unwrap().unwrap();
    assert!(made.secret.is_some() && !made.differs(&client));
    assert_eq!(driver.put_sso_client(None, Some(&client)).await.unwrap_err().code, Code::AccountChanged);
    assert_eq!(driver.sso_client(&client.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(driver.sso_clients().await.unwrap(), *std::slice::from_ref(&made));
    let nowhere = Client { redirect_uris: BTreeSet::new(), ..made.clone() };
    assert_eq!(driver.put_sso_client(Some(&made), Some(&nowhere)).await.unwrap_err().code, Code::SsoClient);
    assert_eq!(driver.put_sso_client(Some(&made), None).await.unwrap(), None);
    assert_eq!(driver.sso_client(&client.id).await.unwrap(), None);
}

#[tokio::test]
async fn the_embedded_service_conforms() {
    conforms(&Place::new().service).await;
}
