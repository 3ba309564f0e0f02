//! `--agree`: an answer is believed once enough members' doors have given it alike.
//!
//! **Promise.** With `f + 1` equal answers asked for, of which at most `f` come from liars, what is printed was said by a correct
//! member: a linearizable read of its own, in the time the command took. A node that makes up answers delays the command at
//! most until its time is over; it is named, with what it said.
//!
//! **Source.** Castro and Liskov, *Practical Byzantine Fault Tolerance* (OSDI 1999), §4.1: a client waits for `f + 1` replies with
//! the same result. Here the client is the command line; [`Replies`] counts.
//!
//! **Model.** All doors are asked at once, each with a time of its own; the first answer that enough give is taken, and nobody
//! else is waited for. Correct members may differ while others write: then all are asked again, until the time is over. What
//! is compared is the answer without its header, which tells of other keys' writes.
//!
//! | what | how |
//! |---|---|
//! | a read | asked at every door |
//! | a write | asked at one door, so that it is done once; what that door says is believed when enough doors read it back: a put, the value at the revision that was told; a deletion, as many keys just before the revision, and none at it |
//!
//! A write that is not confirmed may or may not have been done, as any whose answer is lost.
//!
//! **Left to the user**: to name the doors of all members (`--endpoints`; those of the development cluster are known). How many
//! may lie is reckoned from how many are named; whoever names too few asks for more by `--agree=N`.

use crate::client::{Client, ClientError, Endpoints};
use dwcp_consensus::pbft::reply::Replies;
use dwcp_consensus::quorum::MEMBERS_MAX;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prost::Message;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// All of it, however often it is asked.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// One answer of one door.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Between two rounds.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// gRPC's codes of who can't answer now; what else is refused is an answer as good as another.
const NO_ANSWER: [u32; 4] = [1, 4, 8, 14];

/// The doors whose answers are compared.
pub(crate) struct Doors {
    doors: Vec<(String, SocketAddr)>,
    keyspace: Option<String>,
    enough: usize,
}

/// What enough doors said, and which did.
pub(crate) struct Agreed<A> {
    pub(crate) answer: A,
    pub(crate) by: Vec<String>,
}

/// One door's answer: a message, or a refusal.
type Said<A> = Result<A, String>;

