//! The keyspace that announcements lie in, as this node's replica has it: read at once, written at once, cut off or not.

use crate::face::Face;
use crate::redis;
use bytes::Bytes;
use dwcp_env::GroupId;
use dwcp_eventual::api::{Answer, Command, Expiry, Reply, Step, WRITE_MAX};
use dwcp_eventual::{Query, Refusal};
use dwcp_fleet::announce::{ANNOUNCERS_MAX, Announcer, BEAT, ROOT, Saying};
use std::time::{Duration, Instant};

/// A question has this long.
const WITHIN: Duration = Duration::from_secs(5);
/// What nobody has said for so long leaves the keyspace; it ended long before.
const KEPT_MS: i64 = 3_600_000;
/// Beats asked for at once.
const AT_ONCE: usize = 1_024;
/// Bytes written at once; a region that says ten thousand machines for the first time takes several writes, the beat last.
const BYTES_AT_ONCE: usize = WRITE_MAX / 4;

/// Fields of a hash with their values.
pub(super) type Fields = Vec<(Bytes, Bytes)>;

/// The keyspace.
#[derive(Clone, Debug)]
pub struct Air {
    face: Face,
    group: GroupId,
}

fn another<T>() -> Result<T, String> {
    Err("another answer than to this question".into())
}

impl Air {
    /// That behind a node.
    #[must_use]
    pub const fn new(face: Face, group: GroupId) -> Self {
        Self { face, group }
    }

    async fn ask(&self, query: Query) -> Result<Answer, String> {
        let asked = redis::Backend::ask(&self.face, self.group, query, Instant::now() + WITHIN).await;
        asked.map_err(|refused| refused.to_string())
    }
    async fn one(&self, command: Command) -> Result<Reply, String> {
        match self.ask(Query::Command(command)).await? {
            Answer::Reply(reply) => Ok(reply),
            _ => another(),
        }
    }

    /// Whose keys there are, and how many are nobody's.
    pub(super) async fn announcers(&self) -> Result<(Vec<Announcer>, usize), String> {
        let Reply::Elements(keys) = self.one(Command::Keys { pattern: format!("{ROOT}*").into() }).await?
        else {
            return another();
        };
        let known: Vec<_> = keys.iter().filter_map(|key| Announcer::of(key)).take(ANNOUNCERS_MAX).collect();
        let strange = keys.len() - known.len();
        Ok((known, strange))
    }

    /// Their beats.
    pub(super) async fn beats(&self, of: &[Announcer]) -> Result<Vec<Option<Bytes>>, String> {
        let mut beats = Vec::with_capacity(of.len());
        for some in of.chunks(AT_ONCE) {
            let beat = |who: &Announcer| {
                Step::Command(Command::HGet { key: who.key().into(), field: Bytes::from_static(BEAT) })
            };
            let Answer::Steps(steps) = self.ask(Query::Pipeline(some.iter().map(beat).collect())).await?
            else {
                return another();
            };
            beats.extend(steps.into_iter().map(|step: Result<Answer, Refusal>| match step {
                Ok(Answer::Reply(Reply::Value(beat))) => beat,
                _ => None,
            }));
        }
        Ok(beats)
    }

    /// All that one has said.
    pub(super) async fn fields(&self, of: &Announcer) -> Result<Fields, String> {
        match self.one(Command::HGetAll { key: of.key().into() }).await? {
            Reply::Pairs(fields) => Ok(fields),
            _ => another(),
        }
    }

    /// Says it. What was said before an error may have been said.
    pub(super) async fn write(&self, of: &Announcer, saying: Saying) -> Result<(), String> {
        let key: Bytes = of.key().into();
        let set = |pairs: Fields| Command::HSet { key: key.clone(), pairs };
        let (mut some, mut bytes) = (Fields::new(), 0);
        for (field, value) in saying.put {
            bytes += field.len() + value.len() + 64;
            some.push((field, value));
            if bytes >= BYTES_AT_ONCE {
                self.transact(vec![set(core::mem::take(&mut some))]).await?;
                bytes = 0;
            }
        }
        some.push((Bytes::from_static(BEAT), saying.beat));
        let mut last = vec![set(some)];
        if !saying.gone.is_empty() {
            last.push(Command::HDel { key: key.clone(), fields: saying.gone });
        }
        last.push(Command::Expire { key: key.clone(), expiry: Expiry::In(KEPT_MS) });
        self.transact(last).await
    }

    async fn transact(&self, commands: Vec<Command>) -> Result<(), String> {
        let Answer::Replies(replies) = self.ask(Query::Transaction(commands)).await? else {
            return another();
        };
        replies.into_iter().try_for_each(|reply| reply.map(drop).map_err(|refusal| refusal.to_string()))
    }
}
