//! Owns `certs.ensure`.

use async_trait::async_trait;
use effect::units::Span;
use effect::{
    Action, Applied, Change, Code, Context, Declared, Ensured, Error, FieldChange, Need, Result, Timestamp,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::issue::{Wish, displace, place, tell_renewed};
use super::{World, check_node, key, lease, observe};
use crate::certificate::Certificate;
use crate::files::Placement;
use crate::key::KeyType;
use crate::names::Names;
use crate::renewal;
use crate::store::{certificate_writes, removal_writes};

/// Makes sure that there is a certificate for these names, with its key.
///
/// One that stands is used further while more than 30 days are left of it, or a third of a shorter life; else it is
/// renewed with a new key. Which names it may bear is decided by `[certs]` in mcrun.toml as well.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ensure {
    /// The host names and IP addresses that it is for, the most important one first.
    hostnames: Vec<String>,
    /// What it is called; its first name unless given.
    name: Option<String>,
    /// What it may be used for: `server`, `client`, `both`, `public`, or a profile of mcrun.toml.
    #[serde(default = "default_profile")]
    profile: String,
    /// The kind of its key.
    #[serde(default)]
    key_type: KeyType,
    /// How long it lives, such as `"90d"`; as the profile says unless given.
    lifetime: Option<Span>,
    /// How much must be left of it; 30 days, or a third of a shorter life, unless given.
    renew_before: Option<Span>,
    /// The service that it is for.
    service: Option<String>,
    /// Where it is written for the service; nowhere unless given.
    files: Option<Placement>,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_profile() -> String {
    "server".into()
}

impl Declared for Ensure {
    const NAME: &'static str = "certs.ensure";
    const CAPABILITY: &'static str = "certs:write:HOSTNAME";
    const EXAMPLE: &'static str =
        "local cert = certs.ensure { hostnames = { \"hello.mcrun.test\" } }\nprint(cert.after.id)";
    type World = World;
    type Output = Ensured<Certificate>;

    fn subject(&self) -> String {
        self.name.clone().or_else(|| self.hostnames.first().cloned()).unwrap_or_default()
    }

    fn needs(&self, world: &World) -> Result<Vec<Need>> {
        let names = Names::parse(&self.hostnames)?;
        let mut needs = vec![Need::write("certs", self.id(&names)?)];
        for name in names.as_slice() {
            needs.push(Need::write("certs", name.to_string()));
            if name.is_wildcard() {
                needs.push(Need::extra("certs", "wildcards", name.to_string()));
            }
        }
        if let Some(files) = &self.files {
            for path in files.resolved(world.files())?.paths() {
                needs.push(Need::write("files", path));
            }
        }
        needs.dedup();
        Ok(needs)
    }

    fn lease(&self) -> Option<String> {
        let names = Names::parse(&self.hostnames).ok()?;
        lease(&self.id(&names).ok()?)
    }
}

impl Ensure {
    fn id(&self, names: &Names) -> Result<String> {
        let Some(name) = &self.name else { return Ok(names.first().to_string()) };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 253
            && name.chars().all(fits)
        {
            return Ok(name.clone());
        }
        let shown: String = name.chars().take(80).collect();
        Err(Error::new(
            Code::Argument,
            format!("`name`: `{shown}` is not a name: letters, digits, `-`, `_`, `.`"),
        ))
    }

    /// Goes on with what this call describes.
    async fn wished<T>(
        &self,
        world: &World,
        context: &Context,
        with: impl AsyncFnOnce(Wish<'_>) -> Result<T>,
    ) -> Result<T> {
        check_node(context, self.node.as_deref())?;
        let names = Names::parse(&self.hostnames)?;
        let files = self.files.as_ref().map(|files| files.resolved(world.files())).transpose()?;
        with(Wish {
            id: &self.id(&names)?,
            names: &names,
            profile: world.profiles().get(&self.profile)?,
            key_type: self.key_type,
            lifetime: self.lifetime.map(|span| span.0),
            service: self.service.as_deref(),
            files,
        })
        .await
    }

    /// Why the certificate that stands does not do, field by field; empty where it does.
    fn reasons(
        &self,
        wish: &Wish<'_>,
        driver: &str,
        before: &Certificate,
        now: Timestamp,
    ) -> Vec<FieldChange> {
        let mut fields = Vec::new();
        let mut differ = |path: &str, before: Value, after: Value| {
            if before != after {
                fields.push(FieldChange {
                    path: path.into(),
                    before: Some(before),
                    after: Some(after),
                    replaces: false,
                });
            }
        };
        if !before.hostnames.same_as(wish.names) {
            differ("hostnames", json!(before.hostnames), json!(wish.names));
        }
        differ("profile", json!(before.profile), json!(wish.profile.name));
        differ("key_type", json!(before.key_type), json!(wish.key_type));
        differ("driver", json!(before.driver), json!(driver));
        differ("revoked", json!(before.revoked), json!(false));
        let margin = renewal::margin(before.life(), self.renew_before.map(|span| span.0));
        if before.left(now) <= margin {
            let after = format!("{} from the renewal", shown(wish.lifetime.unwrap_or(wish.profile.lifetime)));
            differ("not_after", json!(Timestamp(before.not_after).to_string()), json!(after));
        }
        fields
    }

    /// What differs about the files of a certificate that is good.
    fn file_changes(wish: &Wish<'_>, before: &Certificate) -> Vec<FieldChange> {
        let mut fields = Vec::new();
        let placed = |placement: Option<&Placement>| placement.map(|placement| json!(placement));
        if wish.files.is_some() && wish.files != before.files {
            let (before, after) = (placed(before.files.as_ref()), placed(wish.files.as_ref()));
            fields.push(FieldChange { path: "files".into(), before, after, replaces: false });
        }
        if wish.service.is_some() && wish.service != before.service.as_deref() {
            let (before, after) =
                (before.service.as_ref().map(|service| json!(service)), Some(json!(wish.service)));
            fields.push(FieldChange { path: "service".into(), before, after, replaces: false });
        }
        fields.extend(before.amiss.iter().map(|path| FieldChange {
            path: format!("files.{path}"),
            before: Some(json!("missing or changed")),
            after: Some(json!("as issued")),
            replaces: false,
        }));
        fields
    }
}

/// A lifetime in words.
fn shown(lifetime: std::time::Duration) -> String {
    Span(lifetime).to_string()
}

/// The fields of a certificate that only its authority can know.
const UNKNOWN: [&str; 9] =
    ["serial", "fingerprint", "not_before", "not_after", "renew_at", "chain", "roots", "key", "order"];

/// A certificate as it will be, as far as that can be known: valid from now on, so that a later look of the same plan
/// finds nothing to do.
fn promised(wish: &Wish<'_>, context: &Context, driver: &str) -> Certificate {
    let now = context.now();
    let lifetime = wish.lifetime.unwrap_or(wish.profile.lifetime);
    Certificate {
        id: wish.id.to_owned(),
        hostnames: wish.names.clone(),
        profile: wish.profile.name.clone(),
        key_type: wish.key_type,
        lifetime: wish.lifetime.map(Span),
        service: wish.service.map(str::to_owned),
        driver: driver.to_owned(),
        serial: String::new(),
        fingerprint: String::new(),
        not_before: now.0,
        not_after: now.after(lifetime).0,
        renew_at: now.after(lifetime).0,
        chain: String::new(),
        roots: String::new(),
        files: wish.files.clone(),
        amiss: Vec::new(),
        key: context.sealer.hide(b""),
        order: String::new(),
        revoked: false,
    }
}

#[async_trait]
impl effect::Ensure for Ensure {
    type State = Certificate;
    const UNDOABLE: bool = true;

    fn key(&self, context: &Context) -> String {
        let id = Names::parse(&self.hostnames).and_then(|names| self.id(&names));
        key(context, &id.unwrap_or_default())
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Certificate>> {
        self.wished(world, context, async |wish: Wish<'_>| observe(world, context, wish.id).await).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Certificate>,
    ) -> Result<Change<Certificate>> {
        self.wished(world, context, async |mut wish: Wish<'_>| {
            wish.admit(world, context)?;
            let driver = world.driver(context, wish.profile)?;
            wish.files = wish.files.or_else(|| before.and_then(|before| before.files.clone()));
            let Some(before) = before else {
                let mut change = Change::to(
                    Action::Create,
                    Some(promised(&wish, context, driver.name())),
                    created(&wish, driver.name()),
                );
                change.unknown = UNKNOWN.to_vec();
                return Ok(change);
            };
            let reasons = self.reasons(&wish, driver.name(), before, context.now());
            if !reasons.is_empty() {
                let mut change =
                    Change::to(Action::Update, Some(promised(&wish, context, driver.name())), reasons);
                change.unknown = UNKNOWN.to_vec();
                return Ok(change.note("a new certificate with a new key"));
            }
            let fields = Self::file_changes(&wish, before);
            let after = Certificate {
                files: wish.files.clone(),
                service: wish.service.map(str::to_owned).or_else(|| before.service.clone()),
                amiss: Vec::new(),
                ..before.clone()
            };
            match fields.is_empty() {
                true => Ok(Change::none(Some(before.clone()))),
                false => Ok(Change::to(Action::Update, Some(after), fields)),
            }
        })
        .await
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Certificate>,
        change: &Change<Certificate>,
    ) -> Result<Applied<Certificate>> {
        let after = change.after.as_ref().ok_or_else(no_outcome)?;
        let certificate = if change.unknown.is_empty() {
            after.clone()
        } else {
            self.wished(world, context, async |mut wish: Wish<'_>| {
                wish.files = after.files.clone();
                wish.issue(world, context, before, None).await
            })
            .await?
        };
        place(world, context, &certificate).await?;
        if let Some(before) = before.filter(|before| before.serial != certificate.serial) {
            tell_renewed(context, before, &certificate).await?;
        }
        let writes = certificate_writes(&context.node, &certificate).to_vec();
        Ok(Applied::to(certificate).writing(writes))
    }

    async fn rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Certificate>,
        earlier: Option<&Certificate>,
    ) -> Result<Change<Certificate>> {
        Ok(rewound(context, now, earlier))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Certificate>,
        earlier: Option<&Certificate>,
        _: &Change<Certificate>,
    ) -> Result<Applied<Certificate>> {
        bring_back(world, context, now, earlier).await
    }
}

/// What bringing an earlier certificate back changes.
pub(super) fn rewound(
    context: &Context,
    now: Option<&Certificate>,
    earlier: Option<&Certificate>,
) -> Change<Certificate> {
    let serial = |certificate: Option<&Certificate>| certificate.map(|certificate| json!(certificate.serial));
    let field =
        FieldChange { path: "serial".into(), before: serial(now), after: serial(earlier), replaces: false };
    match (now, earlier) {
        (None, None) => Change::none(None),
        (Some(now), None) => Change::to(Action::Remove, None, vec![field])
            .note(format!("it is not revoked: whoever has it can use it until {}", Timestamp(now.not_after))),
        (Some(now), Some(earlier))
            if now.serial == earlier.serial && now.files == earlier.files && now.amiss.is_empty() =>
        {
            Change::none(Some(now.clone()))
        }
        (now, Some(earlier)) => {
            let action = if now.is_some() { Action::Update } else { Action::Create };
            let after = Certificate { amiss: Vec::new(), ..earlier.clone() };
            let change = Change::to(action, Some(after), vec![field]);
            if earlier.left(context.now()).is_zero() {
                return change.note(format!("it expired at {}", Timestamp(earlier.not_after)));
            }
            change
        }
    }
}

/// Brings an earlier certificate back, with its key and its files.
pub(super) async fn bring_back(
    world: &World,
    context: &Context,
    now: Option<&Certificate>,
    earlier: Option<&Certificate>,
) -> Result<Applied<Certificate>> {
    let files =
        |certificate: Option<&Certificate>| certificate.and_then(|certificate| certificate.files.clone());
    if let Some(placement) = files(now).filter(|placement| files(earlier).as_ref() != Some(placement)) {
        displace(world, context, &placement).await?;
    }
    let Some(earlier) = earlier else {
        let writes = now.map(|now| removal_writes(&context.node, &now.id).to_vec());
        return Ok(Applied::gone().writing(writes.unwrap_or_default()));
    };
    let certificate = Certificate { amiss: Vec::new(), ..earlier.clone() };
    place(world, context, &certificate).await?;
    let writes = certificate_writes(&context.node, &certificate).to_vec();
    Ok(Applied::to(certificate).writing(writes))
}

fn created(wish: &Wish<'_>, driver: &str) -> Vec<FieldChange> {
    let lifetime = shown(wish.lifetime.unwrap_or(wish.profile.lifetime));
    let field = |path: &str, after: Value| FieldChange {
        path: path.into(),
        before: None,
        after: Some(after),
        replaces: false,
    };
    let files = wish.files.as_ref().map(|files| field("files", json!(files)));
    [
        field("hostnames", json!(wish.names)),
        field("profile", json!(wish.profile.name)),
        field("key_type", json!(wish.key_type)),
        field("lifetime", json!(lifetime)),
        field("driver", json!(driver)),
    ]
    .into_iter()
    .chain(files)
    .collect()
}

fn no_outcome() -> Error {
    Error::new(Code::Internal, "a certificate's change has no outcome")
}
