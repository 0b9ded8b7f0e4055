//! Owns what the effects on one account share: its key, how it differs from what is wanted, and changing it while others
//! do as well.

use effect::{Action, Applied, Change, Context, FieldChange, Need, Result};
use serde_json::{Value, json};

use super::field;
use crate::account::Account;
use crate::driver::Driver;
use crate::name::Name;

/// What is the same of every effect on one account, which says by methods of its own which account it is (`account`), what it
/// plans (`planned`) and how it is carried out (`carry_out`). The impl is whole in here, as `async_trait` sees no macros within.
macro_rules! ensures_account {
    ($effect:ident) => {
        #[async_trait::async_trait]
        impl effect::Ensure for $effect {
            type State = Account;
            const UNDOABLE: bool = true;

            fn key(&self, context: &Context) -> String {
                $crate::effects::account::account_key(context, self.account())
            }

            async fn observe(&self, world: &World, context: &Context) -> Result<Option<Account>> {
                $crate::effects::check_node(context, self.node.as_deref())?;
                world.driver(context).account(&self.account().parse()?).await
            }

            async fn change(
                &self,
                world: &World,
                context: &Context,
                before: Option<&Account>,
            ) -> Result<effect::Change<Account>> {
                $crate::driver::check_feature(&*world.driver(context), $crate::driver::Feature::Accounts)?;
                self.planned(context, before)
            }

            async fn apply(
                &self,
                world: &World,
                context: &Context,
                before: Option<&Account>,
                _: &effect::Change<Account>,
            ) -> Result<effect::Applied<Account>> {
                let driver = world.driver(context);
                Ok(effect::Applied::to(self.carry_out(&*driver, context, before).await?))
            }

            async fn rewind(
                &self,
                _: &World,
                _: &Context,
                now: Option<&Account>,
                earlier: Option<&Account>,
            ) -> Result<effect::Change<Account>> {
                Ok($crate::effects::account::rewound(now, earlier))
            }

            async fn apply_rewind(
                &self,
                world: &World,
                context: &Context,
                now: Option<&Account>,
                earlier: Option<&Account>,
                _: &effect::Change<Account>,
            ) -> Result<effect::Applied<Account>> {
                $crate::effects::account::bring_back(&*world.driver(context), context, now, earlier).await
            }
        }
    };
}
pub(super) use ensures_account;

/// The key of an account; only the local node is known to this version.
pub(super) fn account_key(context: &Context, name: &str) -> String {
    context.key("mcias", None, &format!("accounts/{}", name.to_ascii_lowercase()))
}

pub(super) fn writes_account(name: &Name) -> Need {
    Need::write("mcias", format!("accounts/{name}"))
}

/// A field of an account, by its name.
type Reader = (&'static str, fn(&Account) -> Value);

/// What differs between two states of an account, field by field.
fn differences(before: Option<&Account>, after: Option<&Account>) -> Vec<FieldChange> {
    let of = |account: Option<&Account>, read: fn(&Account) -> Value| {
        account.map(read).filter(|value| !value.is_null() && value != &json!([]))
    };
    let readers: [Reader; 6] = [
        ("type", |account| json!(account.kind)),
        ("email", |account| json!(account.email)),
        ("status", |account| json!(account.status)),
        ("roles", |account| json!(account.roles)),
        ("groups", |account| json!(account.groups)),
        ("tags", |account| json!(account.tags)),
    ];
    let differ = |(path, read): Reader| field(path, of(before, read), of(after, read));
    readers.into_iter().filter_map(differ).collect()
}

/// The change from one state of an account to another.
pub(super) fn change_of(before: Option<&Account>, after: Option<Account>) -> Change<Account> {
    let fields = differences(before, after.as_ref());
    match (before, &after) {
        (None, None) => Change::none(None),
        (Some(before), Some(after)) if !after.differs(before) => Change::none(Some(before.clone())),
        (Some(_), Some(_)) => Change::to(Action::Update, after, fields),
        (None, Some(_)) => {
            let mut change = Change::to(Action::Create, after, fields);
            change.unknown = vec!["id"];
            change
        }
        (Some(_), None) => Change::to(Action::Remove, None, fields)
            .note("its tokens and whatever proves who it is go with it")
            .losing("passwords, second factors and tokens of an account do not come back"),
    }
}

/// Makes of the account what `wish` makes of it, whatever others do to its other fields meanwhile.
pub(super) async fn change_account(
    driver: &dyn Driver,
    context: &Context,
    name: &Name,
    wish: impl Fn(Option<&Account>) -> Result<Account>,
) -> Result<Account> {
    Ok(crate::driver::change(driver, (name, context.now()), wish).await?.1)
}

/// What bringing an earlier state of an account back changes.
pub(super) fn rewound(now: Option<&Account>, earlier: Option<&Account>) -> Change<Account> {
    change_of(now, restored(now, earlier))
}

/// An earlier state of an account: one that is gone by now comes back as another account, which no old token fits.
fn restored(now: Option<&Account>, earlier: Option<&Account>) -> Option<Account> {
    let earlier = earlier?.clone();
    Some(match now {
        Some(now) => Account { id: now.id.clone(), created: now.created, ..earlier },
        None => earlier,
    })
}

/// Brings an earlier state of an account back.
pub(super) async fn bring_back(
    driver: &dyn Driver,
    context: &Context,
    now: Option<&Account>,
    earlier: Option<&Account>,
) -> Result<Applied<Account>> {
    let after = restored(now, earlier).map(|account| Account { changed: context.now().0, ..account });
    driver.put(now, after.as_ref()).await?;
    Ok(after.map_or_else(Applied::gone, Applied::to))
}
