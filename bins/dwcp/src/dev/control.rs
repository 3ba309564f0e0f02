//! How `dwcp dev kill …` reaches the supervisor: one line of JSON each way on a socket in the cluster's folder.

use super::Break;
use super::layout::Layout;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// What the supervisor is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// SIGKILL.
    Kill {
        /// Node numbers.
        nodes: Vec<u64>,
    },
    /// Start, or thaw.
    Start {
        /// Node numbers.
        nodes: Vec<u64>,
    },
    /// SIGTERM.
    Stop {
        /// Node numbers.
        nodes: Vec<u64>,
    },
    /// SIGSTOP.
    Pause {
        /// Node numbers.
        nodes: Vec<u64>,
    },
    /// Lose what `from` send to `to`.
    Cut {
        /// Node numbers.
        from: Vec<u64>,
        /// Node numbers.
        to: Vec<u64>,
    },
    /// Mend all cuts.
    Heal,
    /// Say who runs.
    List,
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// Whether it was done.
    pub ok: bool,
    /// What was done, or why not.
    pub text: String,
}

/// The supervisor answers in this time, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Turns a command into orders, sends them and gives back the answers.
///
/// # Errors
/// What is wrong and what to do.
pub async fn ask(layout: &Layout, command: &Break) -> Result<String, String> {
    let mut texts = Vec::new();
    for order in orders(layout, command)? {
        let answered = tokio::time::timeout(PATIENCE, send(layout, &order))
            .await
            .map_err(|_| "the supervisor does not answer; is its terminal stopped?".to_string())??;
        if !answered.ok {
            return Err(answered.text);
        }
        texts.push(answered.text);
    }
    Ok(texts.join("\n"))
}

fn orders(layout: &Layout, command: &Break) -> Result<Vec<Order>, String> {
    let find = |word: &String| {
        let ids: Vec<u64> = layout.named(word).iter().map(|p| p.id).collect();
        if ids.is_empty() {
            let names: Vec<String> = layout.places().into_iter().map(|p| p.name).collect();
            return Err(format!("no node or region {word:?}; there are {}", names.join(", ")));
        }
        Ok(ids)
    };
    let all = |words: &[String]| words.iter().map(find).collect::<Result<Vec<_>, _>>().map(|v| v.concat());
    Ok(vec![match command {
        Break::Kill { node } => Order::Kill { nodes: all(node)? },
        Break::Start { node } => Order::Start { nodes: all(node)? },
        Break::Stop { node } => Order::Stop { nodes: all(node)? },
        Break::Pause { node } => Order::Pause { nodes: all(node)? },
        Break::Cut { a, b, one_way } => {
            let from = find(a)?;
            let to = match b {
                Some(b) => find(b)?,
                None => layout.places().iter().map(|p| p.id).filter(|id| !from.contains(id)).collect(),
            };
            let there = Order::Cut { from: from.clone(), to: to.clone() };
            if *one_way {
                return Ok(vec![there]);
            }
            return Ok(vec![there, Order::Cut { from: to, to: from }]);
        }
        Break::Heal => Order::Heal,
        Break::List => Order::List,
    }])
}

async fn send(layout: &Layout, order: &Order) -> Result<Answered, String> {
    let socket = layout.socket();
    let gone = |e: std::io::Error| {
        format!(
            "no `dwcp dev` is running in {} ({e}); start it first, in another terminal",
            layout.dir.display()
        )
    };
    let mut stream = UnixStream::connect(&socket).await.map_err(gone)?;
    let mut line = serde_json::to_string(order).map_err(|e| e.to_string())?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await.map_err(gone)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await.map_err(gone)?;
    serde_json::from_str(&answer).map_err(|e| format!("the supervisor's answer makes no sense: {e}"))
}
