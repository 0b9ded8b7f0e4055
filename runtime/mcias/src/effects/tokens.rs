//! Owns `mcias.tokens.issue`, `mcias.tokens.validate` and `mcias.tokens.revoke`.

use async_trait::async_trait;
use effect::units::Span;
use effect::{
    Act, Action, Applied, Change, Code, Context, Declared, Doubt, Ensured, Error, Need, OnDoubt, Read,
    Result, Secret,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{World, check_node, field};
use crate::account::Account;
use crate::driver::{Feature, Holder, Order, Via, check_feature, unknown};
use crate::name::Name;
use crate::token::Refusal;
use crate::{random, secrets};

fn writes_tokens(account: &Name) -> Need {
    Need::write("mcias", format!("tokens/{account}"))
}

/// Makes a token for an account, without a sign-in: how a service gets the one by which others know it.
///
/// The token is a secret. It may go to containers of the account's own name (`NAME`, `NAME-…`), back to mcias, and to where
/// `tokens_to` of `[mcias]` lets it; handing it on takes `secrets:read:mcias.tokens/NAME/*`. Only its SHA-256 is recorded. The login
/// policy is asked: without a rule for the account and the service, none is made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// The account that it is for.
    account: String,
    /// The one service that takes it.
    service: String,
    /// How long it is valid: 365 days for a system account and 15 minutes for a person, unless given or set otherwise.
    lifetime: Option<Span>,
    /// The node; this one unless given.
    node: Option<String>,
    /// What to do when it is unknown whether it took place; it can be asked, so this is hardly ever looked at.
    #[serde(default)]
    on_doubt: OnDoubt,
    /// The result that a plan goes on with.
    assume: Option<Value>,
}

/// A token that was made.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// What tells it from every other token.
    pub id: String,
    /// Whose it is.
    pub account: Name,
    /// The one service that takes it.
    pub service: Name,
    /// When it expires, in unix milliseconds.
    pub expires_at: i64,
    /// The token itself.
    pub token: Secret,
}

impl Declared for Issue {
    const NAME: &'static str = "mcias.tokens.issue";
    const CAPABILITY: &'static str = "mcias:write:tokens/NAME";
    const EXAMPLE: &'static str = "mcias.accounts.ensure { name = \"mcq\", type = \"system\" }\nmcias.policy.ensure { name = \"mcq\", rules = { { name = \"push\", allow = true, accounts = { \"mcq\" }, services = { \"mcr\" } } } }\nlocal made = mcias.tokens.issue { account = \"mcq\", service = \"mcr\" }\nprint(made.expires_at)";
    type World = World;
    type Output = Made;

    fn subject(&self) -> String {
        format!("{} for {}", self.account, self.service)
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![writes_tokens(&self.account.parse()?)])
    }
}

impl Issue {
    async fn account(&self, world: &World, context: &Context) -> Result<Account> {
        check_node(context, self.node.as_deref())?;
        let name = self.account.parse()?;
        world.driver(context).account(&name).await?.ok_or_else(|| unknown(&name))
    }

    async fn make(&self, world: &World, context: &Context, id: &str) -> Result<Made> {
        let (driver, service) = (world.driver(context), self.service.parse()?);
        check_feature(&*driver, Feature::Tokens)?;
        let account = self.account(world, context).await?;
        let lifetime = self.lifetime.map(|span| span.0);
        let issued = driver.issue(&Order { account: &account, service: &service, lifetime, id }).await?;
        let name = secrets::name(&account.name, &issued.token.id);
        Ok(Made {
            id: issued.token.id,
            account: account.name,
            service,
            expires_at: issued.token.expires_at,
            token: Secret::named(&name, context.sealer.tag(issued.text.as_bytes())),
        })
    }
}

/// The id of a token that this very act makes, and no other.
fn id_of(key: &str) -> String {
    random::encoded(&random::sha256(format!("mcias.tokens.issue {key}").as_bytes())[..16])
}

#[async_trait]
impl Act for Issue {
    const ASKABLE: bool = true;

    fn on_doubt(&self) -> OnDoubt {
        self.on_doubt
    }

    fn assume(&self) -> Option<Value> {
        self.assume.clone()
    }

    fn admit(&self, world: &World, context: &Context) -> Result<()> {
        check_node(context, self.node.as_deref())?;
        self.service.parse::<Name>()?;
        check_feature(&*world.driver(context), Feature::Tokens)
    }

    async fn act(&self, world: &World, context: &Context, key: &str) -> Result<Made> {
        self.make(world, context, &id_of(key)).await
    }

    async fn ask(&self, world: &World, context: &Context, key: &str) -> Result<Doubt<Made>> {
        let id = id_of(key);
        let tokens = world.driver(context).tokens(&self.account.parse()?).await?;
        if !tokens.iter().any(|token| token.id == id && token.via == Via::Issue) {
            return Ok(Doubt::NotDone);
        }
        // The same order makes the same token, so making it again only reads it.
        self.make(world, context, &id).await.map(Doubt::Done)
    }
}

