//! The commands: their names, arities and flags, and which function makes each.
//!
//! One table answers a request, `COMMAND`, and the question whether an unknown word is unknown to Redis too, or a
//! command that an eventual keyspace can't keep ([`dwcp_eventual::not_kept`]).

use super::reply::Out;
use super::words::{self, Made};
use bytes::Bytes;

/// What the session does itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Local {
    Auth,
    Client,
    Cluster,
    Command,
    Config,
    Debug,
    Discard,
    Echo,
    Evict,
    Exec,
    Explain,
    Hello,
    Info,
    LastSave,
    Memory,
    Multi,
    Ping,
    PSubscribe,
    Publish,
    PUnsubscribe,
    Quit,
    Reset,
    Select,
    Status,
    Subscribe,
    Time,
    Unsubscribe,
    Unwatch,
}

/// Who does it.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// The replica, once the words have been made a command.
    Replica(fn(&mut [Bytes]) -> Made),
    /// The session.
    Session(Local),
}

/// A command.
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// Words, the name included; at least so many if negative.
    pub(super) arity: i64,
    flags: &'static str,
    /// First key, last key, step.
    keys: (i64, i64, i64),
    group: &'static str,
    summary: &'static str,
    pub(super) by: By,
}

impl Entry {
    /// Whether this many words are right.
    pub(super) const fn takes(&self, words: usize) -> bool {
        let words = words as i64;
        if self.arity < 0 { words >= -self.arity } else { words == self.arity }
    }
    /// Whether it may be used before one has said who one is.
    pub(super) const fn is_for_strangers(&self) -> bool {
        matches!(self.by, By::Session(Local::Auth | Local::Hello | Local::Quit | Local::Reset))
    }
}

const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);
const NO: (i64, i64, i64) = (0, 0, 0);
const R: &str = "readonly";
const RF: &str = "readonly fast";
const W: &str = "write";
const WF: &str = "write fast";
const S: &str = "loading stale fast";

type Row =
    (&'static str, i64, &'static str, (i64, i64, i64), &'static str, &'static str, fn(&mut [Bytes]) -> Made);

const fn replica(r: Row) -> Entry {
    Entry { name: r.0, arity: r.1, flags: r.2, keys: r.3, group: r.4, summary: r.5, by: By::Replica(r.6) }
}
const fn session(
    name: &'static str,
    arity: i64,
    group: &'static str,
    summary: &'static str,
    local: Local,
) -> Entry {
    Entry { name, arity, flags: S, keys: NO, group, summary, by: By::Session(local) }
}

