//! Owns the table of `@std` modules that ship inside the binary.

/// The source of `@std/NAME`.
pub(crate) fn source(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|(module, _)| *module == name).map(|(_, source)| *source)
}

/// Every module of the standard library.
pub(crate) const MODULES: &[(&str, &str)] = &[
    ("boot", include_str!("../../../stdlib/boot.luau")),
    ("building", include_str!("../../../stdlib/building.luau")),
    ("check", include_str!("../../../stdlib/check.luau")),
    ("data", include_str!("../../../stdlib/data.luau")),
    ("definition", include_str!("../../../stdlib/definition.luau")),
    ("deploy", include_str!("../../../stdlib/deploy.luau")),
    ("document", include_str!("../../../stdlib/document.luau")),
    ("gate", include_str!("../../../stdlib/gate.luau")),
    ("import", include_str!("../../../stdlib/import.luau")),
    ("ingress", include_str!("../../../stdlib/ingress.luau")),
    ("inventory", include_str!("../../../stdlib/inventory.luau")),
    ("prune", include_str!("../../../stdlib/prune.luau")),
    ("snapshot", include_str!("../../../stdlib/snapshot.luau")),
    ("placement", include_str!("../../../stdlib/placement.luau")),
    ("recover", include_str!("../../../stdlib/recover.luau")),
    ("rollout", include_str!("../../../stdlib/rollout.luau")),
    ("test", include_str!("../../../stdlib/test.luau")),
    ("sequence", include_str!("../../../stdlib/sequence.luau")),
    ("services", include_str!("../../../stdlib/services.luau")),
    ("strategy", include_str!("../../../stdlib/strategy.luau")),
];
