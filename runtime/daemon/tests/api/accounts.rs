//! The calls of identity: what the policy lets through, what whoever keeps accounts refuses beyond that, and what is told of
//! accounts that a caller may not know of.

use std::sync::Mutex;
use std::time::Duration;

use api::v1;
use api::v1::identity_client::IdentityClient;
use async_trait::async_trait;
use daemon::api::client::request;
use daemon::api::{Accounts, Asker};
use effect::{Code, Error, Principal, Result};
use journal::audit::Filter;
use peer::calls::Way;
use serde_json::json;
use tokio::net::UnixStream;
use tonic::{Request, Status};

use crate::leaving::of_ada;
use crate::stage::Stage;

/// Accounts of a test: `ada`, `bob` and what the other tests ask about. Who is no admin sees its own.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Who asked for what.
    pub(crate) asked: Mutex<Vec<(Asker, String)>>,
}

const NAMES: [&str; 5] = ["ada", "bob", "mcq", "mcr", "web"];

fn account(name: &str) -> v1::Account {
    v1::Account { name: name.into(), kind: "human".into(), status: "active".into(), ..Default::default() }
}

fn denied() -> Error {
    Error::new(Code::AccessDenied, "it sees its own")
}

impl Ledger {
    fn note(&self, asker: &Asker, what: &str, of: &str) -> Result<()> {
        self.asked.lock().unwrap().push((asker.clone(), format!("{what} {of}")));
        let is_admin = match &asker.principal {
            Principal::Account { name, roles, .. } => {
                roles.iter().any(|role| role == "admin") || (what == "see" && name == of)
            }
            Principal::System { name, .. } => what == "see" && name == of,
            _ => true,
        };
        if is_admin { Ok(()) } else { Err(denied()) }
    }

    fn known(name: &str) -> Result<v1::Account> {
        let unknown = || Error::new(Code::AccountUnknown, format!("there is no account `{name}`"));
        NAMES.contains(&name).then(|| account(name)).ok_or_else(unknown)
    }
}

#[async_trait]
impl Accounts for Ledger {
    async fn accounts(&self, asker: &Asker) -> Result<Vec<v1::Account>> {
        self.note(asker, "list", "")?;
        Ok(NAMES.map(account).to_vec())
    }

    async fn account(&self, asker: &Asker, name: &str) -> Result<v1::Account> {
        self.note(asker, "see", name)?;
        Self::known(name)
    }

    async fn ensure_account(
        &self,
        asker: &Asker,
        wish: &v1::EnsureAccountRequest,
    ) -> Result<v1::EnsureAccountResponse> {
        self.note(asker, "ensure", &wish.account)?;
        Ok(v1::EnsureAccountResponse { account: Some(account(&wish.account)), has_changed: true })
    }

    async fn disable_account(&self, asker: &Asker, name: &str) -> Result<v1::Account> {
        self.note(asker, "disable", name)?;
        Self::known(name)
    }

    async fn set_role(&self, asker: &Asker, wish: &v1::SetRoleRequest) -> Result<v1::Account> {
        self.note(asker, "role", &wish.account)?;
        Self::known(&wish.account)
    }

    async fn tokens(&self, asker: &Asker, account: &str) -> Result<Vec<v1::Token>> {
        self.note(asker, "see", account)?;
        Self::known(account)?;
        Ok(vec![v1::Token { id: "t".into(), ..Default::default() }])
    }

    async fn issue_token(
        &self,
        asker: &Asker,
        wish: &v1::IssueTokenRequest,
    ) -> Result<v1::IssueTokenResponse> {
        self.note(asker, "issue", &wish.account)?;
        Self::known(&wish.account)?;
        Ok(v1::IssueTokenResponse { token: "x.y.z".into(), about: None })
    }

    async fn revoke_token(&self, asker: &Asker, account: &str, _: &str) -> Result<()> {
        self.note(asker, "see", account)?;
        Self::known(account).map(drop)
    }

    async fn validate_token(
        &self,
        asker: &Asker,
        wish: &v1::ValidateTokenRequest,
    ) -> Result<v1::ValidateTokenResponse> {
        self.note(asker, "see", &wish.service)?;
        Ok(v1::ValidateTokenResponse { holder: None, refusal: "expired".into() })
    }

    async fn rules(&self, asker: &Asker, set: &str) -> Result<Option<String>> {
        self.note(asker, "rules", set)?;
        Ok(None)
    }

    async fn ensure_rules(&self, asker: &Asker, set: &str, _: &str) -> Result<bool> {
        self.note(asker, "rules", set)?;
        Ok(true)
    }

    async fn explain(
        &self,
        asker: &Asker,
        question: &v1::ExplainSignInRequest,
    ) -> Result<v1::ExplainSignInResponse> {
        self.note(asker, "explain", &question.account)?;
        Ok(v1::ExplainSignInResponse::default())
    }
}

async fn calling(stage: &Stage) -> IdentityClient<Way> {
    let way = Way::over(UnixStream::connect(stage.socket()).await.unwrap(), None).await;
    IdentityClient::with_origin(way.map_err(drop).unwrap(), http::Uri::from_static("http://mcrun"))
}

fn get(name: &str) -> Request<v1::GetAccountRequest> {
    of_ada(v1::GetAccountRequest { account: name.into() })
}

