//! What the session answers itself: who one is, what there is, and what clients look for when they connect.

use super::backend::Backend;
use super::info;
use super::reply::Out;
use super::session::{Session, mishap};
use super::table::{self, Local};
use super::words::{self, Fault, arity, is};
use bytes::Bytes;
use dwcp_env::NodeId;
use dwcp_eventual::{Answer, Query};
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of Redis whose replies these are: clients choose by it what they use.
pub(super) const REDIS_VERSION: &str = "7.0.15";
/// Bytes of a connection's name.
const NAME_MAX: usize = 256;

impl Local {
    /// Whether it needs nothing of the node and changes nothing of how the rest is understood.
    pub(super) const fn is_plain(self) -> bool {
        use Local::{Client, Cluster, Command, Config, Debug, Echo, LastSave, Ping, Publish, Time, Unwatch};
        matches!(
            self,
            Client | Cluster | Command | Config | Debug | Echo | LastSave | Ping | Publish | Time | Unwatch
        )
    }
}

fn since_1970() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl<B: Backend> Session<B> {
    /// What needs nothing of the node.
    pub(super) fn plain(&mut self, local: Local, w: &[Bytes], out: &mut Out) {
        match local {
            Local::Ping => self.ping(w, out),
            Local::Echo => out.bulk(&w[1]),
            Local::Time => {
                let now = since_1970();
                out.array(2);
                out.bulk(now.as_secs().to_string().as_bytes());
                out.bulk(now.subsec_micros().to_string().as_bytes());
            }
            Local::LastSave => out.number(since_1970().as_secs() as i64),
            Local::Unwatch => out.ok(),
            Local::Client => self.client(w, out),
            Local::Config => config(w, self.shared.backend.eventual().len(), self.chosen().sync.name(), out),
            Local::Command => table::describe(w, out),
            Local::Publish => out.error(
                "ERR PUBLISH: channels carry changes of keys here (__keyspace@0__:<key>, __keyevent@0__:<event>); write a \
                 key instead, and its subscribers in all regions hear of it",
            ),
            Local::Debug => out.error("ERR DEBUG command not allowed. `dwcp crdt` and DWCP.EXPLAIN show what is inside"),
            Local::Cluster => out.error("ERR This instance has cluster support disabled"),
            _ => out.error("ERR not a command of its own"),
        }
    }

    fn ping(&self, w: &[Bytes], out: &mut Out) {
        match (w, self.listening.any() && !out.resp3) {
            ([_], false) => out.simple("PONG"),
            ([_, text], false) => out.bulk(text),
            ([_] | [_, _], true) => {
                out.array(2);
                out.bulk(b"pong");
                out.bulk(w.get(1).map_or(b"", |t| t));
            }
            _ => out.error(&arity("ping")),
        }
    }

    /// What comes after all before it has been answered.
    pub(super) async fn apart(&mut self, local: Local, w: &[Bytes]) {
        match local {
            Local::Quit => {
                self.out.ok();
                self.ends = true;
            }
            Local::Reset => {
                self.reset();
                self.out.simple("RESET");
            }
            Local::Auth => self.auth(w),
            Local::Hello => self.hello(w),
            Local::Select => self.select(&w[1]),
            Local::Info => self.info(&w[1..]).await,
            Local::Memory => self.memory(w).await,
            Local::Explain => self.explain(&w[1]).await,
            Local::Status => self.status().await,
            Local::Evict => self.evict(&w[1]).await,
            Local::Subscribe | Local::PSubscribe => {
                self.subscribe(&w[1..], local == Local::PSubscribe).await;
            }
            Local::Unsubscribe | Local::PUnsubscribe => {
                self.unsubscribe(&w[1..], local == Local::PUnsubscribe);
            }
            _ => self.out.error("ERR not a command of its own"),
        }
    }

    // --- who one is ----------------------------------------------------------------------------

    /// Whether the password is right; the one user is `default`.
    fn is_right(&self, user: &[u8], password: &[u8]) -> bool {
        let Some(wanted) = &self.shared.password else { return user == b"default" };
        // Digests are compared: how long that takes tells nothing about the password.
        let digest = |text: &[u8]| ring::digest::digest(&ring::digest::SHA256, text);
        user == b"default" && digest(password).as_ref() == digest(wanted.as_bytes()).as_ref()
    }

    fn auth(&mut self, w: &[Bytes]) {
        let (user, password) = match w {
            [_, password] if self.shared.password.is_none() => {
                let _unused = password;
                return self.out.error(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                     configuration is correct?",
                );
            }
            [_, password] => (&b"default"[..], password),
            [_, user, password] => (&user[..], password),
            _ => return self.out.error("ERR syntax error"),
        };
        if self.is_right(user, password) {
            self.known = true;
            self.out.ok();
        } else {
            self.out.error("WRONGPASS invalid username-password pair or user is disabled.");
        }
    }

    fn hello(&mut self, w: &[Bytes]) {
        let version = match w.get(1) {
            None => None,
            Some(word) => match words::integer(word) {
                Some(n @ 2..=3) => Some(n),
                Some(_) => return self.out.error("NOPROTO unsupported protocol version"),
                None => return self.out.error("ERR Protocol version is not an integer or out of range"),
            },
        };
        let (mut known, mut name) = (self.known, None);
        let mut options = w.get(2..).unwrap_or_default();
        while let Some((option, rest)) = options.split_first() {
            options = match rest {
                [user, password, rest @ ..] if is(option, "auth") => {
                    if !self.is_right(user, password) {
                        return self
                            .out
                            .error("WRONGPASS invalid username-password pair or user is disabled.");
                    }
                    known = true;
                    rest
                }
                [text, rest @ ..] if is(option, "setname") => {
                    name = Some(text.clone());
                    rest
                }
                _ => {
                    let option = String::from_utf8_lossy(option).into_owned();
                    return self.out.error(&format!("ERR Syntax error in HELLO option '{option}'"));
                }
            };
        }
        if !known {
            return self.out.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
                 <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            );
        }
        if let Some(name) = name
            && let Err(why) = self.rename(name)
        {
            return self.out.error(why);
        }
        self.known = true;
        self.out.resp3 = version.map_or(self.out.resp3, |v| v == 3);
        self.greet();
    }

    fn greet(&mut self) {
        let (id, proto) = (self.id as i64, if self.out.resp3 { 3 } else { 2 });
        let out = &mut self.out;
        out.map(7);
        for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        for (name, value) in [("proto", proto), ("id", id)] {
            out.bulk(name.as_bytes());
            out.number(value);
        }
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        out.bulk(b"modules");
        out.array(0);
    }

    fn rename(&mut self, name: Bytes) -> Result<(), &'static str> {
        if name.len() > NAME_MAX || name.iter().any(|b| !(b'!'..=b'~').contains(b)) {
            return Err("ERR Client names cannot contain spaces, newlines or special characters.");
        }
        self.name = name;
        Ok(())
    }

    fn client(&mut self, w: &[Bytes], out: &mut Out) {
        let what = w[1].to_ascii_lowercase();
        match (&what[..], &w[2..]) {
            (b"setname", [name]) => match self.rename(name.clone()) {
                Ok(()) => out.ok(),
                Err(why) => out.error(why),
            },
            (b"getname", []) if self.name.is_empty() => out.null(),
            (b"getname", []) => out.bulk(&self.name),
            (b"id", []) => out.number(self.id as i64),
            (b"info", []) => out.text(&info::client(self)),
            // Nothing is evicted, and no access is noted: these are as asked.
            (b"no-evict" | b"no-touch", [how]) if is(how, "on") || is(how, "off") => out.ok(),
            (b"setinfo", [field, value]) if value.len() <= NAME_MAX => {
                let place = if is(field, "lib-name") { &mut self.library.0 } else { &mut self.library.1 };
                *place = value.clone();
                out.ok();
            }
            (b"setname" | b"getname" | b"id" | b"info" | b"no-evict" | b"no-touch" | b"setinfo", _) => {
                out.error(&arity(&format!("client|{}", String::from_utf8_lossy(&what))));
            }
            _ => out.error(&subcommand("CLIENT", &w[1])),
        }
    }

    fn select(&mut self, word: &Bytes) {
        let all = self.shared.backend.eventual();
        let place = match words::integer(word) {
            Some(n) => usize::try_from(n).ok().filter(|n| *n < all.len()),
            None => all.iter().position(|k| k.name.as_bytes() == &word[..]),
        };
        match place {
            Some(place) if place != self.keyspace && self.listening.any() => {
                let _stays = place;
                self.out.error("ERR this connection listens to changes of its keyspace: UNSUBSCRIBE first");
            }
            Some(place) => {
                self.keyspace = place;
                self.out.ok();
            }
            None => {
                let names: Vec<&str> = all.iter().map(|k| k.name.as_str()).collect();
                self.out.error(&format!(
                    "ERR DB index is out of range: the eventual keyspaces are 0 to {} ({})",
                    all.len() - 1,
                    names.join(", ")
                ));
            }
        }
    }

    // --- what is asked of the node -------------------------------------------------------------

    async fn info(&mut self, sections: &[Bytes]) {
        match self.ask(Query::Status).await {
            Ok(Answer::Status(status)) => {
                let text = info::render(&self.shared, self.chosen(), self.keyspace, &status, sections);
                self.out.text(&text);
            }
            other => mishap(&mut self.out, Some(other)),
        }
    }

    async fn status(&mut self) {
        match self.ask(Query::Status).await {
            Ok(Answer::Status(status)) => self.out.bulk(info::status_json(&status).to_string().as_bytes()),
            other => mishap(&mut self.out, Some(other)),
        }
    }

    async fn evict(&mut self, node: &Bytes) {
        let number = std::str::from_utf8(node).ok().and_then(|n| n.parse().ok());
        let Some(number) = number else {
            return self.out.error("ERR DWCP.EVICT takes a node's number, as DWCP.STATUS and INFO show it");
        };
        match self.ask(Query::Evict { node: NodeId(number) }).await {
            Ok(Answer::Reply(_)) => self.out.ok(),
            other => mishap(&mut self.out, Some(other)),
        }
    }

    async fn explain(&mut self, key: &Bytes) {
        match self.ask(Query::Explain { key: key.clone() }).await {
            Ok(Answer::Explained(e)) => self.out.bulk(info::explanation_json(&e).to_string().as_bytes()),
            other => mishap(&mut self.out, Some(other)),
        }
    }

    async fn memory(&mut self, w: &[Bytes]) {
        /// About what an element takes besides its own bytes.
        const ELEMENT: usize = 24;
        let key = match &w[1..] {
            [what, key] | [what, key, _, _] if is(what, "usage") => key,
            [what, ..] if is(what, "usage") => return self.out.error(&arity("memory|usage")),
            [what, ..] => return self.out.error(&subcommand("MEMORY", what)),
            [] => return self.out.error(&arity("memory")),
        };
        match self.ask(Query::Explain { key: key.clone() }).await {
            Ok(Answer::Explained(e)) if e.entries.is_empty() => self.out.null(),
            Ok(Answer::Explained(e)) => {
                let entry = |e: &dwcp_eventual::api::Entry| {
                    ELEMENT
                        + e.path.iter().map(Bytes::len).sum::<usize>()
                        + e.value.as_ref().map_or(0, Bytes::len)
                };
                let all = e.key.len() + e.entries.iter().map(entry).sum::<usize>();
                self.out.number(all as i64);
            }
            other => mishap(&mut self.out, Some(other)),
        }
    }
}

