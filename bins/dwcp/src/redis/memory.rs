//! A replica for the door's own tests: strings, counters, sets and lists in memory, without concurrency.

use super::backend::{Answered, Backend, Keyspace};
use bytes::Bytes;
use dwcp_env::GroupId;
use dwcp_eventual::api::{Entry, Explanation, Status, Step, Type};
use dwcp_eventual::{Answer, Command, Notice, Query, Refusal, Reply, Subscription};
use futures_util::stream::{BoxStream, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;

#[derive(Clone, Debug)]
enum Held {
    Text(Bytes),
    Set(BTreeSet<Bytes>),
    List(Vec<Bytes>),
}

#[derive(Debug, Default)]
struct Inside {
    keys: BTreeMap<Bytes, Held>,
    listeners: Vec<(Subscription, mpsc::Sender<Answered>)>,
    /// Every question as it was asked.
    questions: Vec<Query>,
}

/// The replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    inside: Arc<Mutex<Inside>>,
    keyspaces: Arc<Vec<Keyspace>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let keyspace = |name: &str, n| Keyspace {
            name: name.into(),
            group: GroupId(n),
            sync: dwcp_eventual::SyncPolicy::Always,
        };
        Self {
            inside: Arc::default(),
            keyspaces: Arc::new(vec![keyspace("eventual", 7), keyspace("other", 8)]),
        }
    }
    /// What has been asked since the last time.
    pub(super) fn questions(&self) -> Vec<Query> {
        std::mem::take(&mut self.inside.lock().unwrap().questions)
    }
    /// Ends all subscriptions as if their readers had been too slow.
    pub(super) fn lag(&self) {
        self.inside.lock().unwrap().listeners.clear();
    }
}

impl Inside {
    fn done(&mut self, command: Command) -> Result<Reply, Refusal> {
        let wrong = |held: &Held| {
            Err(Refusal::WrongType {
                holds: match held {
                    Held::Text(_) => Type::String,
                    Held::Set(_) => Type::Set,
                    Held::List(_) => Type::List,
                },
            })
        };
        match command {
            Command::Get { key } => match self.keys.get(&key) {
                Some(Held::Text(text)) => Ok(Reply::Value(Some(text.clone()))),
                Some(other) => wrong(other),
                None => Ok(Reply::Value(None)),
            },
            Command::Set { key, value, .. } => {
                self.keys.insert(key.clone(), Held::Text(value));
                self.tell(&key, "set");
                Ok(Reply::Done)
            }
            Command::IncrBy { key, by } => {
                let now = match self.keys.get(&key) {
                    None => 0,
                    Some(Held::Text(t)) => {
                        std::str::from_utf8(t).ok().and_then(|t| t.parse().ok()).ok_or(Refusal::NotInteger)?
                    }
                    Some(other) => return wrong(other),
                };
                let sum: i64 = by.checked_add(now).ok_or(Refusal::Overflow)?;
                self.keys.insert(key.clone(), Held::Text(sum.to_string().into()));
                self.tell(&key, "incrby");
                Ok(Reply::Number(sum))
            }
            Command::SAdd { key, members } => {
                match self.keys.entry(key.clone()).or_insert_with(|| Held::Set(BTreeSet::new())) {
                    Held::Set(set) => {
                        let before = set.len();
                        set.extend(members);
                        let n = set.len() - before;
                        self.tell(&key, "sadd");
                        Ok(Reply::Number(n as i64))
                    }
                    other => wrong(other),
                }
            }
            Command::SMembers { key } => match self.keys.get(&key) {
                Some(Held::Set(set)) => Ok(Reply::Elements(set.iter().cloned().collect())),
                Some(other) => wrong(other),
                None => Ok(Reply::Elements(Vec::new())),
            },
            Command::RPush { key, values } => {
                match self.keys.entry(key).or_insert_with(|| Held::List(Vec::new())) {
                    Held::List(list) => {
                        list.extend(values);
                        Ok(Reply::Number(list.len() as i64))
                    }
                    other => wrong(other),
                }
            }
            Command::Scan { span, .. } => {
                let n = if span.count == 0 { 10 } else { span.count as usize };
                let behind = |k: &&Bytes| span.after.as_ref().is_none_or(|a| *k > a);
                let found: Vec<Bytes> = self.keys.keys().filter(behind).take(n).cloned().collect();
                let next = found.last().filter(|l| self.keys.keys().next_back() != Some(l)).cloned();
                Ok(Reply::Scan { next, found })
            }
            Command::Pttl { key } => Ok(Reply::Number(if self.keys.contains_key(&key) { 1_500 } else { -2 })),
            Command::HGetAll { .. } => Ok(Reply::Pairs(vec![("f".into(), "v".into())])),
            Command::SMIsMember { .. } => Ok(Reply::Flags(vec![true, false])),
            Command::Type { key } => Ok(Reply::Type(match self.keys.get(&key) {
                None => Type::None,
                Some(Held::Text(_)) => Type::String,
                Some(Held::Set(_)) => Type::Set,
                Some(Held::List(_)) => Type::List,
            })),
            Command::DbSize => Ok(Reply::Number(self.keys.len() as i64)),
            other => Err(Refusal::Argument(format!("the test's replica has no {}", other.name()))),
        }
    }