/// Says whom a token stands for, with the roles that the account has now, or why it is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Validate {
    /// The token.
    token: Secret,
    /// The service that was given it.
    service: String,
    /// The node; this one unless given.
    node: Option<String>,
}

/// Whether a token is valid.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Whether it is.
    pub valid: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Whom it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

impl Declared for Validate {
    const NAME: &'static str = "mcias.tokens.validate";
    const CAPABILITY: &'static str = "mcias:read:tokens/SERVICE";
    const EXAMPLE: &'static str = "mcias.accounts.ensure { name = \"mcq\", type = \"system\" }\nmcias.policy.ensure { name = \"mcq\", rules = { { name = \"push\", allow = true, accounts = { \"mcq\" }, services = { \"mcr\" } } } }\nlocal made = mcias.tokens.issue { account = \"mcq\", service = \"mcr\" }\nprint(mcias.tokens.validate({ token = made.token, service = \"mcr\" }).valid)";
    type World = World;
    type Output = Answer;

    fn subject(&self) -> String {
        self.service.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("mcias", format!("tokens/{}", self.service.parse::<Name>()?))])
    }
}

/// The text of a token that a script holds.
pub(super) async fn revealed(context: &Context, token: &Secret) -> Result<Zeroizing<String>> {
    let value = context.reveal(token, "mcias:validate").await?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&value).into_owned()))
}

#[async_trait]
impl Read for Validate {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Answer> {
        check_node(context, self.node.as_deref())?;
        let token = match revealed(context, &self.token).await {
            Ok(token) => token,
            // One of ours that cannot be handed on any more.
            Err(error) if error.code == Code::SecretUnknown => {
                return Ok(Answer { valid: false, refusal: Some(Refusal::Unknown), holder: None });
            }
            Err(error) => return Err(error),
        };
        Ok(match world.driver(context).validate(&token, &self.service.parse()?).await? {
            Ok(holder) => Answer { valid: true, refusal: None, holder: Some(holder) },
            Err(refusal) => Answer { valid: false, refusal: Some(refusal), holder: None },
        })
    }
}

/// Makes sure that tokens of an account are valid no more, at once.
///
/// It cannot be undone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeTokens {
    /// Whose tokens.
    account: String,
    /// Which one, by its id; all of them unless given.
    id: Option<String>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// How tokens of an account stand.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Whose tokens.
    pub account: Name,
    /// Those that are valid, by their ids.
    pub valid: Vec<String>,
}

impl Declared for RevokeTokens {
    const NAME: &'static str = "mcias.tokens.revoke";
    const CAPABILITY: &'static str = "mcias:write:tokens/NAME";
    const EXAMPLE: &'static str = "mcias.accounts.ensure { name = \"mcq\", type = \"system\" }\nmcias.tokens.revoke { account = \"mcq\" }";
    type World = World;
    type Output = Ensured<Standing>;

    fn subject(&self) -> String {
        self.account.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![writes_tokens(&self.account.parse()?)])
    }
}

#[async_trait]
impl effect::Ensure for RevokeTokens {
    type State = Standing;

    fn key(&self, context: &Context) -> String {
        context.key(
            "mcias",
            None,
            &format!("tokens/{}/{}", self.account.to_ascii_lowercase(), self.id.as_deref().unwrap_or("all")),
        )
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Standing>> {
        check_node(context, self.node.as_deref())?;
        let account: Name = self.account.parse()?;
        let tokens = world.driver(context).tokens(&account).await?;
        let is_meant = |id: &String| self.id.as_ref().is_none_or(|wanted| wanted == id);
        let valid = tokens.into_iter().filter(|token| !token.revoked).map(|token| token.id).filter(is_meant);
        Ok(Some(Standing { account, valid: valid.collect() }))
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Standing>,
    ) -> Result<Change<Standing>> {
        check_feature(&*world.driver(context), Feature::Tokens)?;
        let before = before.ok_or_else(super::no_outcome)?;
        if before.valid.is_empty() {
            return Ok(Change::none(Some(before.clone())));
        }
        let after = Standing { account: before.account.clone(), valid: Vec::new() };
        let fields = field("valid", Some(json!(before.valid)), Some(json!([]))).into_iter().collect();
        Ok(Change::to(Action::Update, Some(after), fields).losing("a revocation cannot be taken back"))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Standing>,
        change: &Change<Standing>,
    ) -> Result<Applied<Standing>> {
        let (Some(before), Some(after)) = (before, &change.after) else {
            return Err(Error::new(Code::Internal, "a revocation has no outcome"));
        };
        world.driver(context).revoke(&before.account, &before.valid).await?;
        Ok(Applied::to(after.clone()))
    }
}