fn subcommand(command: &str, what: &[u8]) -> String {
    match words::unknown_subcommand(command, what) {
        Fault::Text(text) => text,
        Fault::NotKept(name) => name.into(),
    }
}

/// `CONFIG GET` shows what clients and tools look for, as it is here; the settings are in the node's file.
fn config(w: &[Bytes], keyspaces: usize, fsync: &str, out: &mut Out) {
    let (count, clients) = (keyspaces.to_string(), super::door::CONNECTIONS.to_string());
    let settings = [
        ("appendfsync", fsync),
        ("appendonly", "yes"),
        ("databases", &count),
        ("io-threads", "1"),
        ("maxclients", &clients),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("notify-keyspace-events", "AKE"),
        ("proto-max-bulk-len", "1048576"),
        ("save", ""),
        ("tcp-keepalive", "300"),
        ("timeout", "0"),
    ];
    let what = w[1].to_ascii_lowercase();
    match &what[..] {
        b"get" if w.len() > 2 => {
            let asked = |name: &str| w[2..].iter().any(|p| fits(&p.to_ascii_lowercase(), name.as_bytes()));
            let found: Vec<_> = settings.iter().filter(|(name, _)| asked(name)).collect();
            out.map(found.len());
            for (name, value) in found {
                out.bulk(name.as_bytes());
                out.bulk(value.as_bytes());
            }
        }
        b"set" if w.len() > 3 => {
            let name = String::from_utf8_lossy(&w[2]).into_owned();
            out.error(&format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config: settings are in \
                 the node's file (docs/operations/configuration.md)"
            ));
        }
        b"resetstat" => out.ok(),
        b"get" | b"set" => out.error(&arity(&format!("config|{}", String::from_utf8_lossy(&what)))),
        _ => out.error(&subcommand("CONFIG", &w[1])),
    }
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // The place behind the last star, and what it has swallowed so far.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((behind, swallowed)) => {
                    star = Some((behind, swallowed + 1));
                    (p, n) = (behind, swallowed + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_of_settings() {
        for (pattern, name, fit) in [
            ("*", "save", true),
            ("max*", "maxmemory", true),
            ("max*y", "maxmemory-policy", true),
            ("s?ve", "save", true),
            ("save", "saved", false),
            ("", "", true),
            ("*a*b*", "xaxxbx", true),
            ("*a*b", "xaxxbx", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), fit, "{pattern} {name}");
        }
    }
}
