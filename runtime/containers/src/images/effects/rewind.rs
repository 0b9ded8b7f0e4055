//! Owns the way back: a name means again what it meant before, or nothing. The content itself is on the node still; what
//! was removed since cannot be brought back from here.

use effect::{Action, Applied, Change, Code, Error, Result};

use super::super::engine::Images;
use super::super::reference::Reference;
use super::state::{self, Image};
use crate::effects::call;

/// What bringing `earlier` back changes.
pub(super) async fn rewind(
    engine: &dyn Images,
    reference: &Reference,
    now: Option<&Image>,
    earlier: Option<&Image>,
) -> Result<Change<Image>> {
    match (now, earlier) {
        (None, None) => Ok(Change::none(None)),
        (Some(_), None) => Ok(Change::to(Action::Remove, None, Vec::new())),
        (Some(now), Some(earlier)) if now.id == earlier.id => Ok(Change::none(Some(now.clone()))),
        (now, Some(earlier)) => {
            if engine.inspect(&earlier.id).await?.is_none() {
                return Err(Error::new(
                    Code::ImageMissing,
                    format!("what `{reference}` meant before is not on this node any more"),
                )
                .because(format!("image {} is gone", earlier.id))
                .hint(format!(
                    "`images.ensure {{ image = \"{}\" }}` may bring it from its registry",
                    earlier.reference
                )));
            }
            let action = if now.is_some() { Action::Update } else { Action::Create };
            let fields = state::field("id", now.map(|now| now.id.as_str()), &earlier.id);
            let mut change = Change::to(action, Some(earlier.clone()), fields.into_iter().collect());
            change.unknown = vec!["tags"];
            Ok(change)
        }
    }
}

/// Brings `earlier` back.
pub(super) async fn apply(
    engine: &dyn Images,
    reference: &Reference,
    earlier: Option<&Image>,
) -> Result<Applied<Image>> {
    let Some(earlier) = earlier else {
        call(engine.remove(&reference.exact())).await?;
        return Ok(Applied::gone());
    };
    call(engine.tag(&earlier.id, reference)).await?;
    let held = engine.inspect(&reference.tagged()).await?;
    let held =
        held.ok_or_else(|| Error::new(Code::ImageMissing, format!("image `{reference}` is gone again")))?;
    Ok(Applied::to(Image::of(&held, reference)))
}
