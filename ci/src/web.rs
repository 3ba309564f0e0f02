//! The simulator in a browser: its compiler, its page, its test in Chromium.
//!
//! rustup brings no standard library for WebAssembly where only package registries are reached. Debian's
//! `rustc-web` is a complete compiler with the standard library's source; its packages are unpacked into
//! `target/wasm-toolchain` and never installed, because installed they would shadow rustup's. Cargo builds
//! the standard library from that source (with unwinding, so that a node's panic is a violation and not the
//! end of the page), and everything above it with the same compiler.
//!
//! The page is one file that needs nothing else: scripts and style stand in it as they are, the
//! WebAssembly compressed and in base64.

use crate::lane::{root, sh, sh_with};
use crate::need;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the page is put; `dwcp sim view` looks for it there.
const PAGE: &str = "bins/web/dist/dwcp-sim.html";
/// What drives Chromium. 1.x keeps its promises; the lock is this number.
const PLAYWRIGHT: &str = "playwright-core@1.64.1";

/// Builds the page and tries it.
pub(crate) fn web() -> Result<(), String> {
    build()?;
    try_it()
}

/// Builds the page.
fn build() -> Result<(), String> {
    let wasm = compile(&toolchain()?)?;
    let page = bundle(&root().join("bins/web/page"), &packed(&wasm)?)?;
    let to = root().join(PAGE);
    fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(|e| format!("{}: {e}", to.display()))?;
    fs::write(&to, &page).map_err(|e| format!("{}: {e}", to.display()))?;
    println!("{PAGE}: {} KiB", page.len() / 1024);
    Ok(())
}

/// The folder with the compiler, fetched if it is not there.
fn toolchain() -> Result<PathBuf, String> {
    let into = target().join("wasm-toolchain");
    let whole = into.join("whole");
    if whole.exists() {
        return Ok(into);
    }
    need::debian(&[("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")])?;
    sh(&["apt-get", "update", "-q"])?;
    // Which LLVM this compiler was built with is written in its package.
    let llvm = depends("rust-web-llvm", "llvm-")?;
    let packages: Vec<String> = ["rustc-web", "rust-web-src", "rust-web-llvm"]
        .into_iter()
        .map(str::to_owned)
        .chain(["lld", "clang", "llvm"].map(|p| format!("{p}-{llvm}")))
        .collect();
    let archives = into.join("archives");
    fs::create_dir_all(archives.join("partial")).map_err(|e| format!("{}: {e}", archives.display()))?;
    let cache = format!("Dir::Cache::archives={}", archives.display());
    let mut words =
        vec!["apt-get", "install", "-y", "-q", "--no-install-recommends", "--download-only", "-o", &cache];
    words.extend(packages.iter().map(String::as_str));
    sh(&words)?;
    for entry in fs::read_dir(&archives).map_err(|e| e.to_string())?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "deb") {
            sh(&["dpkg", "-x", &path.to_string_lossy(), &into.to_string_lossy()])?;
            fs::remove_file(&path).map_err(|e| e.to_string())?;
        }
    }
    fs::write(&whole, "").map_err(|e| e.to_string())?;
    Ok(into)
}

