//! `dwcp sim view`: the simulator as a page in a browser, served on loopback.
//!
//! The page is one file (docs/browser.md) that carries the same core as WebAssembly. Building it takes
//! another compiler, so it is no part of an ordinary build: it is looked for where `cargo run -p dwcp-ci
//! -- web` puts it and beside the program, and is inside the program if that was built with the feature
//! `web`. What is to be opened travels as a name in the address, or as a second page, `run.toml`.

use clap::Args;
use dwcp_scenarios::capsule::Capsule;
use dwcp_scenarios::catalogue;
use dwcp_scenarios::file::Scenario;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The page inside the program, if it was built with one.
pub static INSIDE: OnceLock<&'static str> = OnceLock::new();

const HEAD_MAX: usize = 8 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 32;

/// The page of this build's tree.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bins/web/dist/dwcp-sim.html");
/// And its name beside the program.
const BESIDE: &str = "dwcp-sim.html";

/// What to show, and where.
#[derive(Args, Debug)]
pub struct ViewArgs {
    /// A capsule's file, a scenario's file, or a scenario's name; chosen on the page if not said.
    what: Option<String>,
    /// The seed, for a scenario.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8420)]
    port: u16,
    /// The page's file, if it lies elsewhere than where it is built.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Serves the page until Ctrl-C.
///
/// # Errors
/// There is no page, what is to be opened is nothing, or the port is taken.
pub fn run(args: &ViewArgs, json: bool) -> Result<(), String> {
    let page = page(args.page.as_deref())?;
    let (fragment, text) = opened(args.what.as_deref(), args.seed)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .map_err(|e| format!("127.0.0.1:{}: {e}; choose another with --port", args.port))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let url = format!("http://{address}/{fragment}");
    if json {
        println!("{}", serde_json::json!({ "url": url }));
    } else {
        println!("open {url}\nCtrl-C ends it");
    }
    let served = Arc::new(Served { page, text, open: AtomicUsize::new(0) });
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let served = served.clone();
        std::thread::spawn(move || {
            if served.open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
                // Whoever went away needs no answer.
                drop(served.answer(stream));
            }
            served.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

/// What is served, and to how many at this moment.
struct Served {
    page: String,
    text: Option<String>,
    open: AtomicUsize,
}

impl Served {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut head = Vec::new();
        let mut piece = [0; 1024];
        while !head.windows(4).any(|w| w == b"\r\n\r\n") {
            let read = stream.read(&mut piece)?;
            head.extend_from_slice(&piece[..read]);
            if read == 0 || head.len() > HEAD_MAX {
                return Ok(());
            }
        }
        let (status, kind, body) = self.find(&String::from_utf8_lossy(&head));
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body.as_bytes())
    }
    fn find(&self, head: &str) -> (&'static str, &'static str, &str) {
        let mut words = head.split_whitespace();
        match (words.next(), words.next(), &self.text) {
            (Some("GET"), Some("/"), _) => ("200 OK", "text/html", &self.page),
            (Some("GET"), Some("/run.toml"), Some(text)) => ("200 OK", "text/plain", text),
            (Some("GET"), ..) => {
                ("404 Not Found", "text/plain", "no such page; there are: / and, with a file, /run.toml\n")
            }
            _ => ("405 Method Not Allowed", "text/plain", "pages are only read here\n"),
        }
    }
}

/// The page's text.
fn page(said: Option<&Path>) -> Result<String, String> {
    if let Some(path) = said {
        return std::fs::read_to_string(path).map_err(|e| format!("{}: can't be read: {e}", path.display()));
    }
    if let Some(page) = INSIDE.get() {
        return Ok((*page).to_owned());
    }
    let beside = std::env::current_exe().ok().and_then(|e| Some(e.parent()?.join(BESIDE)));
    let places = [beside, Some(PathBuf::from(BUILT))];
    places.into_iter().flatten().find_map(|p| std::fs::read_to_string(p).ok()).ok_or_else(|| {
        format!(
            "the page is not built: run `cargo run -p dwcp-ci -- web` in the source tree \
             (it fetches the WebAssembly compiler itself), or put {BESIDE} beside this program"
        )
    })
}

/// What stands behind the address, and the file it names.
fn opened(what: Option<&str>, seed: u64) -> Result<(String, Option<String>), String> {
    let Some(what) = what else { return Ok((String::new(), None)) };
    let path = Path::new(what);
    if !path.is_file() {
        let scenario = catalogue::find(what).map_err(|e| e.to_string())?;
        return Ok((format!("#scenario={}&seed={seed}", scenario.name), None));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{what}: can't be read: {e}"))?;
    // Refused here, where the reader is, rather than on the page.
    if let Err(capsule) = Capsule::parse(&text)
        && let Err(scenario) = Scenario::parse(what, &text)
    {
        return Err(format!("{what} is no capsule ({}) and no scenario ({scenario})", first_line(&capsule)));
    }
    Ok((format!("#open=run.toml&seed={seed}"), Some(text)))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_is_named_in_the_address() {
        assert_eq!(opened(None, 1), Ok((String::new(), None)));
        let named = opened(Some("region-loss"), 7);
        assert_eq!(named, Ok(("#scenario=failover/region_loss&seed=7".to_owned(), None)));
        assert!(opened(Some("no_such"), 1).is_err_and(|e| e.contains("no scenario")));
    }

    #[test]
    fn two_pages_are_served_and_nothing_else() {
        let served = Served { page: "p".into(), text: Some("t".into()), open: AtomicUsize::new(0) };
        for (asked, status, body) in
            [("GET / HTTP/1.1", "200 OK", "p"), ("GET /run.toml HTTP/1.1", "200 OK", "t")]
        {
            let (s, _, b) = served.find(asked);
            assert_eq!((s, b), (status, body));
        }
        assert!(served.find("GET /etc/passwd HTTP/1.1").0.starts_with("404"));
        assert!(served.find("POST / HTTP/1.1").0.starts_with("405"));
        assert!(served.find("").0.starts_with("405"));
    }

    #[test]
    fn a_file_that_is_neither_is_refused_before_anything_listens() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(opened(Some(path), 1).is_err_and(|e| e.contains("no capsule") && e.contains("no scenario")));
    }
}
