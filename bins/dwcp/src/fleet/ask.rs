//! How commands ask the door: one HTTP request a question, the next node where one is silent.
//!
//! A request goes out under one number, however many nodes it is sent to: whoever does it, it is done once. The nodes of the
//! region it is about are asked first, where it is known which they are: while that is cut off no others can answer. Else
//! who has answered last is asked first, so that a process that asks again and again waits for a silent node once.
//!
//! A machine is looked for in all regions at once, and those that do not answer stand in nobody's way: they are named only if it was
//! found in none. Which regions there are every node says from memory, for when the fleet's store can't be reached.

use super::backstop::Posted;
use crate::dev::layout::Layout;
use crate::http;
use clap::Args;
use dwcp_fleet::command::{Answer, At, Command};
use dwcp_fleet::name::{Region, RequestKey, VmId};
use dwcp_fleet::refusal::Refusal;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An answer may take this long: the door's own patience, and the way.
const PATIENCE: Duration = Duration::from_secs(20);

/// The fleet's store is waited for so long while a node remembers which regions there are.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// A number from the operating system.
pub(super) fn draw() -> Result<u128, String> {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| format!("can't read /dev/urandom: {e}"))?;
    Ok(u128::from_le_bytes(bytes))
}

/// A door, and what it answered.
pub(crate) type Heard = (String, Result<(u16, Value), String>);

/// The fleet's doors of some nodes.
#[derive(Args, Clone, Debug)]
pub struct Places {
    /// The fleet's doors of the nodes; without them, those of the development cluster in `--dir`.
    #[arg(long, global = true, value_delimiter = ',')]
    pub fleet: Vec<SocketAddr>,
    /// Where the development cluster lies.
    #[arg(long, global = true, default_value = ".dwcp-dev")]
    pub dir: PathBuf,
    /// Which of them has answered last.
    #[arg(skip)]
    answered: Arc<AtomicUsize>,
}

impl Places {
    /// The doors, in the order in which they are asked about a region.
    pub(super) fn about(&self, region: Option<&str>) -> Result<Vec<SocketAddr>, String> {
        let mut doors: Vec<(bool, SocketAddr)> = if self.fleet.is_empty() {
            let places = Layout::existing(&self.dir)?.places().into_iter();
            places.map(|p| (region.is_some_and(|r| r != p.region), p.fleet)).collect()
        } else {
            self.fleet.iter().map(|door| (false, *door)).collect()
        };
        let first = self.answered.load(Ordering::Relaxed).min(doors.len());
        doors.rotate_left(first);
        doors.sort_by_key(|(elsewhere, _)| *elsewhere);
        Ok(doors.into_iter().map(|(_, door)| door).collect())
    }

    /// Notes who has answered, in the order in which doors are named.
    fn note(&self, door: SocketAddr) {
        let named = if self.fleet.is_empty() {
            let places = Layout::existing(&self.dir).map(|l| l.places()).unwrap_or_default();
            places.iter().position(|p| p.fleet == door)
        } else {
            self.fleet.iter().position(|d| *d == door)
        };
        self.answered.store(named.unwrap_or(0), Ordering::Relaxed);
    }

    /// The answer of the first node that has one.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), String> {
        self.ask_about(None, method, path, body).await
    }

    /// What each node answers, in the order in which doors are named.
    pub(crate) async fn ask_each(&self, method: &str, path: &str) -> Result<Vec<Heard>, String> {
        let mut doors = self.about(None)?;
        doors.sort_unstable();
        let mut all = Vec::new();
        for door in doors {
            let answer = match http::ask(door, method, path, "", PATIENCE).await {
                Ok((code, text)) => serde_json::from_str(&text)
                    .map(|value| (code, value))
                    .map_err(|e| format!("an answer that makes no sense: {e}; is it a fleet's door?")),
                Err(why) => Err(why),
            };
            all.push((door.to_string(), answer));
        }
        Ok(all)
    }

    async fn ask_about(
        &self,
        region: Option<&str>,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, Value), String> {
        let mut silent: Vec<String> = Vec::new();
        for door in self.about(region)? {
            match http::ask(door, method, path, body, PATIENCE).await {
                // 503: this node can't for now, another may. Several say the same.
                Ok((503, text)) => {
                    let why = said(&text);
                    if !silent.contains(&why) {
                        silent.push(why);
                    }
                }
                Ok((code, text)) => {
                    self.note(door);
                    let value = serde_json::from_str(&text).map_err(|e| {
                        format!("{door} answers what makes no sense: {e}; is it a fleet's door?")
                    })?;
                    return Ok((code, value));
                }
                Err(why) => silent.push(why),
            }
        }
        Err(format!("no node answers: {}", silent.join("; ")))
    }
}

