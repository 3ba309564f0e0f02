//! Bearer tokens: who asks at the fleet's door, proven and not claimed.
//!
//! **Promise.** Where a node is told of a file of tokens (`[fleet] tokens`), nobody is answered there without one of them, and whoever is
//! acts under the name, the role and the region beside it, whatever their request says. Without such a file names are claims, as the door says
//! in its log.
//!
//! ```text
//! # blake3 of the token                                            name  role      region
//! 5f1d…  (64 hexadecimal digits)                                   ana   operator  eu-west-1
//! 09ab…                                                            bot   autoscaler
//! ```
//!
//! A token is 256 bits of the operating system's, so its plain hash gives nothing away, and no slow hash is needed. The node keeps
//! hashes only, and compares all of them in constant time. The file is looked at again at most once a second, when it has changed: a line that
//! is taken out is a token that ends. One that can't be read then changes nothing, and is told in the log.
//!
//! **Invariants.** (1) No token, and no hash of one, is in a log or an answer. (2) A request that bears no known token is answered before its body is
//! read. (3) What is in force was read as a whole.
//!
//! **Limits.** 4096 tokens, words of 128 bytes. It says *who*, not *what they may*: roles are words that policies rank. The door is plain HTTP: who
//! hears it, hears tokens, so it stays on loopback or a management network.
//!
//! **Rejected.** *Signed tokens* that carry their own name: they end only with their time, and need a key and a clock; a file of a fleet's
//! operators and programs is short. *Client certificates*: the door would need TLS first.

use clap::{Args, Subcommand};
use hyper::header::HeaderValue;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What a token begins with, so that one which has leaked is found.
const PREFIX: &str = "dwcp-token-";
/// Tokens of one file.
const TOKENS_MAX: usize = 4_096;
/// The longest name, role or region.
const WORD_MAX: usize = 128;
/// The largest file.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// How often the file is looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Whoever bears a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// As records show them.
    pub name: String,
    /// What they are.
    pub role: String,
    /// Where they are; may be empty.
    pub region: String,
}

/// Why somebody is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unproven {
    /// No token.
    Missing,
    /// It is nobody's here.
    Unknown,
}

impl Unproven {
    /// What is wrong.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Missing => "this door asks for a token, and none was given",
            Self::Unknown => "the token is nobody's here: it was mistyped, ended, or is another cluster's",
        }
    }
    /// What to do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        "send `Authorization: Bearer <token>`; commands take --token or DWCP_TOKEN; `dwcp token new` makes one, and an \
         operator of the node adds its line to the file `fleet.tokens`"
    }
}

type Entry = (blake3::Hash, Who);

/// What is in force.
struct Known {
    entries: Vec<Entry>,
    version: Option<(SystemTime, u64)>,
    looked: Instant,
}

/// The tokens of a door.
#[derive(Clone)]
pub struct Tokens {
    path: Arc<Path>,
    known: Arc<Mutex<Known>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.path.display())
    }
}

/// Reads a file of tokens.
///
/// # Errors
/// What is wrong in it, and in which line.
pub fn read(path: &Path) -> Result<Vec<(blake3::Hash, Who)>, String> {
    let failed = |e: std::io::Error| format!("can't read {}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_MAX {
        return Err(format!("{} is larger than {FILE_MAX} bytes", path.display()));
    }
    parse(&text).map_err(|why| format!("{}: {why}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut all: Vec<Entry> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| {
            Err(format!(
                "line {}: {what}; a line is HASH NAME ROLE [REGION], as `dwcp token new` prints it",
                n + 1
            ))
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let (hash, name, role, region) = match words[..] {
            [hash, name, role] => (hash, name, role, ""),
            [hash, name, role, region] => (hash, name, role, region),
            _ => return wrong("three or four words are due"),
        };
        let Ok(hash) = blake3::Hash::from_hex(hash) else {
            return wrong("the first word is no hash: 64 hexadecimal digits");
        };
        if [name, role, region].iter().any(|w| w.len() > WORD_MAX) {
            return wrong("a word is longer than 128 bytes");
        }
        if all.iter().any(|(known, _)| *known == hash) {
            return wrong("the same token stands there twice");
        }
        if all.len() == TOKENS_MAX {
            return wrong("4096 tokens are there already");
        }
        all.push((hash, Who { name: name.into(), role: role.into(), region: region.into() }));
    }
    Ok(all)
}

fn version(path: &Path) -> Option<(SystemTime, u64)> {
    let seen = std::fs::metadata(path).ok()?;
    Some((seen.modified().ok()?, seen.len()))
}

impl Tokens {
    /// The tokens of a file, which has to be sound.
    ///
    /// # Errors
    /// As [`read`].
    pub fn open(path: &Path) -> Result<Self, String> {
        // The version first: what is written between the two is read again.
        let version = version(path);
        let known = Known { entries: read(path)?, version, looked: Instant::now() };
        Ok(Self { path: path.into(), known: Arc::new(Mutex::new(known)) })
    }

    /// Who bears the token of a request's `Authorization`.
    ///
    /// # Errors
    /// [`Unproven`].
    pub fn who(&self, authorization: Option<&HeaderValue>) -> Result<Who, Unproven> {
        self.look_again();
        let header = authorization.ok_or(Unproven::Missing)?.to_str().map_err(|_| Unproven::Unknown)?;
        let (scheme, token) = header.split_once(' ').ok_or(Unproven::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unproven::Missing);
        }
        let hash = blake3::hash(token.trim().as_bytes());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // All are compared, each in constant time (`blake3::Hash`).
        let found = known
            .entries
            .iter()
            .fold(None, |found, (theirs, who)| if *theirs == hash { Some(who) } else { found });
        found.cloned().ok_or(Unproven::Unknown)
    }

    fn look_again(&self) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.looked.elapsed() < LOOK_AGAIN {
                return;
            }
            known.looked = Instant::now();
            if version(&self.path) == known.version {
                return;
            }
        }
        let version = version(&self.path);
        match read(&self.path) {
            Ok(entries) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                tracing::info!("{} tokens are known at the fleet's door now", entries.len());
                (known.entries, known.version) = (entries, version);
            }
            Err(why) => tracing::warn!("tokens stay as they were: {why}"),
        }
    }
}

