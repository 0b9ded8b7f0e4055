//! Owns what routes may not stand beside each other: claims of other services, and what one port cannot tell apart.

use effect::{Code, Context, Error, Result};

use super::{World, key};
use crate::driver::Standing;
use crate::route::{Key, Mode, Route};

/// Every route, as the plan's earlier effects will have left them.
pub(super) async fn routes(world: &World, context: &Context) -> Result<Vec<Standing>> {
    let mut standing = world.driver(context)?.list().await?;
    let prefix = context.key("routes", None, "");
    for (planned, after) in context.overlay.beneath::<Standing>(&prefix) {
        standing.retain(|route| key(context, &route.route.key()) != planned);
        standing.extend(after);
    }
    standing.sort_by_key(|standing| standing.route.key());
    Ok(standing)
}

/// Refuses a route that another one rules out.
///
/// # Errors
/// `MC-G003` where another service has the host name, `MC-G002` where both cannot be served.
pub(super) fn check(wanted: &Route, others: &[Standing]) -> Result<()> {
    let own = wanted.key();
    let beside = others.iter().map(|standing| &standing.route).filter(|other| {
        let other = other.key();
        other.listen == own.listen && other.hostname == own.hostname
    });
    for other in beside {
        check_owner(wanted, other)?;
        if other.key() != own {
            check_beside(&own, wanted, other)?;
        }
    }
    Ok(())
}

/// A route that nobody owns may be taken over.
fn check_owner(wanted: &Route, other: &Route) -> Result<()> {
    let Some(owner) = other.service.as_deref().filter(|owner| wanted.service.as_deref() != Some(owner))
    else {
        return Ok(());
    };
    let claimant = match &wanted.service {
        Some(service) => format!("service `{service}`"),
        None => "a route without `service`".to_owned(),
    };
    let Key { listen, hostname, .. } = other.key();
    let message = format!("`{hostname}` at port {listen} belongs to service `{owner}`, not to {claimant}");
    Err(Error::new(Code::RouteClaimed, message).detail(format!("`{}` is its route", other.key())))
}

/// What is told apart by the ClientHello is not told apart by paths.
fn check_beside(own: &Key, wanted: &Route, other: &Route) -> Result<()> {
    let beside = other.key();
    if wanted.mode == Mode::L4 || other.mode == Mode::L4 {
        let message =
            format!("`mode`: `{own}` and `{beside}` are told apart by paths, which `l4` does not see");
        return Err(Error::new(Code::RouteTerms, message));
    }
    match (&wanted.cert, &other.cert) {
        (Some(one), Some(another)) if one != another => {
            let message = format!(
                "`cert`: `{own}` would show `{one}` where `{beside}` shows `{another}`: a host name shows one"
            );
            Err(Error::new(Code::RouteTerms, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn standing(more: Value) -> Standing {
        let mut fields = json!({ "listen": 443, "hostname": "a.test", "backends": ["127.0.0.1:1"] });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    fn refused(wanted: Value, there: Value) -> Option<Code> {
        check(&standing(wanted).route, &[standing(there)]).err().map(|error| error.code)
    }

    #[test]
    fn a_host_name_at_a_port_belongs_to_one_service() {
        let theirs = json!({ "service": "one" });
        let claimed = Some(Code::RouteClaimed);
        assert_eq!(refused(json!({ "service": "two" }), theirs.clone()), claimed);
        assert_eq!(refused(json!({ "service": "two", "path": "/api" }), theirs.clone()), claimed);
        assert_eq!(refused(json!({}), theirs.clone()), claimed);
        for fine in [
            json!({ "service": "one", "path": "/api" }),
            json!({ "service": "two", "listen": 80 }),
            json!({ "service": "two", "hostname": "b.test" }),
            json!({ "service": "two", "hostname": "*.test" }),
        ] {
            assert_eq!(refused(fine, theirs.clone()), None);
        }
        assert_eq!(refused(json!({ "service": "two" }), json!({})), None);
    }

    #[test]
    fn what_a_port_cannot_tell_apart_is_refused() {
        let terms = Some(Code::RouteTerms);
        assert_eq!(refused(json!({ "mode": "l4" }), json!({ "path": "/api" })), terms);
        assert_eq!(refused(json!({ "path": "/api" }), json!({ "mode": "l4" })), terms);
        assert_eq!(refused(json!({ "cert": "x", "path": "/api" }), json!({ "cert": "y" })), terms);
        assert_eq!(refused(json!({ "cert": "x", "path": "/api" }), json!({ "cert": "x" })), None);
        assert_eq!(refused(json!({ "mode": "l4" }), json!({ "cert": "x" })), None);
    }
}