/// All commands, in the order of their names.
pub(super) const TABLE: &[Entry] = &[
    session("auth", -2, "connection", "Says who one is.", Local::Auth),
    session("client", -2, "connection", "Names and describes this connection.", Local::Client),
    session(
        "cluster",
        -2,
        "cluster",
        "Refused: there are no slots; every node serves every key.",
        Local::Cluster,
    ),
    session("command", -1, "server", "Describes the commands.", Local::Command),
    session(
        "config",
        -2,
        "server",
        "Shows what clients look for; the settings are in the node's file.",
        Local::Config,
    ),
    replica(("dbsize", 1, RF, NO, "server", "Counts the keys.", words::dbsize)),
    session("debug", -2, "server", "Refused.", Local::Debug),
    replica(("decr", 2, WF, ONE, "string", "Subtracts one; concurrent ones all count.", words::decr)),
    replica(("decrby", 3, WF, ONE, "string", "Subtracts; concurrent ones all count.", words::decrby)),
    replica(("del", -2, W, ALL, "generic", "Removes what is seen of keys.", words::del)),
    session("discard", 1, "transactions", "Forgets the transaction.", Local::Discard),
    replica((
        "dwcp.bget",
        2,
        R,
        ONE,
        "dwcp",
        "Tells a bounded counter's total, and who may spend how much of it.",
        words::bget,
    )),
    replica((
        "dwcp.bgrant",
        3,
        WF,
        ONE,
        "dwcp",
        "Adds to a bounded counter; this node may spend it.",
        words::bgrant,
    )),
    replica((
        "dwcp.bmove",
        4,
        WF,
        ONE,
        "dwcp",
        "Lets another node spend a part of a bounded counter instead of this one.",
        words::bmove,
    )),
    replica((
        "dwcp.bspend",
        3,
        WF,
        ONE,
        "dwcp",
        "Takes from a bounded counter what this node may spend.",
        words::bspend,
    )),
    session(
        "dwcp.evict",
        2,
        "dwcp",
        "Closes the place of a node that will not come back soon.",
        Local::Evict,
    ),
    session(
        "dwcp.explain",
        2,
        "dwcp",
        "Tells a key's parts, siblings, dots, and why a value won, as JSON.",
        Local::Explain,
    ),
    replica((
        "dwcp.mvset",
        3,
        WF,
        ONE,
        "dwcp",
        "Writes a value of which concurrent ones all stay.",
        words::mvset,
    )),
    replica((
        "dwcp.siblings",
        2,
        RF,
        ONE,
        "dwcp",
        "Lists a key's concurrent values, the shown one first.",
        words::siblings,
    )),
    session("dwcp.status", 1, "dwcp", "Tells how the replica fares, as JSON.", Local::Status),
    session("echo", 2, "connection", "Says it back.", Local::Echo),
    session("exec", 1, "transactions", "Does the transaction, as one.", Local::Exec),
    replica(("exists", -2, RF, ALL, "generic", "Counts those keys that are there.", words::exists)),
    replica(("expire", -3, WF, ONE, "generic", "Sets a time to live in seconds.", words::expire)),
    replica(("expireat", -3, WF, ONE, "generic", "Sets a deadline in seconds since 1970.", words::expireat)),
    replica((
        "expiretime",
        2,
        RF,
        ONE,
        "generic",
        "Tells the deadline in seconds since 1970.",
        words::expiretime,
    )),
    replica((
        "flushall",
        -1,
        W,
        NO,
        "server",
        "Removes all keys that are seen in this keyspace.",
        words::flushdb,
    )),
    replica((
        "flushdb",
        -1,
        W,
        NO,
        "server",
        "Removes all keys that are seen in this keyspace.",
        words::flushdb,
    )),
    replica(("get", 2, RF, ONE, "string", "Reads a string.", words::get)),
    replica(("getdel", 2, WF, ONE, "string", "Reads a string and removes it.", words::getdel)),
    replica(("getex", -2, WF, ONE, "string", "Reads a string and sets its time to live.", words::getex)),
    replica(("getrange", 4, R, ONE, "string", "Reads a part of a string.", words::getrange)),
    replica(("hdel", -3, WF, ONE, "hash", "Removes fields that are seen.", words::hdel)),
    session("hello", -1, "connection", "Chooses the protocol's version, says who one is.", Local::Hello),
    replica(("hexists", 3, RF, ONE, "hash", "Tells whether a field is there.", words::hexists)),
    replica(("hget", 3, RF, ONE, "hash", "Reads a field.", words::hget)),
    replica(("hgetall", 2, R, ONE, "hash", "Reads all fields.", words::hgetall)),
    replica(("hincrby", 4, WF, ONE, "hash", "Adds to a field; concurrent ones all count.", words::hincrby)),
    replica(("hkeys", 2, R, ONE, "hash", "Lists the fields' names.", words::hkeys)),
    replica(("hlen", 2, RF, ONE, "hash", "Counts the fields.", words::hlen)),
    replica(("hmget", -3, RF, ONE, "hash", "Reads fields.", words::hmget)),
    replica(("hmset", -4, WF, ONE, "hash", "Writes fields.", words::hmset)),
    replica(("hscan", -3, R, ONE, "hash", "Goes through the fields.", words::hscan)),
    replica(("hset", -4, WF, ONE, "hash", "Writes fields.", words::hset)),
    replica(("hstrlen", 3, RF, ONE, "hash", "Measures a field.", words::hstrlen)),
    replica(("hvals", 2, R, ONE, "hash", "Lists the fields' values.", words::hvals)),
    replica(("incr", 2, WF, ONE, "string", "Adds one; concurrent ones all count.", words::incr)),
    replica(("incrby", 3, WF, ONE, "string", "Adds; concurrent ones all count.", words::incrby)),
    session("info", -1, "server", "Describes the node: its clients, replication, keyspaces.", Local::Info),
    replica(("keys", 2, R, NO, "generic", "Lists the keys that match.", words::keys)),
    session("lastsave", 1, "server", "Now: what was acknowledged is on the disk.", Local::LastSave),
    replica(("lindex", 3, R, ONE, "list", "Reads an element by its place.", words::lindex)),
    replica(("linsert", 5, W, ONE, "list", "Inserts beside an element.", words::linsert)),
    replica(("llen", 2, RF, ONE, "list", "Counts the elements.", words::llen)),
    replica(("lpos", -3, R, ONE, "list", "Finds an element's places by its value.", words::lpos)),
    replica(("lpush", -3, WF, ONE, "list", "Inserts at the beginning.", words::lpush)),
    replica(("lrange", 4, R, ONE, "list", "Reads a range of elements.", words::lrange)),
    replica(("lrem", 4, W, ONE, "list", "Removes elements by value.", words::lrem)),
    replica(("lset", 4, W, ONE, "list", "Replaces an element by its place.", words::lset)),
    replica(("ltrim", 4, W, ONE, "list", "Removes what is outside of a range.", words::ltrim)),
    session("memory", -2, "server", "Estimates what a key takes.", Local::Memory),
    replica(("mget", -2, RF, ALL, "string", "Reads strings.", words::mget)),
    replica(("mset", -3, W, PAIRS, "string", "Writes strings, all or none.", words::mset)),
    session("multi", 1, "transactions", "Begins a transaction.", Local::Multi),
    replica(("object", -2, R, (2, 2, 1), "generic", "Tells how a key is kept.", words::object)),
    replica(("persist", 2, WF, ONE, "generic", "Removes the time to live.", words::persist)),
    replica(("pexpire", -3, WF, ONE, "generic", "Sets a time to live in milliseconds.", words::pexpire)),
    replica((
        "pexpireat",
        -3,
        WF,
        ONE,
        "generic",
        "Sets a deadline in milliseconds since 1970.",
        words::pexpireat,
    )),
    replica((
        "pexpiretime",
        2,
        RF,
        ONE,
        "generic",
        "Tells the deadline in milliseconds since 1970.",
        words::pexpiretime,
    )),
    session("ping", -1, "connection", "Answers.", Local::Ping),
    replica((
        "psetex",
        4,
        W,
        ONE,
        "string",
        "Writes a string with a time to live in milliseconds.",
        words::psetex,
    )),
    session("psubscribe", -2, "pubsub", "Listens to changes, by patterns of channels.", Local::PSubscribe),
    replica(("pttl", 2, RF, ONE, "generic", "Tells the time to live in milliseconds.", words::pttl)),
    session("publish", 3, "pubsub", "Refused: channels carry changes of keys.", Local::Publish),
    session("punsubscribe", -1, "pubsub", "Ends listening.", Local::PUnsubscribe),
    session("quit", -1, "connection", "Ends the connection.", Local::Quit),
    replica(("randomkey", 1, R, NO, "generic", "Finds some key.", words::randomkey)),
    session("reset", 1, "connection", "Makes the connection as new.", Local::Reset),
    replica(("rpush", -3, WF, ONE, "list", "Inserts at the end.", words::rpush)),
    replica(("sadd", -3, WF, ONE, "set", "Adds members; they survive concurrent removals.", words::sadd)),
    replica(("scan", -2, R, NO, "generic", "Goes through the keys.", words::scan)),
    replica(("scard", 2, RF, ONE, "set", "Counts the members.", words::scard)),
    replica(("sdiff", -2, R, ALL, "set", "Reads the difference of sets.", words::sdiff)),
    session("select", 2, "connection", "Chooses an eventual keyspace, by number or name.", Local::Select),
    replica(("set", -3, W, ONE, "string", "Writes a string.", words::set)),
    replica(("setex", 4, W, ONE, "string", "Writes a string with a time to live in seconds.", words::setex)),
    replica(("sinter", -2, R, ALL, "set", "Reads the intersection of sets.", words::sinter)),
    replica(("sismember", 3, RF, ONE, "set", "Tells whether a member is there.", words::sismember)),
    replica(("smembers", 2, R, ONE, "set", "Lists the members.", words::smembers)),
    replica(("smismember", -3, RF, ONE, "set", "Tells which members are there.", words::smismember)),
    replica(("srandmember", -2, R, ONE, "set", "Draws members.", words::srandmember)),
    replica(("srem", -3, WF, ONE, "set", "Removes members that are seen.", words::srem)),
    replica(("sscan", -3, R, ONE, "set", "Goes through the members.", words::sscan)),
    replica(("strlen", 2, RF, ONE, "string", "Measures a string.", words::strlen)),
    session("subscribe", -2, "pubsub", "Listens to changes, by channels.", Local::Subscribe),
    replica(("substr", 4, R, ONE, "string", "Reads a part of a string.", words::getrange)),
    replica(("sunion", -2, R, ALL, "set", "Reads the union of sets.", words::sunion)),
    session("time", 1, "server", "Tells the time.", Local::Time),
    replica(("touch", -2, RF, ALL, "generic", "Counts those keys that are there.", words::exists)),
    replica(("ttl", 2, RF, ONE, "generic", "Tells the time to live in seconds.", words::ttl)),
    replica(("type", 2, RF, ONE, "generic", "Tells a key's type.", words::kind)),
    replica(("unlink", -2, WF, ALL, "generic", "Removes what is seen of keys.", words::del)),
    session("unsubscribe", -1, "pubsub", "Ends listening.", Local::Unsubscribe),
    session("unwatch", 1, "transactions", "Does nothing: nothing is watched.", Local::Unwatch),
];

