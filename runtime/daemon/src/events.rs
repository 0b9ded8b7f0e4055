//! Owns the list of events that mcrun itself tells of. A trigger that names another one of a family that mcrun owns is a
//! mistake; scripts and operators tell of whatever else they like (`mcrun emit`).

/// An event that mcrun tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// `container.exited`.
    pub name: &'static str,
    /// When it happens.
    pub meaning: &'static str,
    /// The fields of its data.
    pub fields: &'static [&'static str],
}

/// Every event that mcrun tells of, by name.
pub const KNOWN: &[Known] = &[
    Known {
        name: "approval.asked",
        meaning: "a run asks people for an approval, and waits",
        fields: &["id", "run", "object", "title", "by", "quorum", "document", "starter", "until", "state"],
    },
    Known {
        name: "approval.decided",
        meaning: "somebody has approved or rejected what a run asks for, or its time is over; `state` says where it stands",
        fields: &["id", "run", "object", "title", "by", "state", "decided_by", "verdict"],
    },
    Known {
        name: "certs.expiring",
        meaning: "a certificate is within its time of renewal",
        fields: &["id", "hostnames", "expires"],
    },
    Known {
        name: "certs.failed",
        meaning: "a certificate could not be renewed",
        fields: &["id", "hostnames", "expires", "code", "message"],
    },
    Known {
        name: "certs.renewed",
        meaning: "a certificate was renewed",
        fields: &["id", "hostnames", "expires"],
    },
    Known {
        name: "clock.jumped",
        meaning: "the clock of the machine was set, forward or back, by more than `clock_beyond`",
        fields: &["by_ms"],
    },
    Known {
        name: "clock.right",
        meaning: "a clock that was skewed is kept right again",
        fields: &["synchronised", "error_ms"],
    },
    Known {
        name: "clock.skewed",
        meaning: "the clock of the machine is kept right no longer, or may be wrong by more than `clock_beyond`",
        fields: &["synchronised", "error_ms"],
    },
    Known {
        name: "container.exited",
        meaning: "a container of a deployed service runs no longer, and no run stopped it",
        fields: &["name", "service", "exit_code"],
    },
    Known {
        name: "container.flapping",
        meaning: "a container of a deployed service was started again three times within ten minutes, or more often",
        fields: &["name", "service", "restarts"],
    },
    Known {
        name: "container.restarted",
        meaning: "a container of a deployed service was started again by its engine",
        fields: &["name", "service", "restarts"],
    },
    Known {
        name: "container.settled",
        meaning: "a container that flapped was not started again for ten minutes, or was replaced",
        fields: &["name", "service"],
    },
    Known {
        name: "disk.filling",
        meaning: "a disk that services or the daemon write to is fuller than `disk_beyond` says",
        fields: &["path", "used", "free"],
    },
    Known {
        name: "disk.free",
        meaning: "a disk that filled has room again",
        fields: &["path", "used", "free"],
    },
    Known {
        name: "drift.detected",
        meaning: "a service is not what the registry says it should be",
        fields: &["service", "differences"],
    },
    Known { name: "drift.gone", meaning: "a service is what the registry says again", fields: &["service"] },
    Known {
        name: "engine.back",
        meaning: "the container engine answers again, and has what is recorded",
        fields: &["driver"],
    },
    Known {
        name: "engine.lost",
        meaning: "the container engine answers and has next to none of the containers that are recorded",
        fields: &["driver", "message", "recorded", "found"],
    },
    Known {
        name: "engine.silent",
        meaning: "the container engine does not answer in time, or what it says cannot be understood",
        fields: &["driver", "code", "message"],
    },
    Known {
        name: "playbook.broken",
        meaning: "a playbook's file was changed and cannot be loaded",
        fields: &["file", "playbook", "code", "message"],
    },
    Known {
        name: "resolver.back",
        meaning: "a server of names that was silent answers again",
        fields: &["server"],
    },
    Known {
        name: "resolver.silent",
        meaning: "the name server of this machine, or one that it asks for other names, does not answer",
        fields: &["server", "message"],
    },
    Known {
        name: "route.broken",
        meaning: "requests to a route do not arrive; `hop` says how far they come",
        fields: &["route", "service", "hop", "message"],
    },
    Known {
        name: "route.mended",
        meaning: "requests to a route that was broken arrive again",
        fields: &["route", "service"],
    },
    Known {
        name: "run.failed",
        meaning: "a run that nobody watches has failed or paused",
        fields: &["run", "name", "playbook", "state", "code", "message"],
    },
    Known {
        name: "service.healthy",
        meaning: "a service that was unhealthy is healthy again",
        fields: &["service", "container"],
    },
    Known {
        name: "service.unhealthy",
        meaning: "a service does not answer its health check",
        fields: &["service", "container", "message"],
    },
];
