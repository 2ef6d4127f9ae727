//! Which crate imports which: the manifests against `layers.toml`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The table of allowed arrows, and the crates below which no async runtime may be.
struct Layers {
    allowed: BTreeMap<String, Vec<String>>,
    synchronous: Vec<String>,
    never: Vec<String>,
}

/// Every arrow that the table does not allow, and every synchronous crate that reaches an async runtime.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(root.join("layers.toml")).map_err(|error| format!("cannot read layers.toml: {error}"))?;
    let layers = parse(&text);
    let mut findings = Vec::new();
    for (name, allowed) in &layers.allowed {
        let manifest = if name == "shipway" { root.join("Cargo.toml") } else { root.join("crates").join(name).join("Cargo.toml") };
        let Ok(manifest) = std::fs::read_to_string(&manifest) else {
            findings.push(format!("layers.toml speaks of crate {name}, which does not exist"));
            continue;
        };
        for import in imports(&manifest) {
            if !allowed.contains(&import) {
                findings.push(format!("crate {name} imports {import}; layers.toml does not allow that arrow"));
            }
        }
    }
    for entry in std::fs::read_dir(root.join("crates")).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name().to_string_lossy().into_owned();
        if !layers.allowed.contains_key(&name) {
            findings.push(format!("crate {name} is missing from layers.toml"));
        }
    }
    for name in &layers.synchronous {
        let tree = dependencies(root, name)?;
        for forbidden in layers.never.iter().filter(|forbidden| tree.lines().any(|line| line.split(' ').next() == Some(forbidden.as_str())))
        {
            findings.push(format!("crate {name} is synchronous but reaches {forbidden}"));
        }
    }
    Ok(findings)
}

/// Names of our crates in the `[dependencies]` of a manifest; developers' dependencies are free.
fn imports(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1).take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.strip_prefix("shipway-")?.split(['.', ' ', '=']).next().map(ToOwned::to_owned)).collect()
}

fn dependencies(root: &Path, name: &str) -> Result<String, String> {
    let package = format!("shipway-{name}");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", &package, "--edges", "normal", "--prefix", "none"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads the few forms that layers.toml uses: sections and `key = ["a", "b"]`.
fn parse(text: &str) -> Layers {
    let mut layers = Layers { allowed: BTreeMap::new(), synchronous: Vec::new(), never: Vec::new() };
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, list)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let words = list.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect();
            match (section, key.trim()) {
                ("allowed", name) => drop(layers.allowed.insert(name.to_owned(), words)),
                ("synchronous", "crates") => layers.synchronous = words,
                ("synchronous", "never") => layers.never = words,
                _ => {}
            }
        }
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_dependencies_are_arrows() {
        let manifest = "[package]\nname = \"shipway-x\"\n[dependencies]\nshipway-model.workspace = true\nserde.workspace = true\n[dev-dependencies]\nshipway-testkit.workspace = true\n";
        assert_eq!(imports(manifest), ["model"]);
    }

    #[test]
    fn the_table_is_read() {
        let layers = parse(
            "# words\n[allowed]\nmodel = []\nstore = [\"model\", \"sys\"]\n[synchronous]\ncrates = [\"store\"]\nnever = [\"tokio\"]\n",
        );
        assert_eq!(layers.allowed["store"], ["model", "sys"]);
        assert_eq!((layers.synchronous, layers.never), (vec!["store".to_owned()], vec!["tokio".to_owned()]));
    }
}