/// The longest name, and some more.
const NAME_MAX: usize = 16;

/// The command of that name, in any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Entry> {
    place(name).map(|i| &TABLE[i])
}

/// Its place in the table.
pub(super) fn place(name: &[u8]) -> Option<usize> {
    let mut small = [0; NAME_MAX];
    let small = small.get_mut(..name.len())?;
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    TABLE.binary_search_by(|e| e.name.as_bytes().cmp(small)).ok()
}

/// Whether this is the name at a place of the table.
pub(super) fn is_at(place: usize, name: &[u8]) -> bool {
    TABLE.get(place).is_some_and(|e| name.eq_ignore_ascii_case(e.name.as_bytes()))
}

/// Redis' words for a command that nobody knows.
pub(super) fn unknown(words: &[Bytes]) -> String {
    const SHOWN: usize = 128;
    let text = |b: &[u8], n: usize| String::from_utf8_lossy(&b[..b.len().min(n)]).into_owned();
    let mut args = String::new();
    for word in words.iter().skip(1) {
        if args.len() >= SHOWN {
            break;
        }
        args.push_str(&format!("'{}' ", text(word, SHOWN - args.len())));
    }
    let name = words.first().map(|w| text(w, SHOWN)).unwrap_or_default();
    format!("ERR unknown command '{name}', with args beginning with: {args}")
}

