//! From words to commands: one small function for each, named in [`super::table`].
//!
//! The number of words has been checked against the command's arity before these run; what is left are numbers,
//! options and pairs. Errors have Redis' texts. An option that an eventual keyspace can't keep (`SET … NX`) is
//! refused by its name.

use super::shape::Shape;
use bytes::Bytes;
use dwcp_eventual::api::Type;
use dwcp_eventual::{Command, Expiry, Span};

/// Why words make no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// What is wrong; with its code.
    Text(String),
    /// An eventual keyspace can't keep it: the name under which the reason is known.
    NotKept(&'static str),
}

/// What words make.
pub(super) type Made = Result<(Command, Shape), Fault>;

fn fault<T>(text: &str) -> Result<T, Fault> {
    Err(Fault::Text(text.to_owned()))
}
const SYNTAX: &str = "ERR syntax error";
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const CURSOR: &str = "ERR invalid cursor";

fn syntax<T>() -> Result<T, Fault> {
    fault(SYNTAX)
}

/// A number as Redis takes it: no plus, no space, no leading zero.
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let canonical = digits.len() == 1 || digits.first() != Some(&b'0');
    let zero = word == b"-0";
    std::str::from_utf8(word).ok().filter(|_| plain && canonical && !zero)?.parse().ok()
}

fn number(word: &[u8]) -> Result<i64, Fault> {
    integer(word).map_or_else(|| fault(NOT_INTEGER), Ok)
}

pub(super) fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// A word, taken out: a copy of it would be counted, and uncounted when the words go, for each word of each command.
fn taken(words: &mut [Bytes], at: usize) -> Bytes {
    std::mem::take(&mut words[at])
}
fn key(words: &mut [Bytes]) -> Bytes {
    taken(words, 1)
}
/// The words behind the command's name and its key.
fn rest(words: &mut [Bytes]) -> Vec<Bytes> {
    words[2..].iter_mut().map(std::mem::take).collect()
}
fn pairs(words: &[Bytes], name: &str) -> Result<Vec<(Bytes, Bytes)>, Fault> {
    if !words.len().is_multiple_of(2) {
        return Err(Fault::Text(arity(name)));
    }
    Ok(words.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())).collect())
}

/// Redis' words for a wrong number of words.
pub(super) fn arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

// --- strings and counters ---------------------------------------------------------------------------