impl Doors {
    /// Those of a command; so many answers as asked for must be alike, or one more than may lie among so many members.
    pub(crate) fn of(endpoints: &Endpoints, wanted: Option<u16>) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        let mut doors = endpoints.all()?;
        doors.retain(|(_, address)| seen.insert(*address));
        let enough = wanted.map_or((doors.len().saturating_sub(1)) / 3 + 1, usize::from);
        if doors.len() > MEMBERS_MAX {
            return Err(format!("{} doors are more than a group has members, {MEMBERS_MAX}", doors.len()));
        }
        if enough == 0 || enough > doors.len() {
            return Err(format!(
                "{enough} equal answers can't come of {} doors: name those of all members (`--endpoints`), or ask for fewer (`--agree=N`)",
                doors.len()
            ));
        }
        Ok(Self { doors, keyspace: endpoints.keyspace.clone(), enough })
    }
    /// All doors in turn, to ask one of them.
    pub(crate) fn each(&self) -> impl Iterator<Item = &(String, SocketAddr)> {
        self.doors.iter()
    }
    /// A connection to one.
    pub(crate) async fn connect(&self, address: SocketAddr) -> Result<Client, ClientError> {
        Client::connect(address, self.keyspace.clone()).await
    }

    /// Asks all doors until enough say the same. `bare` takes out of an answer what may differ, `told` says it to a person.
    pub(crate) async fn ask<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        question: &Q,
        bare: impl Fn(&mut A),
        told: impl Fn(&A) -> String,
    ) -> Result<Agreed<A>, String> {
        let until = Instant::now() + AGREE_WITHIN;
        // What each door said last: of those that are late in the last round an earlier answer is told.
        let mut heard: Vec<Option<Result<Said<A>, String>>> = self.doors.iter().map(|_| None).collect();
        loop {
            let mut replies = Replies::needing(self.doors.len(), self.enough);
            let left = until.saturating_duration_since(Instant::now()).min(ANSWER_WITHIN);
            let asked = self.doors.iter().enumerate().map(async |(place, (_, address))| {
                let answer = tokio::time::timeout(left, self.once::<Q, A>(*address, path, question)).await;
                (place, answer.unwrap_or_else(|_| Err("no answer in time".into())))
            });
            let mut asked: FuturesUnordered<_> = asked.collect();
            while let Some((place, mut answer)) = asked.next().await {
                if let Ok(Ok(a)) = &mut answer {
                    bare(a);
                }
                let digest = answer.as_ref().ok().map(digest);
                if digest.is_some() || !matches!(heard[place], Some(Ok(_))) {
                    heard[place] = Some(answer);
                }
                if let Some(believed) = digest.and_then(|digest| replies.hear(place, digest)) {
                    return self.believed(heard, believed);
                }
            }
            if Instant::now() + LOOK_EVERY >= until {
                return Err(self.differs(&heard, told));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    async fn once<Q: Message, A: Message + Default>(
        &self,
        address: SocketAddr,
        path: &str,
        question: &Q,
    ) -> Result<Said<A>, String> {
        let answer = match self.connect(address).await {
            Ok(client) => client.call(path, question).await,
            Err(e) => Err(e),
        };
        match answer {
            Ok(answer) => Ok(Ok(answer)),
            Err(ClientError::Status { code, message }) if !NO_ANSWER.contains(&code) => Ok(Err(message)),
            Err(e) => Err(e.to_string()),
        }
    }
    /// What those said who are believed.
    fn believed<A: Message>(
        &self,
        heard: Vec<Option<Result<Said<A>, String>>>,
        believed: [u8; 32],
    ) -> Result<Agreed<A>, String> {
        let mut found = None;
        let mut by = Vec::new();
        for ((name, _), answer) in self.doors.iter().zip(heard) {
            if let Some(Ok(said)) = answer.filter(|a| a.as_ref().is_ok_and(|said| digest(said) == believed)) {
                by.push(name.clone());
                found = Some(said);
            }
        }
        match found.ok_or("nobody is believed")? {
            Ok(answer) => Ok(Agreed { answer, by }),
            Err(refused) => Err(format!("{refused} (so say {})", by.join(", "))),
        }
    }
    /// Who said what.
    fn differs<A>(&self, heard: &[Option<Result<Said<A>, String>>], told: impl Fn(&A) -> String) -> String {
        let mut text = format!(
            "{} equal answers are needed before anything is believed, and there were none in {} s:",
            self.enough,
            AGREE_WITHIN.as_secs()
        );
        for ((name, _), answer) in self.doors.iter().zip(heard) {
            let said = match answer {
                Some(Ok(Ok(answer))) => told(answer),
                Some(Ok(Err(refused))) => format!("refuses: {refused}"),
                Some(Err(why)) => format!("silent: {why}"),
                None => "silent".into(),
            };
            text.push_str(&format!("\n  {name}: {said}"));
        }
        text
    }
}

/// Equal for equal answers, and for equal refusals.
fn digest<A: Message>(said: &Said<A>) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    match said {
        Ok(answer) => {
            context.update(&[0]);
            context.update(&answer.encode_to_vec());
        }
        Err(refused) => {
            context.update(&[1]);
            context.update(refused.as_bytes());
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u16) -> Endpoints {
        let endpoints = (0..count).map(|n| SocketAddr::from(([127, 0, 0, 1], 1_000 + n))).collect();
        Endpoints { endpoints, dir: "none".into(), keyspace: None }
    }

    #[test]
    fn as_many_are_needed_as_make_one_correct_member_sure() {
        for (doors, enough) in [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (10, 4)] {
            assert_eq!(Doors::of(&endpoints(doors), None).map(|d| d.enough), Ok(enough), "{doors} doors");
        }
        assert_eq!(Doors::of(&endpoints(4), Some(4)).map(|d| d.enough), Ok(4));
        for wanted in [0, 5] {
            assert!(Doors::of(&endpoints(4), Some(wanted)).is_err_and(|e| e.contains("--agree=N")));
        }
        let mut twice = endpoints(2);
        twice.endpoints.extend_from_within(..);
        assert!(Doors::of(&twice, Some(3)).is_err(), "one door is one voice, however often it is named");
    }
}