/// Whom a command asks.
#[derive(Args, Clone, Debug)]
pub struct Doors {
    /// Which nodes.
    #[command(flatten)]
    pub places: Places,
    /// The request's number, 32 hexadecimal digits: asked again under the same number it is done once.
    #[arg(long, global = true)]
    pub key: Option<RequestKey>,
}

impl Doors {
    async fn read(&self, path: &str) -> Result<(u16, Value), String> {
        let region = path.strip_prefix("regions/").and_then(|rest| rest.split('/').next());
        self.places.ask_about(region, "GET", &format!("/v1/fleet/{path}"), "").await
    }

    /// What stands under a path.
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        match self.read(path).await? {
            (200, value) => Ok(value),
            (_, value) => Err(refusal(&value).map_or_else(|| value.to_string(), |r| r.to_string())),
        }
    }

    /// Has something done.
    pub(super) async fn done(&self, command: &Command) -> Result<Answer, String> {
        self.tried(command).await?.map_err(|refusal| refusal.to_string())
    }

    /// Has something done, and tells a refusal from everything else.
    pub(super) async fn tried(&self, command: &Command) -> Result<Result<Answer, Refusal>, String> {
        let key = self.key.map_or_else(|| draw().map(RequestKey), Ok)?;
        let body = json!({ "key": key, "command": command });
        let region = region_of(&body["command"]);
        let (code, value) =
            self.places.ask_about(region, "POST", "/v1/fleet/requests", &body.to_string()).await?;
        if code == 200 {
            let answer = serde_json::from_value(value["answer"].clone());
            return answer.map(Ok).map_err(|e| format!("the answer makes no sense: {e}"));
        }
        refusal(&value).map(Err).ok_or_else(|| value.to_string())
    }

    /// Says what a host runs; a node that takes no announcements says so, and nobody minds.
    pub(super) async fn announce(&self, posted: &Posted) -> Result<(), String> {
        let body = serde_json::to_string(posted).map_err(|e| e.to_string())?;
        self.places
            .ask_about(Some(posted.region.as_str()), "POST", "/v1/fleet/announcements", &body)
            .await
            .map(drop)
    }

    /// The names of the regions: by the fleet's store, or, while that can't be reached, by what a node remembers.
    pub(super) async fn regions(&self) -> Result<Vec<Region>, String> {
        let mut asked = pin!(self.get("regions"));
        match tokio::time::timeout(STORE_PATIENCE, &mut asked).await {
            Ok(Ok(found)) => names(&found),
            Ok(Err(why)) => self.remembered().await.map_err(|_| why),
            Err(_) => match self.remembered().await {
                Ok(remembered) => Ok(remembered),
                Err(_) => names(&asked.await?),
            },
        }
    }

    async fn remembered(&self) -> Result<Vec<Region>, String> {
        names(&self.get("known").await?)
    }

    /// A machine by its number or name, in a region or wherever it is.
    pub(super) async fn find(&self, which: &str, region: Option<&Region>) -> Result<(At, Value), String> {
        let mut search = Search { which, searched: BTreeSet::new(), silent: Vec::new() };
        if let Some(region) = region {
            if let Some(found) = search.within(self, std::slice::from_ref(region)).await? {
                return Ok(found);
            }
            return Err(search.in_vain());
        }
        // What a node remembers costs nothing and is nearly always all there is.
        let remembered = self.remembered().await.unwrap_or_default();
        if let Some(found) = search.within(self, &remembered).await? {
            return Ok(found);
        }
        let all = self.regions().await?;
        search.within(self, &all).await?.ok_or_else(|| search.in_vain())
    }
}