pub(super) fn get(w: &mut [Bytes]) -> Made {
    Ok((Command::Get { key: key(w) }, Shape::Plain))
}
pub(super) fn set(w: &mut [Bytes]) -> Made {
    let mut expiry = Expiry::Never;
    let mut options = w[3..].iter();
    while let Some(option) = options.next() {
        if is(option, "nx") {
            return Err(Fault::NotKept("SET NX"));
        } else if is(option, "xx") {
            return Err(Fault::NotKept("SET XX"));
        } else if is(option, "get") {
            return Err(Fault::NotKept("SET GET"));
        } else if expiry != Expiry::Never {
            return syntax();
        } else if is(option, "keepttl") {
            expiry = Expiry::Keep;
        } else {
            expiry = deadline(option, options.next(), "set")?;
        }
    }
    Ok((Command::Set { key: key(w), value: taken(w, 2), expiry }, Shape::Plain))
}
/// `EX 5`, `PX 5000`, `EXAT …`, `PXAT …`.
fn deadline(option: &[u8], word: Option<&Bytes>, command: &str) -> Result<Expiry, Fault> {
    let unit = ["ex", "px", "exat", "pxat"].into_iter().find(|name| is(option, name));
    let (Some(unit), Some(word)) = (unit, word) else { return syntax() };
    let n = number(word)?;
    let scale = if unit.starts_with('e') { 1_000 } else { 1 };
    let invalid = || Fault::Text(format!("ERR invalid expire time in '{command}' command"));
    let ms = n.checked_mul(scale).filter(|ms| *ms > 0).ok_or_else(invalid)?;
    Ok(if unit.ends_with("at") { Expiry::At(ms) } else { Expiry::In(ms) })
}
pub(super) fn setex(w: &mut [Bytes]) -> Made {
    let expiry = deadline(b"ex", Some(&w[2]), "setex")?;
    Ok((Command::Set { key: key(w), value: taken(w, 3), expiry }, Shape::Plain))
}
pub(super) fn psetex(w: &mut [Bytes]) -> Made {
    let expiry = deadline(b"px", Some(&w[2]), "psetex")?;
    Ok((Command::Set { key: key(w), value: taken(w, 3), expiry }, Shape::Plain))
}
pub(super) fn mget(w: &mut [Bytes]) -> Made {
    Ok((Command::MGet { keys: w[1..].to_vec() }, Shape::Plain))
}
pub(super) fn mset(w: &mut [Bytes]) -> Made {
    Ok((Command::MSet { pairs: pairs(&w[1..], "mset")? }, Shape::Plain))
}
pub(super) fn getdel(w: &mut [Bytes]) -> Made {
    Ok((Command::GetDel { key: key(w) }, Shape::Plain))
}
pub(super) fn getex(w: &mut [Bytes]) -> Made {
    let expiry = match &w[2..] {
        [] => Expiry::Keep,
        [option] if is(option, "persist") => Expiry::Never,
        [option, word] => deadline(option, Some(word), "getex")?,
        _ => return syntax(),
    };
    Ok((Command::GetEx { key: key(w), expiry }, Shape::Plain))
}
pub(super) fn strlen(w: &mut [Bytes]) -> Made {
    Ok((Command::StrLen { key: key(w) }, Shape::Plain))
}
pub(super) fn getrange(w: &mut [Bytes]) -> Made {
    Ok((Command::GetRange { key: key(w), start: number(&w[2])?, end: number(&w[3])? }, Shape::Plain))
}
fn add(w: &mut [Bytes], by: i64) -> Made {
    Ok((Command::IncrBy { key: key(w), by }, Shape::Plain))
}
pub(super) fn incr(w: &mut [Bytes]) -> Made {
    add(w, 1)
}
pub(super) fn decr(w: &mut [Bytes]) -> Made {
    add(w, -1)
}
pub(super) fn incrby(w: &mut [Bytes]) -> Made {
    let by = number(&w[2])?;
    add(w, by)
}
pub(super) fn decrby(w: &mut [Bytes]) -> Made {
    match number(&w[2])?.checked_neg() {
        Some(by) => add(w, by),
        None => fault("ERR decrement would overflow"),
    }
}
pub(super) fn mvset(w: &mut [Bytes]) -> Made {
    Ok((Command::SetMulti { key: key(w), value: w[2].clone() }, Shape::Plain))
}
pub(super) fn siblings(w: &mut [Bytes]) -> Made {
    Ok((Command::Siblings { key: key(w) }, Shape::Plain))
}

// --- bounded counters ----------------------------------------------------------------------------------

pub(super) fn bgrant(w: &mut [Bytes]) -> Made {
    Ok((Command::BGrant { key: key(w), by: number(&w[2])? }, Shape::Plain))
}
pub(super) fn bspend(w: &mut [Bytes]) -> Made {
    Ok((Command::BSpend { key: key(w), by: number(&w[2])? }, Shape::Plain))
}
pub(super) fn bmove(w: &mut [Bytes]) -> Made {
    let node = u64::try_from(number(&w[2])?).or_else(|_| fault(NOT_INTEGER))?;
    Ok((Command::BMove { key: key(w), node, by: number(&w[3])? }, Shape::Plain))
}
pub(super) fn bget(w: &mut [Bytes]) -> Made {
    Ok((Command::BGet { key: key(w) }, Shape::Plain))
}

// --- sets ----------------------------------------------------------------------------------------------

