//! Which crate may use which: the layers of `docs/architecture.md`.

use super::{Package, Source, Violation};

/// One crate of the layered graph.
struct Layer {
    level: u8,
    name: &'static str,
    /// The crates it may depend on, each of a lower level.
    uses: &'static [&'static str],
}

#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    Layer { level: 0, name: "mcp-protocol", uses: &[] },
    Layer { level: 1, name: "mcp-transport", uses: &["mcp-protocol"] },
    Layer { level: 1, name: "mcp-api-types", uses: &[] },
    Layer { level: 1, name: "mcp-serve-http", uses: &[] },
    Layer { level: 2, name: "mcp-transport-stdio", uses: &["mcp-protocol", "mcp-transport"] },
    Layer { level: 2, name: "mcp-http-client", uses: &["mcp-protocol", "mcp-transport"] },
    Layer { level: 2, name: "mcp-client", uses: &["mcp-protocol", "mcp-transport"] },
    Layer { level: 2, name: "mcp-registry", uses: &["mcp-protocol", "mcp-transport"] },
    Layer { level: 3, name: "mcp-transport-http", uses: &["mcp-http-client", "mcp-protocol", "mcp-transport"] },
    Layer { level: 3, name: "mcp-transport-sse", uses: &["mcp-http-client", "mcp-protocol", "mcp-transport"] },
    Layer { level: 3, name: "mcp-config", uses: &["mcp-protocol", "mcp-registry", "mcp-transport", "mcp-transport-stdio"] },
    Layer { level: 3, name: "mcp-manager", uses: &["mcp-client", "mcp-protocol", "mcp-registry", "mcp-transport"] },
    Layer { level: 3, name: "mcp-server", uses: &["mcp-protocol", "mcp-serve-http", "mcp-transport-stdio"] },
    Layer { level: 4, name: "mcp-bridge", uses: &["mcp-client", "mcp-manager", "mcp-protocol", "mcp-registry", "mcp-server", "mcp-transport"] },
    Layer { level: 4, name: "mcp-clients", uses: &["mcp-client", "mcp-config", "mcp-protocol", "mcp-registry", "mcp-transport", "mcp-transport-http",
        "mcp-transport-sse", "mcp-transport-stdio"] },
    Layer { level: 4, name: "mcp-demo-server", uses: &["mcp-protocol", "mcp-serve-http", "mcp-server"] },
    Layer {
        level: 4,
        name: "mcp-testkit",
        uses: &["mcp-client", "mcp-manager", "mcp-protocol", "mcp-registry", "mcp-transport"],
    },
    Layer { level: 5, name: "mcp-api", uses: &["mcp-api-types", "mcp-bridge", "mcp-config", "mcp-manager", "mcp-protocol", "mcp-registry", "mcp-server",
        "mcp-transport"] },
    Layer { level: 5, name: "mcp-cli", uses: &["mcp-api-types", "mcp-config"] },
    Layer { level: 6, name: "mcp-gateway", uses: &["mcp-api", "mcp-api-types", "mcp-bridge", "mcp-cli", "mcp-client", "mcp-config", "mcp-demo-server", "mcp-manager",
        "mcp-protocol", "mcp-registry", "mcp-serve-http", "mcp-server", "mcp-transport", "mcp-transport-http", "mcp-transport-sse",
        "mcp-transport-stdio"] },
];

/// Crates that exist for tests alone.
const DEV_ONLY: &[&str] = &["mcp-testkit"];

/// What the tests of a crate from layer 2 up may use although it stands above the crate: a peer to talk to.
const TEST_PEERS: &[&str] = &["mcp-testkit", "mcp-demo-server"];

/// Where the table is, for what concerns the table itself.
const TABLE: &str = "xtask/src/tidy/edges.rs";

/// Compares the dependencies of the crates with the table.
pub(super) fn check(packages: &[Package], sources: &[Source]) -> Vec<Violation> {
    check_against(LAYERS, packages, sources)
}

fn check_against(layers: &[Layer], packages: &[Package], sources: &[Source]) -> Vec<Violation> {
    let find = |name: &str| layers.iter().find(|layer| layer.name == name);
    let mut violations = Vec::new();
    for package in packages.iter().filter(|package| package.is_layer()) {
        let manifest = package.manifest();
        let source = sources.iter().find(|source| source.path == manifest);
        let line = |start: &str| source.map_or(1, |source| source.line_starting(start));
        let Some(layer) = find(&package.name) else {
            let what = format!("{} has no row in the table of layers; add one to {TABLE}", package.name);
            violations.push(Violation::new(&manifest, line("name"), what));
            continue;
        };
        for dependency in &package.internal {
            let forbidden = if dependency.dev {
                forbidden_in_tests(layer, find(&dependency.name), &dependency.name)
            } else {
                forbidden(layer, &dependency.name)
            };
            if let Some(why) = forbidden {
                violations.push(Violation::new(&manifest, line(&dependency.name), why));
            }
        }
    }
    for layer in layers {
        if !packages.iter().any(|package| package.name == layer.name) {
            let what =
                format!("the table of layers has {}, but no such crate exists; remove its row", layer.name);
            violations.push(Violation::new(TABLE, 1, what));
        }
    }
    violations
}