    fn answer(&mut self, query: Query) -> Result<Answer, Refusal> {
        match query {
            Query::Command(command) => self.done(command).map(Answer::Reply),
            Query::Transaction(commands) => {
                Ok(Answer::Replies(commands.into_iter().map(|c| self.done(c)).collect()))
            }
            Query::Pipeline(steps) => Ok(Answer::Steps(
                steps
                    .into_iter()
                    .map(|step| match step {
                        Step::Command(command) => self.answer(Query::Command(command)),
                        Step::Transaction(commands) => self.answer(Query::Transaction(commands)),
                    })
                    .collect(),
            )),
            Query::Explain { key } => {
                let shown = match self.keys.get(&key) {
                    Some(Held::Text(text)) => Some(text.clone()),
                    _ => None,
                };
                let entry = |value: &Bytes| Entry {
                    path: Vec::new(),
                    kind: "lww-register".into(),
                    dot: (1, 9),
                    writer: Some((1, 1)),
                    time: Some((5, 0)),
                    value: Some(value.clone()),
                    shown: Some("the latest".into()),
                };
                let entries = shown.iter().map(entry).collect();
                Ok(Answer::Explained(Box::new(Explanation { key, shown, entries, ..Explanation::default() })))
            }
            Query::Documents(_) => Err(Refusal::Argument("this keyspace holds no documents".into())),
            Query::Status => Ok(Answer::Status(Box::new(Status {
                keyspace: "eventual".into(),
                keys: self.keys.len() as u64,
                ..Status::default()
            }))),
            Query::Evict { .. } => Ok(Answer::Reply(Reply::Done)),
            Query::Subscribe(_) => Err(Refusal::Argument("a subscription has many answers".into())),
        }
    }

    fn tell(&mut self, key: &Bytes, event: &str) {
        let by_key = Bytes::from([b"__keyspace@0__:", &key[..]].concat());
        let by_event = Bytes::from(format!("__keyevent@0__:{event}"));
        for (channel, message) in [(by_key, Bytes::from(event.to_owned())), (by_event, key.clone())] {
            for (wanted, to) in &self.listeners {
                let notice = |pattern: Option<&Bytes>| Notice {
                    pattern: pattern.cloned(),
                    channel: channel.clone(),
                    message: message.clone(),
                };
                let mut notices: Vec<Notice> = Vec::new();
                if wanted.channels.contains(&channel) {
                    notices.push(notice(None));
                }
                let fits = |p: &&Bytes| p.strip_suffix(b"*").is_some_and(|p| channel.starts_with(p));
                notices.extend(wanted.patterns.iter().filter(fits).map(|p| notice(Some(p))));
                if !notices.is_empty() {
                    // Who has cancelled is told nothing.
                    let _cancelled = to.try_send(Ok(Answer::Notices(notices)));
                }
            }
        }
    }
}

impl Backend for Memory {
    type Notices = BoxStream<'static, Answered>;

    fn eventual(&self) -> &[Keyspace] {
        &self.keyspaces
    }
    fn strong(&self) -> &str {
        "default"
    }
    fn identity(&self) -> (u64, u64) {
        (1, 2)
    }
    async fn ask(&self, _: GroupId, query: Query, _: Instant) -> Answered {
        let mut inside = self.inside.lock().unwrap();
        inside.questions.push(query.clone());
        Ok(inside.answer(query)?)
    }
    fn subscribe(&self, _: GroupId, wanted: Subscription) -> Self::Notices {
        let (to, from) = mpsc::channel(1_024);
        to.try_send(Ok(Answer::Notices(Vec::new()))).unwrap();
        self.inside.lock().unwrap().listeners.push((wanted, to));
        futures_util::stream::unfold(from, |mut from| async { Some((from.recv().await?, from)) }).boxed()
    }
}