pub(super) fn sadd(w: &mut [Bytes]) -> Made {
    Ok((Command::SAdd { key: key(w), members: rest(w) }, Shape::Plain))
}
pub(super) fn srem(w: &mut [Bytes]) -> Made {
    Ok((Command::SRem { key: key(w), members: rest(w) }, Shape::Plain))
}
pub(super) fn smembers(w: &mut [Bytes]) -> Made {
    Ok((Command::SMembers { key: key(w) }, Shape::Set))
}
pub(super) fn sismember(w: &mut [Bytes]) -> Made {
    Ok((Command::SIsMember { key: key(w), member: w[2].clone() }, Shape::Plain))
}
pub(super) fn smismember(w: &mut [Bytes]) -> Made {
    Ok((Command::SMIsMember { key: key(w), members: rest(w) }, Shape::Plain))
}
pub(super) fn scard(w: &mut [Bytes]) -> Made {
    Ok((Command::SCard { key: key(w) }, Shape::Plain))
}
pub(super) fn srandmember(w: &mut [Bytes]) -> Made {
    match w.len() {
        2 => Ok((Command::SRandMember { key: key(w) }, Shape::Plain)),
        3 => Ok((Command::SMembers { key: key(w) }, Shape::Sample(number(&w[2])?))),
        _ => syntax(),
    }
}
pub(super) fn sunion(w: &mut [Bytes]) -> Made {
    Ok((Command::SUnion { keys: w[1..].to_vec() }, Shape::Set))
}
pub(super) fn sinter(w: &mut [Bytes]) -> Made {
    Ok((Command::SInter { keys: w[1..].to_vec() }, Shape::Set))
}
pub(super) fn sdiff(w: &mut [Bytes]) -> Made {
    Ok((Command::SDiff { keys: w[1..].to_vec() }, Shape::Set))
}

// --- hashes --------------------------------------------------------------------------------------------

pub(super) fn hset(w: &mut [Bytes]) -> Made {
    Ok((Command::HSet { key: key(w), pairs: pairs(&w[2..], "hset")? }, Shape::Plain))
}
pub(super) fn hmset(w: &mut [Bytes]) -> Made {
    Ok((Command::HSet { key: key(w), pairs: pairs(&w[2..], "hmset")? }, Shape::Ok))
}
pub(super) fn hget(w: &mut [Bytes]) -> Made {
    Ok((Command::HGet { key: key(w), field: w[2].clone() }, Shape::Plain))
}
pub(super) fn hmget(w: &mut [Bytes]) -> Made {
    Ok((Command::HMGet { key: key(w), fields: rest(w) }, Shape::Plain))
}
pub(super) fn hgetall(w: &mut [Bytes]) -> Made {
    Ok((Command::HGetAll { key: key(w) }, Shape::Plain))
}
pub(super) fn hdel(w: &mut [Bytes]) -> Made {
    Ok((Command::HDel { key: key(w), fields: rest(w) }, Shape::Plain))
}
pub(super) fn hexists(w: &mut [Bytes]) -> Made {
    Ok((Command::HExists { key: key(w), field: w[2].clone() }, Shape::Plain))
}
pub(super) fn hlen(w: &mut [Bytes]) -> Made {
    Ok((Command::HLen { key: key(w) }, Shape::Plain))
}
pub(super) fn hstrlen(w: &mut [Bytes]) -> Made {
    Ok((Command::HStrLen { key: key(w), field: w[2].clone() }, Shape::Plain))
}
pub(super) fn hkeys(w: &mut [Bytes]) -> Made {
    Ok((Command::HKeys { key: key(w) }, Shape::Plain))
}
pub(super) fn hvals(w: &mut [Bytes]) -> Made {
    Ok((Command::HVals { key: key(w) }, Shape::Plain))
}
pub(super) fn hincrby(w: &mut [Bytes]) -> Made {
    Ok((Command::HIncrBy { key: key(w), field: w[2].clone(), by: number(&w[3])? }, Shape::Plain))
}

// --- lists ---------------------------------------------------------------------------------------------

