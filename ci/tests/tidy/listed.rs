//! Nothing forgotten: what no list names is not built, run or read.

use crate::{Source, holds, sources};

fn text<'a>(files: &'a [Source], path: &str) -> &'a str {
    files.iter().find(|f| f.path == path).map_or("", |f| &f.text)
}

fn complaints(files: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    let docs = text(files, "docs/README.md");
    let scenarios: String =
        files.iter().filter(|f| f.path.starts_with("scenarios/src/")).map(|f| f.text.as_str()).collect();
    let workspace = text(files, "Cargo.toml");
    for f in files {
        if let Some(page) = f.path.strip_prefix("docs/").filter(|p| p.ends_with(".md") && *p != "README.md")
            && !docs.contains(&format!("({page})"))
        {
            out.push(format!("{}: not linked from docs/README.md", f.path));
        }
        if let Some(file) =
            f.path.strip_prefix("scenarios/").filter(|p| p.ends_with(".toml") && p.contains('/'))
            && !scenarios.contains(file.trim_end_matches(".toml"))
        {
            out.push(format!("{}: no list in scenarios/src names it", f.path));
        }
        if let Some(folder) = f.path.strip_suffix("/Cargo.toml")
            && !workspace.contains(&format!("\"{folder}\""))
        {
            out.push(format!("{}: neither a member nor excluded in the root Cargo.toml", f.path));
        }
    }
    for line in workspace.lines() {
        let member =
            line.trim_start().starts_with('"') && line.contains('/') && line.trim_end().ends_with(',');
        if member {
            out.push(format!("Cargo.toml: member without its line of reason: {}", line.trim()));
        }
        let section_of_dependencies = line.contains(" = { version = ") && !line.contains("path");
        if section_of_dependencies && !line.contains("# ") {
            out.push(format!("Cargo.toml: dependency without its sentence: {}", line.trim()));
        }
    }
    out
}

#[test]
fn everything_is_listed() {
    holds(complaints(&sources()));
}

#[test]
fn what_is_forgotten_is_found() {
    let bad = [
        Source { path: "docs/README.md".into(), text: "[a](a.md)".into() },
        Source { path: "docs/b.md".into(), text: String::new() },
        Source { path: "scenarios/disk/full.toml".into(), text: String::new() },
        Source { path: "core/new/Cargo.toml".into(), text: String::new() },
        Source { path: "Cargo.toml".into(), text: "    \"core/x\",\nserde = { version = \"1\" }\n".into() },
    ];
    assert_eq!(complaints(&bad).len(), 5);
}
