//! How commands ask the door: one HTTP request a question, the next node where one is silent.
//!
//! A request goes out under one number, however many nodes it is sent to: whoever does it, it is done once.

use super::backstop::Posted;
use crate::dev::layout::Layout;
use crate::http;
use clap::Args;
use dwcp_fleet::command::{Answer, At, Command};
use dwcp_fleet::name::{Region, RequestKey, VmId};
use dwcp_fleet::refusal::Refusal;
use serde_json::{Value, json};
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// An answer may take this long: the door's own patience, and the way.
const PATIENCE: Duration = Duration::from_secs(20);

/// A number from the operating system.
pub(super) fn draw() -> Result<u128, String> {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| format!("can't read /dev/urandom: {e}"))?;
    Ok(u128::from_le_bytes(bytes))
}

/// The fleet's doors of some nodes.
#[derive(Args, Clone, Debug)]
pub struct Places {
    /// The fleet's doors of the nodes; without them, those of the development cluster in `--dir`.
    #[arg(long, global = true, value_delimiter = ',')]
    pub fleet: Vec<SocketAddr>,
    /// Where the development cluster lies.
    #[arg(long, global = true, default_value = ".dwcp-dev")]
    pub dir: PathBuf,
}

impl Places {
    pub(super) fn all(&self) -> Result<Vec<SocketAddr>, String> {
        if !self.fleet.is_empty() {
            return Ok(self.fleet.clone());
        }
        Ok(Layout::existing(&self.dir)?.places().into_iter().map(|p| p.fleet).collect())
    }

    /// The answer of the first node that has one.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), String> {
        let mut silent = Vec::new();
        for door in self.all()? {
            match http::ask(door, method, path, body, PATIENCE).await {
                // 503: this node can't for now, another may.
                Ok((503, text)) => silent.push(said(&text)),
                Ok((code, text)) => {
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
    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), String> {
        self.places.ask(method, path, body).await
    }

    /// What stands under a path.
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        match self.ask("GET", &format!("/v1/fleet/{path}"), "").await? {
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
        let body = json!({ "key": key, "command": command }).to_string();
        let (code, value) = self.ask("POST", "/v1/fleet/requests", &body).await?;
        if code == 200 {
            let answer = serde_json::from_value(value["answer"].clone());
            return answer.map(Ok).map_err(|e| format!("the answer makes no sense: {e}"));
        }
        refusal(&value).map(Err).ok_or_else(|| value.to_string())
    }

    /// Says what a host runs; a node that takes no announcements says so, and nobody minds.
    pub(super) async fn announce(&self, posted: &Posted) -> Result<(), String> {
        let body = serde_json::to_string(posted).map_err(|e| e.to_string())?;
        self.ask("POST", "/v1/fleet/announcements", &body).await.map(drop)
    }

    /// The names of the regions.
    pub(super) async fn regions(&self) -> Result<Vec<Region>, String> {
        let found = self.get("regions").await?;
        let names = found["items"].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str());
        names.map(str::parse).collect()
    }

    /// A machine by its number or name, in a region or wherever it is.
    pub(super) async fn find(&self, which: &str, region: Option<&Region>) -> Result<(At, Value), String> {
        let regions = match region {
            Some(region) => vec![region.clone()],
            None => self.regions().await?,
        };
        for region in &regions {
            let path = format!("/v1/fleet/regions/{region}/vms/{which}");
            let (code, value) = self.ask("GET", &path, "").await?;
            if code == 200 {
                let vm: VmId = value["vm"]["id"].as_str().unwrap_or_default().parse()?;
                return Ok((At { region: region.clone(), vm }, value));
            }
        }
        let names: Vec<String> = regions.iter().map(ToString::to_string).collect();
        Err(format!(
            "there is no machine {which:?} in {}; `dwcp vm list` shows those there are",
            names.join(", ")
        ))
    }
}

fn refusal(value: &Value) -> Option<Refusal> {
    serde_json::from_value(value["error"].clone()).ok()
}

/// What a refusal's text says, or the text.
fn said(text: &str) -> String {
    let refusal = serde_json::from_str::<Value>(text).ok().and_then(|value| refusal(&value));
    refusal.map_or_else(|| text.trim().to_string(), |refusal| refusal.to_string())
}