pub(super) fn rpush(w: &mut [Bytes]) -> Made {
    Ok((Command::RPush { key: key(w), values: rest(w) }, Shape::Plain))
}
pub(super) fn lpush(w: &mut [Bytes]) -> Made {
    Ok((Command::LPush { key: key(w), values: rest(w) }, Shape::Plain))
}
pub(super) fn lrange(w: &mut [Bytes]) -> Made {
    Ok((Command::LRange { key: key(w), start: number(&w[2])?, stop: number(&w[3])? }, Shape::Plain))
}
pub(super) fn llen(w: &mut [Bytes]) -> Made {
    Ok((Command::LLen { key: key(w) }, Shape::Plain))
}
pub(super) fn lindex(w: &mut [Bytes]) -> Made {
    Ok((Command::LIndex { key: key(w), index: number(&w[2])? }, Shape::Plain))
}
pub(super) fn linsert(w: &mut [Bytes]) -> Made {
    let before = match &w[2] {
        place if is(place, "before") => true,
        place if is(place, "after") => false,
        _ => return syntax(),
    };
    Ok((Command::LInsert { key: key(w), before, pivot: w[3].clone(), value: w[4].clone() }, Shape::Plain))
}
pub(super) fn lrem(w: &mut [Bytes]) -> Made {
    Ok((Command::LRem { key: key(w), count: number(&w[2])?, value: w[3].clone() }, Shape::Plain))
}
pub(super) fn lset(w: &mut [Bytes]) -> Made {
    Ok((Command::LSet { key: key(w), index: number(&w[2])?, value: w[3].clone() }, Shape::Plain))
}
pub(super) fn ltrim(w: &mut [Bytes]) -> Made {
    Ok((Command::LTrim { key: key(w), start: number(&w[2])?, stop: number(&w[3])? }, Shape::Plain))
}

pub(super) fn lpos(w: &mut [Bytes]) -> Made {
    let (mut rank, mut count, mut maxlen) = (1, None, 0);
    let unsigned = |word: &Bytes, name: &str| match integer(word) {
        Some(n) => u64::try_from(n).or_else(|_| fault(&format!("ERR {name} can't be negative"))),
        None => fault(NOT_INTEGER),
    };
    for option in w[3..].chunks(2) {
        match option {
            [name, n] if is(name, "rank") => rank = number(n)?,
            [name, n] if is(name, "count") => count = Some(unsigned(n, "COUNT")?),
            [name, n] if is(name, "maxlen") => maxlen = unsigned(n, "MAXLEN")?,
            _ => return syntax(),
        }
    }
    Ok((Command::LPos { key: key(w), value: w[2].clone(), rank, count, maxlen }, Shape::Plain))
}

// --- keys ----------------------------------------------------------------------------------------------

