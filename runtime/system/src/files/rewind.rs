//! Owns how an earlier state of a file or folder is brought back.

use std::path::PathBuf;

use effect::units::Mode;
use effect::{Action, Applied, Change, Code, Context, Error, Result};

use super::object::{self, Keep, Kind, Object};
use super::store::{self, Wanted, change_to};
use super::{blocking, remove};

/// Looks at `path` and keeps whatever undoing the undo would need.
pub(crate) async fn observe(path: PathBuf, context: &Context) -> Result<Option<Object>> {
    let sealer = context.sealer.clone();
    let keep = Keep { unless: None, wanted_size: 0, streamed_size: 0 };
    blocking(move || object::observe(&path, &sealer, &keep)).await
}

/// What bringing back `earlier` changes.
pub(crate) fn compare(
    context: &Context,
    now: Option<&Object>,
    earlier: Option<&Object>,
) -> Result<Change<Object>> {
    let Some(earlier) = earlier else { return remove::change(context, now) };
    let path = object::path_of(earlier);
    match now.map(|now| now.kind) {
        Some(kind) if kind != earlier.kind => return Err(object::refuse_kind(&path, kind)),
        _ => {}
    }
    let is_there = now.is_some_and(|now| now.hash.is_some() && now.hash == earlier.hash);
    if earlier.kind == Kind::File && earlier.content.is_none() && !is_there {
        let message = format!("the content that `{}` had is not kept", path.display());
        return Err(Error::new(Code::NotUndoable, message).because(store::NOT_RESTORABLE));
    }
    // What it may say about contents that are lost is about a change that somebody wants.
    Ok(Change { lost: Vec::new(), ..change_to(earlier.clone(), now, true) })
}

/// Brings it back.
pub(crate) async fn apply(
    context: &Context,
    now: Option<&Object>,
    earlier: Option<&Object>,
    change: &Change<Object>,
) -> Result<Applied<Object>> {
    let (Some(earlier), false) = (earlier, change.action == Action::Remove) else {
        return remove::apply(now).await;
    };
    let content = match (&earlier.content, earlier.kind) {
        (Some(hidden), _) => Some(context.sealer.open_hidden(hidden)?),
        // The content is there already; only mode and owner are put right.
        (None, Kind::File) => Some(Default::default()),
        (None, _) => None,
    };
    let wanted = Wanted {
        path: object::path_of(earlier),
        content,
        mode: Some(earlier.mode),
        new_mode: Mode(0o600),
        owner: earlier.owner(),
        parents: true,
        secret: false,
    };
    let (now, earlier, token) = (now.cloned(), earlier.clone(), store::token(context));
    blocking(move || {
        wanted.store(now.as_ref(), &earlier, &token)?;
        Ok(Applied::to(earlier.without_content()))
    })
    .await
}