fn forbidden(layer: &Layer, dependency: &str) -> Option<String> {
    if layer.uses.contains(&dependency) {
        return None;
    }
    Some(if DEV_ONLY.contains(&dependency) {
        format!("{dependency} is for tests; move it to [dev-dependencies]")
    } else {
        format!(
            "{} (layer {}) may not use {dependency}: remove the dependency, or argue the edge in \
             docs/architecture.md and add it to {TABLE}",
            layer.name, layer.level
        )
    })
}

fn forbidden_in_tests(layer: &Layer, dependency: Option<&Layer>, name: &str) -> Option<String> {
    let not_above = dependency.is_some_and(|dependency| dependency.level <= layer.level);
    let peer = TEST_PEERS.contains(&name) && layer.level >= 2;
    let allowed = if DEV_ONLY.contains(&name) { peer } else { not_above || peer };
    (!allowed).then(|| {
        format!(
            "the tests of {} (layer {}) may not need {name}, which stands above it; test it where both are in reach",
            layer.name, layer.level
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::packages::Dependency;
    use super::super::sources::sample;
    use super::*;

    const SAMPLE: &[Layer] = &[
        Layer { level: 0, name: "low", uses: &[] },
        Layer { level: 2, name: "middle", uses: &["low"] },
        Layer { level: 3, name: "mcp-testkit", uses: &["low"] },
        Layer { level: 4, name: "high", uses: &["middle"] },
    ];

    fn package(name: &str, internal: &[(&str, bool)]) -> Package {
        let internal = internal.iter().map(|&(name, dev)| Dependency { name: name.into(), dev }).collect();
        Package { name: name.into(), folder: format!("crates/{name}"), description: None, internal }
    }

    /// The violations of a workspace in which `changed` has these dependencies and no other crate has any.
    fn violations(changed: &str, internal: &[(&str, bool)]) -> Vec<String> {
        let packages: Vec<_> = SAMPLE
            .iter()
            .map(|layer| package(layer.name, if layer.name == changed { internal } else { &[] }))
            .collect();
        let manifest = sample(
            &format!("crates/{changed}/Cargo.toml"),
            "[package]\nname = \"x\"\n\n[dependencies]\nlow.workspace = true\nmiddle.workspace = true\n",
        );
        check_against(SAMPLE, &packages, &[manifest]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_row_uses_lower_levels_only_and_names_rows_that_exist() {
        for layer in LAYERS {
            for used in layer.uses {
                let used = LAYERS.iter().find(|row| row.name == *used).expect(used);
                assert!(used.level < layer.level, "{} -> {}", layer.name, used.name);
            }
        }
    }

    #[test]
    fn edges_of_the_table_and_test_peers_pass() {
        for (name, internal) in [
            ("low", &[][..]),
            ("middle", &[("low", false), ("mcp-testkit", true)]),
            ("high", &[("middle", false), ("low", true), ("mcp-testkit", true)]),
        ] {
            assert_eq!(violations(name, internal), Vec::<String>::new(), "{name}: {internal:?}");
        }
    }

    #[test]
    fn edges_outside_the_table_are_found_with_their_line() {
        for (name, edge, expected) in [
            ("low", ("middle", false), "crates/low/Cargo.toml:6: low (layer 0) may not use middle"),
            ("high", ("low", false), "crates/high/Cargo.toml:5: high (layer 4) may not use low"),
            ("high", ("mcp-testkit", false), "crates/high/Cargo.toml:1: mcp-testkit is for tests"),
            (
                "low",
                ("mcp-testkit", true),
                "crates/low/Cargo.toml:1: the tests of low (layer 0) may not need",
            ),
            (
                "middle",
                ("high", true),
                "crates/middle/Cargo.toml:1: the tests of middle (layer 2) may not need",
            ),
        ] {
            let found = violations(name, &[edge]);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{name} -> {edge:?}: {found:?}");
        }
    }

    #[test]
    fn crates_without_a_row_and_rows_without_a_crate_are_found() {
        let found = check_against(&SAMPLE[..1], &[package("new", &[])], &[]);
        let found: Vec<_> = found.iter().map(|violation| violation.what.as_str()).collect();
        assert!(found[0].starts_with("new has no row"), "{found:?}");
        assert!(found[1].starts_with("the table of layers has low, but no such crate"), "{found:?}");
    }
}