pub(super) fn del(w: &mut [Bytes]) -> Made {
    Ok((Command::Del { keys: w[1..].to_vec() }, Shape::Plain))
}
pub(super) fn exists(w: &mut [Bytes]) -> Made {
    Ok((Command::Exists { keys: w[1..].to_vec() }, Shape::Plain))
}
pub(super) fn kind(w: &mut [Bytes]) -> Made {
    Ok((Command::Type { key: key(w) }, Shape::Plain))
}
fn expires(w: &mut [Bytes], name: &str, scale: i64, at: bool) -> Made {
    let n = number(&w[2])?;
    match &w[3..] {
        [] => {}
        [option] if is(option, "nx") => return Err(Fault::NotKept("EXPIRE NX")),
        [option] if is(option, "xx") => return Err(Fault::NotKept("EXPIRE XX")),
        [option] if is(option, "gt") => return Err(Fault::NotKept("EXPIRE GT")),
        [option] if is(option, "lt") => return Err(Fault::NotKept("EXPIRE LT")),
        [option, ..] => {
            return Err(Fault::Text(format!("ERR Unsupported option {}", String::from_utf8_lossy(option))));
        }
    }
    let ms = n
        .checked_mul(scale)
        .ok_or_else(|| Fault::Text(format!("ERR invalid expire time in '{name}' command")))?;
    let expiry = if at { Expiry::At(ms) } else { Expiry::In(ms) };
    Ok((Command::Expire { key: key(w), expiry }, Shape::Plain))
}
pub(super) fn expire(w: &mut [Bytes]) -> Made {
    expires(w, "expire", 1_000, false)
}
pub(super) fn pexpire(w: &mut [Bytes]) -> Made {
    expires(w, "pexpire", 1, false)
}
pub(super) fn expireat(w: &mut [Bytes]) -> Made {
    expires(w, "expireat", 1_000, true)
}
pub(super) fn pexpireat(w: &mut [Bytes]) -> Made {
    expires(w, "pexpireat", 1, true)
}
pub(super) fn persist(w: &mut [Bytes]) -> Made {
    Ok((Command::Expire { key: key(w), expiry: Expiry::Never }, Shape::Plain))
}
pub(super) fn ttl(w: &mut [Bytes]) -> Made {
    Ok((Command::Pttl { key: key(w) }, Shape::Seconds))
}
pub(super) fn pttl(w: &mut [Bytes]) -> Made {
    Ok((Command::Pttl { key: key(w) }, Shape::Plain))
}
pub(super) fn expiretime(w: &mut [Bytes]) -> Made {
    Ok((Command::ExpireTime { key: key(w) }, Shape::Seconds))
}
pub(super) fn pexpiretime(w: &mut [Bytes]) -> Made {
    Ok((Command::ExpireTime { key: key(w) }, Shape::Plain))
}
pub(super) fn keys(w: &mut [Bytes]) -> Made {
    Ok((Command::Keys { pattern: key(w) }, Shape::Plain))
}
pub(super) fn dbsize(_: &mut [Bytes]) -> Made {
    Ok((Command::DbSize, Shape::Plain))
}
pub(super) fn randomkey(_: &mut [Bytes]) -> Made {
    Ok((Command::RandomKey, Shape::Plain))
}
pub(super) fn flushdb(w: &mut [Bytes]) -> Made {
    match &w[1..] {
        [] => {}
        [how] if is(how, "async") || is(how, "sync") => {}
        _ => return syntax(),
    }
    Ok((Command::FlushDb, Shape::Plain))
}

// --- scans ---------------------------------------------------------------------------------------------

/// The options of a scan. The cursor's place is filled in by the session, which knows what it stands for.
fn span(options: &[Bytes], typed: bool) -> Result<(Span, Option<Type>), Fault> {
    let (mut span, mut kind) = (Span::default(), None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let Some(word) = options.next() else { return syntax() };
        if is(option, "match") {
            span.pattern = Some(word.clone()).filter(|p| &p[..] != b"*");
        } else if is(option, "count") {
            span.count =
                u64::try_from(number(word)?).ok().filter(|n| *n > 0).ok_or(Fault::Text(SYNTAX.into()))?;
        } else if is(option, "type") && typed {
            // A type that nothing has: nothing is found.
            kind = Some(Type::from_name(word).unwrap_or(Type::None));
        } else {
            return syntax();
        }
    }
    Ok((span, kind))
}
/// A cursor as the client says it.
pub(super) fn cursor(word: &[u8]) -> Result<u64, Fault> {
    let text = std::str::from_utf8(word).ok();
    text.and_then(|t| t.parse().ok()).map_or_else(|| fault(CURSOR), Ok)
}
pub(super) fn scan(w: &mut [Bytes]) -> Made {
    let (span, kind) = span(&w[2..], true)?;
    Ok((Command::Scan { span, kind }, Shape::Scan(cursor(&w[1])?)))
}
pub(super) fn sscan(w: &mut [Bytes]) -> Made {
    let (span, _) = span(&w[3..], false)?;
    Ok((Command::SScan { key: key(w), span }, Shape::Scan(cursor(&w[2])?)))
}
pub(super) fn hscan(w: &mut [Bytes]) -> Made {
    let (span, _) = span(&w[3..], false)?;
    Ok((Command::HScan { key: key(w), span }, Shape::Scan(cursor(&w[2])?)))
}