/// A stage in which `ada` has an account with these roles, and may look at `web`.
async fn with_ada(roles: &[&str]) -> (Stage, IdentityClient<Way>) {
    let stage = Stage::open().await;
    stage.issuer.know(roles, Duration::from_secs(3600));
    stage.rule(json!([{ "principals": ["account:ada"], "actions": ["services.*"], "objects": ["web"], "effect": "allow" }]));
    let identity = calling(&stage).await;
    (stage, identity)
}

fn same_but_for(names: (&str, &str), one: &Status, other: &Status) {
    assert_eq!(one.code(), other.code());
    assert_eq!(one.message().replace(names.0, "?"), other.message().replace(names.1, "?"));
}

#[tokio::test]
async fn an_account_sees_itself_and_no_other() {
    let (stage, mut identity) = with_ada(&["user"]).await;
    assert_eq!(identity.get_account(get("ada")).await.unwrap().into_inner().account.unwrap().name, "ada");
    let hidden = identity.get_account(get("bob")).await.unwrap_err();
    let missing = identity.get_account(get("nix")).await.unwrap_err();
    assert_eq!(hidden.code(), tonic::Code::NotFound);
    same_but_for(("bob", "nix"), &hidden, &missing);
    let revoke = |name: &str| of_ada(v1::RevokeTokenRequest { account: name.into(), id: "t".into() });
    identity.revoke_token(revoke("ada")).await.unwrap();
    let hidden = identity.revoke_token(revoke("bob")).await.unwrap_err();
    same_but_for(("bob", "nix"), &hidden, &identity.revoke_token(revoke("nix")).await.unwrap_err());
    // Its own is not for it to change, and that it may know.
    let disable = |name: &str| of_ada(v1::DisableAccountRequest { account: name.into() });
    let own = identity.disable_account(disable("ada")).await.unwrap_err();
    assert_eq!((own.code(), own.message().contains("accounts.write")), (tonic::Code::PermissionDenied, true));
    let other = identity.disable_account(disable("bob")).await.unwrap_err();
    same_but_for(("bob", "nix"), &other, &identity.disable_account(disable("nix")).await.unwrap_err());
    let asked = stage.asked_of_accounts();
    assert_eq!(asked, ["see ada", "see ada"], "what the policy refuses is not asked");
}

#[tokio::test]
async fn what_a_rule_allows_beyond_its_own_an_account_is_refused_all_the_same() {
    let (stage, mut identity) = with_ada(&["user"]).await;
    stage.rule(
        json!([{ "principals": ["account:ada"], "actions": ["accounts.*", "login.*"], "effect": "allow" }]),
    );
    let hidden = identity.get_account(get("bob")).await.unwrap_err();
    let missing = identity.get_account(get("nix")).await.unwrap_err();
    same_but_for(("bob", "nix"), &hidden, &missing);
    let list = of_ada(v1::ListAccountsRequest::default());
    assert_eq!(identity.list_accounts(list).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let rules = of_ada(v1::GetRulesRequest { set: "staff".into() });
    assert_eq!(identity.get_rules(rules).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let audited = stage.journal.audited(Filter::default(), 0, 100).await.unwrap();
    let denied: Vec<(&str, &str)> = audited
        .iter()
        .filter(|one| one.outcome == "denied" && one.principal == "account:ada")
        .map(|one| (one.action.as_str(), one.object.as_str()))
        .collect();
    let wanted =
        [("accounts.read", "bob"), ("accounts.read", "nix"), ("accounts.read", ""), ("login.read", "staff")];
    assert_eq!(denied, wanted);
}

#[tokio::test]
async fn an_admin_is_asked_about_by_name_and_what_is_done_stands_in_the_audit() {
    let (stage, mut identity) = with_ada(&["admin"]).await;
    let ensure = v1::EnsureAccountRequest { account: "Carol".into(), ..Default::default() };
    assert!(identity.ensure_account(of_ada(ensure)).await.unwrap().into_inner().has_changed);
    let audited = stage.journal.audited(Filter::default(), 0, 100).await.unwrap();
    let told = audited.iter().find(|one| one.action == "accounts.write").unwrap();
    assert_eq!((told.principal.as_str(), told.object.as_str()), ("account:ada", "carol"));
    assert_eq!(told.outcome, "allowed");
    let asker = stage.accounts.asked.lock().unwrap()[0].0.clone();
    assert_eq!(asker.principal.to_string(), "account:ada");
}

#[tokio::test]
async fn a_rule_is_about_a_name_however_it_is_written() {
    let (stage, mut identity) = with_ada(&["admin"]).await;
    stage.rule(json!([
        { "principals": ["*"], "actions": ["accounts.*"], "objects": ["bob"], "effect": "deny", "priority": 9 },
    ]));
    for name in ["bob", "Bob", "BOB"] {
        assert!(identity.get_account(get(name)).await.is_err(), "{name}");
    }
    // Nor is it in a list.
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = v1::ListAccountsRequest { page_size: 2, page_token };
        let page = identity.list_accounts(of_ada(list)).await.unwrap().into_inner();
        found.extend(page.accounts.into_iter().map(|account| account.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, ["ada", "mcq", "mcr", "web"]);
}

#[tokio::test]
async fn a_daemon_that_keeps_no_accounts_says_so() {
    let stage = Stage::without_accounts().await;
    let mut identity = calling(&stage).await;
    let wish = request(v1::GetAccountRequest { account: "ada".into() });
    let refused = identity.get_account(wish).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message().contains("keeps no accounts")),
        (tonic::Code::Unimplemented, true)
    );
}