/// `COMMAND …`.
pub(super) fn describe(words: &[Bytes], out: &mut Out) {
    let Some(what) = words.get(1) else { return list(TABLE.iter().map(Some), out) };
    let named = || words[2..].iter().map(|n| find(n));
    match &what.to_ascii_lowercase()[..] {
        b"count" => out.number(TABLE.len() as i64),
        b"info" if words.len() > 2 => list(named(), out),
        b"info" => list(TABLE.iter().map(Some), out),
        b"list" => {
            out.array(TABLE.len());
            TABLE.iter().for_each(|e| out.bulk(e.name.as_bytes()));
        }
        b"docs" if words.len() > 2 => docs(&named().flatten().collect::<Vec<_>>(), out),
        b"docs" => docs(&TABLE.iter().collect::<Vec<_>>(), out),
        b"getkeys" => get_keys(&words[2..], out),
        _ => match words::unknown_subcommand("COMMAND", what) {
            words::Fault::Text(text) => out.error(&text),
            words::Fault::NotKept(name) => out.error(name),
        },
    }
}

fn list(entries: impl ExactSizeIterator<Item = Option<&'static Entry>>, out: &mut Out) {
    out.array(entries.len());
    for entry in entries {
        let Some(e) = entry else {
            out.null();
            continue;
        };
        out.array(10);
        out.bulk(e.name.as_bytes());
        out.number(e.arity);
        let flags: Vec<&str> = e.flags.split(' ').collect();
        out.set(flags.len());
        flags.iter().for_each(|f| out.simple(f));
        out.number(e.keys.0);
        out.number(e.keys.1);
        out.number(e.keys.2);
        let write = e.flags.starts_with('w');
        let category = match e.by {
            By::Replica(_) if write => "@write",
            By::Replica(_) => "@read",
            By::Session(_) => "@connection",
        };
        out.set(1);
        out.simple(category);
        out.array(0);
        out.array(0);
        out.array(0);
    }
}