/// What follows `prefix` in the name of a package that `package` depends on.
fn depends(package: &str, prefix: &str) -> Result<String, String> {
    let out = Command::new("apt-cache").args(["depends", package]).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let names = text.lines().filter_map(|l| l.trim().strip_prefix("Depends: "));
    let version = names.filter_map(|n| n.strip_prefix(prefix)).find(|v| v.parse::<u32>().is_ok());
    version.map(str::to_owned).ok_or_else(|| {
        format!("the package {package} is not in apt's lists, or depends on no {prefix}N: is this Debian 12 or later?")
    })
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Compiles the core; where the module lies.
fn compile(toolchain: &Path) -> Result<PathBuf, String> {
    let usr = toolchain.join("usr");
    let own = |p: &str| usr.join(p).to_string_lossy().into_owned();
    let version = fs::read_dir(usr.join("lib"))
        .map_err(|e| e.to_string())?
        .flatten()
        .find_map(|e| e.file_name().to_string_lossy().strip_prefix("llvm-").map(str::to_owned));
    let llvm = own(&format!("lib/llvm-{}/bin", version.ok_or("the toolchain has no LLVM")?));
    let path = std::env::var("PATH").unwrap_or_default();
    let into = target().join("wasm");
    let env = [
        ("LD_LIBRARY_PATH", format!("{}:{}", own("lib/x86_64-linux-gnu"), own("lib"))),
        ("RUSTC", own("bin/rustc")),
        // A stable compiler builds its own standard library only when told that it may.
        ("RUSTC_BOOTSTRAP", "1".to_owned()),
        ("PATH", format!("{}:{llvm}:{path}", own("bin"))),
        ("CARGO_TARGET_DIR", into.to_string_lossy().into_owned()),
        (
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
            "--cfg getrandom_backend=\"custom\" -Cpanic=unwind".to_owned(),
        ),
    ];
    let words = [
        "cargo",
        "build",
        "--release",
        "--locked",
        "-Zbuild-std=std,panic_unwind",
        "--target",
        "wasm32-unknown-unknown",
    ];
    sh_with(&root().join("bins/web"), &env, &words)?;
    Ok(into.join("wasm32-unknown-unknown/release/dwcp-web.wasm"))
}

/// The module, compressed and in base64.
fn packed(wasm: &Path) -> Result<String, String> {
    let out =
        Command::new("gzip").args(["-9", "-n", "-c"]).arg(wasm).output().map_err(|e| format!("gzip: {e}"))?;
    if !out.status.success() {
        return Err(format!("gzip {}: {}", wasm.display(), String::from_utf8_lossy(&out.stderr)));
    }
    Ok(base64(&out.stdout))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            out.push(if shown { char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]) } else { '=' });
        }
    }
    out
}

/// `index.html` with everything it names put into it.
fn bundle(folder: &Path, core: &str) -> Result<String, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let mut page = read("index.html")?;
    let mut put = |tag: &str, with: String| {
        let found = page.matches(tag).count();
        page = page.replace(tag, &with);
        if found == 1 { Ok(()) } else { Err(format!("index.html has {tag} {found} times, not once")) }
    };
    put(r#"<link rel="stylesheet" href="view.css">"#, format!("<style>\n{}</style>", read("view.css")?))?;
    for (tag, name) in [
        (r#"<script type="text/plain" id="worker" src="worker.js"></script>"#, "worker.js"),
        (r#"<script src="timeline.js"></script>"#, "timeline.js"),
        (r#"<script src="main.js"></script>"#, "main.js"),
    ] {
        let text = read(name)?;
        if text.contains("</script") {
            return Err(format!("{name} would end its own script"));
        }
        put(tag, format!("{}\n{text}</script>", tag.replace(&format!(" src=\"{name}\"></script>"), ">")))?;
    }
    put(
        r#"<script type="application/octet-stream" id="core" src="core.wasm"></script>"#,
        format!("<script type=\"application/octet-stream\" id=\"core\">{core}</script>"),
    )?;
    Ok(page)
}

/// Drives the page in Chromium against this build's own `dwcp sim`.
fn try_it() -> Result<(), String> {
    need::debian(&[("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")])?;
    let folder = target().join("web-test");
    let at = folder.to_string_lossy().into_owned();
    if !folder.join("node_modules/playwright-core").exists() {
        fs::create_dir_all(&folder).map_err(|e| format!("{at}: {e}"))?;
        sh(&["npm", "install", "--prefix", &at, "--no-audit", "--no-fund", "--silent", PLAYWRIGHT])?;
    }
    sh(&["cargo", "build", "-p", "dwcp", "--profile", "sim", "--locked"])?;
    let dwcp = target().join("sim/dwcp").to_string_lossy().into_owned();
    sh(&["node", "bins/web/test/browser.mjs", PAGE, &dwcp, &at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let page = bundle(&root().join("bins/web/page"), "QUJD").unwrap();
        assert!(page.contains(">QUJD</script>"));
        for outside in ["src=\"", "href=\"http", "@import", "https://", "http://"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