/// A search for a machine, region by region.
struct Search<'a> {
    which: &'a str,
    searched: BTreeSet<Region>,
    /// Regions that did not answer, and why.
    silent: Vec<(Region, String)>,
}

impl Search<'_> {
    async fn within(&mut self, doors: &Doors, regions: &[Region]) -> Result<Option<(At, Value)>, String> {
        let new = regions.iter().filter(|region| self.searched.insert((*region).clone()));
        // All at once: whoever has it answers while those that are cut off are still waited for.
        let mut asked: FuturesUnordered<_> = new
            .map(|region| {
                let path = format!("regions/{region}/vms/{}", self.which);
                async move { (region, doors.read(&path).await) }
            })
            .collect();
        while let Some((region, answer)) = asked.next().await {
            match answer {
                Ok((200, value)) => {
                    let vm: VmId = value["vm"]["id"].as_str().unwrap_or_default().parse()?;
                    return Ok(Some((At { region: region.clone(), vm }, value)));
                }
                Ok(_) => {}
                Err(why) => self.silent.push((region.clone(), why)),
            }
        }
        Ok(None)
    }

    /// Where it is not, and where nobody knows.
    fn in_vain(&self) -> String {
        let asked = self.searched.iter().filter(|r| self.silent.iter().all(|(silent, _)| silent != *r));
        let asked: Vec<&str> = asked.map(Region::as_str).collect();
        let mut said = match asked.as_slice() {
            [] => String::new(),
            asked => format!("there is no machine {:?} in {}", self.which, asked.join(", ")),
        };
        for (region, why) in &self.silent {
            let sep = if said.is_empty() { "" } else { "; " };
            said += &format!("{sep}{region} could not be asked: {why}");
        }
        said + "; `dwcp vm list` shows those there are"
    }
}

/// The names in a list.
fn names(list: &Value) -> Result<Vec<Region>, String> {
    let found = list["items"].as_array().into_iter().flatten();
    found.filter_map(|item| item["name"].as_str()).map(str::parse).collect()
}

/// The region that a command is about, if it is one's.
fn region_of(command: &Value) -> Option<&str> {
    let fields = command.as_object()?.values().next()?;
    [&fields["region"], &fields["at"]["region"], &fields["seat"]["at"]["region"]]
        .into_iter()
        .find_map(Value::as_str)
}

fn refusal(value: &Value) -> Option<Refusal> {
    serde_json::from_value(value["error"].clone()).ok()
}

/// What a refusal's text says, or the text.
fn said(text: &str) -> String {
    let refusal = serde_json::from_str::<Value>(text).ok().and_then(|value| refusal(&value));
    refusal.map_or_else(|| text.trim().to_string(), |refusal| refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_whose_it_is() {
        for (command, region) in [
            (json!({ "create": { "region": "eu", "spec": {} } }), Some("eu")),
            (json!({ "delete": { "at": { "region": "us", "vm": "0" } } }), Some("us")),
            (json!({ "renew": { "seat": { "at": { "region": "us", "vm": "0" } } } }), Some("us")),
            (json!({ "block_add": { "block": "10.0.0.0/8" } }), None),
            (json!("nothing"), None),
        ] {
            assert_eq!(region_of(&command), region, "{command}");
        }
    }

    #[test]
    fn who_answered_last_is_asked_first() {
        let door = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let fleet = vec![door(1), door(2), door(3)];
        let places = Places { fleet, dir: PathBuf::new(), answered: Arc::default() };
        places.note(door(2));
        assert_eq!(places.about(Some("eu")), Ok(vec![door(2), door(3), door(1)]));
    }

    #[test]
    fn a_search_in_vain_says_where_nobody_knows() {
        let regions: Vec<Region> = ["eu", "us"].map(|r| r.parse().unwrap()).into();
        let silent = vec![(regions[1].clone(), "no node answers".to_string())];
        let search = Search { which: "web", searched: regions.into_iter().collect(), silent };
        let said = search.in_vain();
        assert!(said.contains("there is no machine \"web\" in eu;"), "{said}");
        assert!(said.contains("us could not be asked: no node answers"), "{said}");
    }
}
