//! Subscriptions to changes.
//!
//! A channel is one of Redis' keyspace notifications: `__keyspace@0__:<key>` tells the events of a key,
//! `__keyevent@0__:<event>` the keys of an event. They are always on, and tell changes wherever they were made, when
//! they arrive at this node.
//!
//! **Exactly once.** Each `SUBSCRIBE` opens one stream of the node, for the channels that no stream covers yet; a channel
//! that is given up stays covered and is left out here, until nothing is listened to at all. So nothing is told
//! twice, and nothing is missed between two subscriptions.
//!
//! **Bounds.** [`STREAMS_MAX`] streams, [`CHANNELS_MAX`] channels and patterns in all. A client that does not read is
//! ended when the node's backlog for it is full, as in Redis when its output buffer is: it learns by the end of the
//! connection that it has missed something.

use super::backend::{Answered, Backend, Refused};
use super::reply::Out;
use super::session::{DEADLINE, Session};
use bytes::Bytes;
use dwcp_eventual::api::CHANNELS_MAX;
use dwcp_eventual::{Answer, Notice, Refusal, Subscription};
use futures_util::stream::{Chain, Iter, SelectAll};
use futures_util::{Stream, StreamExt};
use std::collections::BTreeSet;
use std::future::poll_fn;
use tokio::time::timeout;

/// Streams of one connection.
pub(super) const STREAMS_MAX: usize = 256;

/// A stream whose end is told.
type Told<S> = Chain<S, Iter<std::array::IntoIter<Answered, 1>>>;

/// What a client listens to.
pub(super) struct Listening<S> {
    channels: BTreeSet<Bytes>,
    patterns: BTreeSet<Bytes>,
    /// What the streams tell; a superset of the above.
    covered: (BTreeSet<Bytes>, BTreeSet<Bytes>),
    streams: SelectAll<Told<S>>,
}

impl<S: Stream<Item = Answered> + Unpin> Default for Listening<S> {
    fn default() -> Self {
        Self {
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            covered: Default::default(),
            streams: SelectAll::new(),
        }
    }
}

impl<S: Stream<Item = Answered> + Unpin> Listening<S> {
    /// Whether there is anything.
    pub(super) fn any(&self) -> bool {
        !self.channels.is_empty() || !self.patterns.is_empty()
    }
    /// How much there is.
    pub(super) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }
    fn set(&mut self, by_pattern: bool) -> &mut BTreeSet<Bytes> {
        if by_pattern { &mut self.patterns } else { &mut self.channels }
    }

    /// The next changes; pending for ever if nothing is listened to.
    ///
    /// # Errors
    /// Something was missed: the connection is to end.
    pub(super) async fn next(&mut self) -> Result<Vec<Notice>, Refused> {
        if self.streams.is_empty() {
            return std::future::pending().await;
        }
        match poll_fn(|cx| self.streams.poll_next_unpin(cx)).await {
            Some(Ok(Answer::Notices(notices))) => Ok(notices),
            Some(Err(refused)) => Err(refused),
            Some(Ok(_)) | None => Err(Refusal::Lagged.into()),
        }
    }

    /// Writes changes as this client is told of them.
    pub(super) fn tell(&self, notices: &[Notice], out: &mut Out) {
        for notice in notices {
            match &notice.pattern {
                Some(pattern) if self.patterns.contains(pattern) => {
                    out.push(4);
                    out.bulk(b"pmessage");
                    out.bulk(pattern);
                }
                None if self.channels.contains(&notice.channel) => {
                    out.push(3);
                    out.bulk(b"message");
                }
                _ => continue,
            }
            out.bulk(&notice.channel);
            out.bulk(&notice.message);
        }
    }
}

impl<B: Backend> Session<B> {
    /// `SUBSCRIBE`, `PSUBSCRIBE`.
    pub(super) async fn subscribe(&mut self, names: &[Bytes], by_pattern: bool) {
        let covered = if by_pattern { &self.listening.covered.1 } else { &self.listening.covered.0 };
        let fresh: BTreeSet<Bytes> = names.iter().filter(|n| !covered.contains(*n)).cloned().collect();
        if !fresh.is_empty()
            && let Err(text) = self.listen(fresh, by_pattern).await
        {
            return self.out.error(&text);
        }
        for name in names {
            self.listening.set(by_pattern).insert(name.clone());
            let kind: &[u8] = if by_pattern { b"psubscribe" } else { b"subscribe" };
            self.confirm(kind, Some(name));
        }
    }

    /// Opens a stream and waits until it stands.
    async fn listen(&mut self, fresh: BTreeSet<Bytes>, by_pattern: bool) -> Result<(), String> {
        let (channels, patterns) = (&self.listening.covered.0, &self.listening.covered.1);
        if channels.len() + patterns.len() + fresh.len() > CHANNELS_MAX {
            return Err(format!(
                "ERR at most {CHANNELS_MAX} channels and patterns on one connection; open another"
            ));
        }
        if self.listening.streams.len() >= STREAMS_MAX {
            return Err(format!(
                "ERR at most {STREAMS_MAX} subscriptions on one connection: name more channels in each, or open another"
            ));
        }
        let names: Vec<Bytes> = fresh.iter().cloned().collect();
        let wanted = match by_pattern {
            true => Subscription { patterns: names, ..Subscription::default() },
            false => Subscription { channels: names, ..Subscription::default() },
        };
        let mut stream = self.shared.backend.subscribe(self.chosen().group, wanted);
        match timeout(DEADLINE, stream.next()).await {
            Ok(Some(Ok(Answer::Notices(_)))) => {}
            Ok(Some(Err(refused))) => return Err(format!("ERR {refused}")),
            _ => return Err("ERR the node did not answer in time; try again".into()),
        }
        let lost = [Err(Refused::Replica(Refusal::Lagged))];
        self.listening.streams.push(stream.chain(futures_util::stream::iter(lost)));
        let covered = &mut self.listening.covered;
        if by_pattern {
            covered.1.extend(fresh)
        } else {
            covered.0.extend(fresh)
        }
        Ok(())
    }

    /// `UNSUBSCRIBE`, `PUNSUBSCRIBE`: these, or all.
    pub(super) fn unsubscribe(&mut self, names: &[Bytes], by_pattern: bool) {
        let kind: &[u8] = if by_pattern { b"punsubscribe" } else { b"unsubscribe" };
        let set = self.listening.set(by_pattern);
        let names: Vec<Bytes> = if names.is_empty() { set.iter().cloned().collect() } else { names.to_vec() };
        for name in &names {
            self.listening.set(by_pattern).remove(name);
            self.confirm(kind, Some(name));
        }
        if names.is_empty() {
            self.confirm(kind, None);
        }
        if !self.listening.any() {
            self.listening = Listening::default();
        }
    }

    fn confirm(&mut self, kind: &[u8], name: Option<&Bytes>) {
        self.out.push(3);
        self.out.bulk(kind);
        self.out.bulk_or_null(name);
        self.out.number(self.listening.count() as i64);
    }
}