// --- what is asked about keys --------------------------------------------------------------------------

pub(super) fn object(w: &mut [Bytes]) -> Made {
    let about = |shape| Ok((Command::Type { key: w[2].clone() }, shape));
    match &w[1..] {
        [what, _] if is(what, "encoding") => about(Shape::Encoding),
        [what, _] if is(what, "refcount") => about(Shape::IfThere(1)),
        [what, _] if is(what, "idletime") => about(Shape::IfThere(0)),
        [what, _] if is(what, "freq") => fault(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Nothing is evicted here",
        ),
        [what, ..] if is(what, "encoding") || is(what, "refcount") || is(what, "idletime") => {
            Err(Fault::Text(arity(&format!("object|{}", String::from_utf8_lossy(what).to_lowercase()))))
        }
        [what, ..] => Err(unknown_subcommand("OBJECT", what)),
        [] => Err(Fault::Text(arity("object"))),
    }
}

pub(super) fn unknown_subcommand(command: &str, what: &[u8]) -> Fault {
    let what = String::from_utf8_lossy(&what[..what.len().min(128)]).into_owned();
    Fault::Text(format!("ERR unknown subcommand '{what}'. Try {command} HELP."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(line: &str) -> Vec<Bytes> {
        line.split(' ').map(|w| Bytes::copy_from_slice(w.as_bytes())).collect()
    }

    #[test]
    fn options_of_set() {
        let expiry = |line: &str| match set(&mut w(line)) {
            Ok((Command::Set { expiry, .. }, _)) => Ok(expiry),
            Ok(other) => panic!("{other:?}"),
            Err(e) => Err(e),
        };
        assert_eq!(expiry("set k v"), Ok(Expiry::Never));
        assert_eq!(expiry("set k v ex 5"), Ok(Expiry::In(5_000)));
        assert_eq!(expiry("set k v PXAT 7"), Ok(Expiry::At(7)));
        assert_eq!(expiry("set k v keepttl"), Ok(Expiry::Keep));
        assert_eq!(expiry("set k v ex 5 nx"), Err(Fault::NotKept("SET NX")));
        for (line, says) in [
            ("set k v ex", SYNTAX),
            ("set k v ex 5 px 5", SYNTAX),
            ("set k v ex x", NOT_INTEGER),
            ("set k v ex 0", "ERR invalid expire time in 'set' command"),
            ("set k v ex 9223372036854775807", "ERR invalid expire time in 'set' command"),
            ("set k v what", SYNTAX),
        ] {
            assert_eq!(expiry(line), Err(Fault::Text(says.into())), "{line}");
        }
    }

    #[test]
    fn numbers_pairs_and_scans() {
        assert_eq!(decrby(&mut w("decrby k -9223372036854775808")), fault("ERR decrement would overflow"));
        assert_eq!(incrby(&mut w("incrby k 01")), fault(NOT_INTEGER));
        assert_eq!(mset(&mut w("mset a 1 b")), Err(Fault::Text(arity("mset"))));
        assert_eq!(scan(&mut w("scan x")), fault(CURSOR));
        assert_eq!(scan(&mut w("scan 0 count 0")), fault(SYNTAX));
        let (command, shape) = scan(&mut w("scan 7 MATCH a* COUNT 5 TYPE zset")).unwrap();
        let span = Span { after: None, count: 5, pattern: Some("a*".into()) };
        assert_eq!(command, Command::Scan { span, kind: Some(Type::None) });
        assert_eq!(shape, Shape::Scan(7));
        assert_eq!(expire(&mut w("expire k 5 GT")), Err(Fault::NotKept("EXPIRE GT")));
    }
}