fn docs(entries: &[&Entry], out: &mut Out) {
    out.map(entries.len());
    for e in entries {
        out.bulk(e.name.as_bytes());
        out.map(3);
        for (name, value) in [("summary", e.summary), ("since", "1.0.0"), ("group", e.group)] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
    }
}

fn get_keys(words: &[Bytes], out: &mut Out) {
    let Some(entry) = words.first().and_then(|n| find(n)) else {
        return out.error("ERR Invalid command specified");
    };
    if !entry.takes(words.len()) {
        return out.error("ERR Invalid number of arguments specified for command");
    }
    let (first, last, step) = entry.keys;
    if first == 0 {
        return out.error("ERR The command has no key arguments");
    }
    let last = if last < 0 { words.len() as i64 + last } else { last };
    let keys: Vec<&Bytes> =
        words.iter().take(last as usize + 1).skip(first as usize).step_by(step as usize).collect();
    out.array(keys.len());
    keys.iter().for_each(|k| out.bulk(k));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_names_are_found() {
        assert!(TABLE.windows(2).all(|w| w[0].name < w[1].name));
        assert!(
            TABLE.iter().all(|e| find(e.name.to_uppercase().as_bytes()).is_some_and(|f| f.name == e.name))
        );
        assert!(TABLE.iter().all(|e| e.name.len() < NAME_MAX && e.arity != 0));
        assert!(find(b"nosuch").is_none() && find(&[0xff; 300]).is_none());
    }

    #[test]
    fn no_command_is_both_kept_and_not() {
        assert!(TABLE.iter().all(|e| dwcp_eventual::not_kept(e.name).is_none()));
    }

    #[test]
    fn the_unknown_is_told_in_redis_words() {
        let words: Vec<Bytes> = ["foo", "a", "b"].map(Bytes::from).to_vec();
        assert_eq!(unknown(&words), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    }

    #[test]
    fn keys_are_found_where_they_lie() {
        let mut out = Out::default();
        let words: Vec<Bytes> = ["command", "getkeys", "mset", "a", "1", "b", "2"].map(Bytes::from).to_vec();
        describe(&words, &mut out);
        assert_eq!(&out.bytes[..], b"*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}