/// Tokens: who asks at the fleet's and the documents' door.
#[derive(Args, Debug)]
#[command(
    after_help = "A node that is told of a file (`[fleet] tokens = \"tokens\"`) answers nobody there without a token of it:
  dwcp token new ana --role operator          prints the token, once, and the line for the file
  DWCP_TOKEN=dwcp-token-… dwcp vm list
  dwcp vm list --token @/etc/dwcp/token       the token is in a file
A line that is taken out of the file is a token that has ended, a second later."
)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Makes a token. It is shown once and kept nowhere; the line has its hash.
    New {
        /// Who bears it: as records show them.
        name: String,
        /// What they are: what policies rank.
        #[arg(long)]
        role: String,
        /// Where they are.
        #[arg(long, default_value = "")]
        region: String,
    },
}

/// Carries a command out.
///
/// # Errors
/// What is wrong with it.
pub fn run(args: &TokenArgs, json: bool) -> Result<(), String> {
    let TokenCommand::New { name, role, region } = &args.command;
    for (what, word) in [("name", name), ("role", role), ("region", region)] {
        let blank = word.is_empty() && what != "region";
        if blank || word.len() > WORD_MAX || word.contains(char::is_whitespace) || word.starts_with('#') {
            return Err(format!("{word:?} is no {what}: 1 to {WORD_MAX} bytes without blanks"));
        }
    }
    let mut bytes = [0; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| format!("can't read /dev/urandom: {e}"))?;
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let token = format!("{PREFIX}{digits}");
    let line = format!("{} {name} {role} {region}", blake3::hash(token.as_bytes()).to_hex());
    let line = line.trim_end();
    if json {
        println!("{}", serde_json::json!({ "token": token, "line": line }));
    } else {
        println!("token: {token}\nline:  {line}");
    }
    Ok(())
}

/// The token of a command: given, in a file, or in the environment.
///
/// # Errors
/// The file can't be read.
pub fn given(option: Option<&str>) -> Result<Option<String>, String> {
    let token = match option {
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                let path = PathBuf::from(path);
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|e| format!("--token: can't read {}: {e}", path.display()))?;
                text.lines().next().unwrap_or_default().to_string()
            }
            None => text.to_string(),
        },
        None => match std::env::var("DWCP_TOKEN") {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the token is empty, or has blanks in it: `dwcp token new` prints one".into());
    }
    Ok(Some(token.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(token: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap()
    }

    #[test]
    fn a_file_is_read_or_told_what_is_wrong_in_which_line() {
        let hash = blake3::hash(b"t").to_hex();
        let all = parse(&format!("# people\n\n{hash}  ana operator eu\n")).unwrap();
        assert_eq!(all[0].1, Who { name: "ana".into(), role: "operator".into(), region: "eu".into() });
        for (text, wrong) in [
            ("x ana operator".into(), "line 1: the first word is no hash"),
            (format!("{hash} ana"), "line 1: three or four words are due"),
            (format!("#\n{hash} a b c d"), "line 2: three or four words are due"),
            (format!("{hash} a b\n{hash} c d"), "line 2: the same token stands there twice"),
            (format!("{hash} {} b", "a".repeat(129)), "line 1: a word is longer than 128 bytes"),
        ] {
            let why = parse(&text).unwrap_err();
            assert!(why.starts_with(wrong), "{why}");
        }
    }

    #[test]
    fn who_bears_a_token_is_known_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, format!("{} ana operator\n", blake3::hash(b"dwcp-token-1").to_hex())).unwrap();
        let tokens = Tokens::open(&path).unwrap();
        assert_eq!(tokens.who(Some(&bearer("dwcp-token-1"))).unwrap().name, "ana");
        assert_eq!(tokens.who(Some(&bearer("dwcp-token-2"))), Err(Unproven::Unknown));
        assert_eq!(tokens.who(None), Err(Unproven::Missing));
        assert_eq!(tokens.who(Some(&HeaderValue::from_static("Basic YTpi"))), Err(Unproven::Missing));
        let hash = blake3::hash(b"dwcp-token-1").to_hex();
        assert_eq!(tokens.who(Some(&bearer(&hash))), Err(Unproven::Unknown), "a hash is no token");
        assert!(!format!("{tokens:?}").contains(&*hash));
        assert!(Tokens::open(&dir.path().join("none")).unwrap_err().contains("can't read"));
    }
}
