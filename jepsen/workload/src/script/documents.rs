//! Documents whose fields several write who do not see each other: what the policy in force settles by itself, and what it leaves to people, who
//! never answer here.
//!
//! The first clients declare schema and policy in the strong keyspace; the others are refused until nodes have read them. Nothing is judged
//! by the log: the replicas are looked at (`documents_one_view`, `documents_nothing_lost`).

use super::{Begun, Draw, Then};
use crate::ask::{Answer, Ask};
use crate::record::{Deed, What};
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_eventual::documents::Value;
use dwcp_eventual::documents::ask::{Change, Person, Question, Which};
use dwcp_store::api::{Op, OpError, PutRequest};

const FIELD: Purpose = Purpose::named("documents.field");
const KEY: Purpose = Purpose::named("documents.key");
const ROLE: Purpose = Purpose::named("documents.role");
const BACK: Purpose = Purpose::named("documents.back");
/// Clients that declare the rules.
const DECLARE: u32 = 2;

const SCHEMA: &str = r#"{"schema":"vm","version":1,"fields":{
    "cpu":{"kind":"atomic","type":"int","owner":"operator"},"power":"atomic","restarts":"counter","notes":"text",
    "top":"max","labels":{"kind":"map","of":"atomic"},"addresses":"set","kept":"atomic","life":{"kind":"atomic","type":"text"}},"lifecycle":"/life"}"#;
const POLICY: &str = r#"{"policy":"scenario","version":1,"activates":0,"rule":[
    {"name":"owners first","class":"intent","use":{"strategy":"priority","by":"role","order":["operator"]}},
    {"name":"power","path":"/power","use":{"strategy":"manual","deadline":"2s","default":"rollback"}},
    {"name":"kept","path":"/kept","use":"multi-value"},
    {"name":"notes","path":"/notes","use":{"strategy":"transform","otherwise":"last-writer"}},
    {"name":"the rest","use":{"strategy":"semantic","otherwise":"last-writer"}}]}"#;

/// The file's canonical bytes; nothing of what is no file.
fn file(text: &str) -> Vec<u8> {
    serde_json::from_str::<Value>(text).map(|v| v.to_bytes()).unwrap_or_default()
}

/// A client of documents.
#[derive(Debug)]
pub struct Documents {
    keys: u64,
    /// What it is still to declare: keys and files.
    declares: Vec<(&'static str, &'static str)>,
    /// Whether it takes checkpoints and goes back to them.
    returns: bool,
}

impl Documents {
    pub(super) fn new(nth: u32, keys: u64, returns: bool) -> Self {
        let rules = [("policy/1", POLICY), ("schema/vm/1", SCHEMA)];
        Self { keys, declares: if nth < DECLARE { rules.into() } else { Vec::new() }, returns }
    }

    /// Of eight names one is taken, let go of, or gone back to; in a name that judges know.
    fn of_checkpoints(draw: Draw) -> Option<Question> {
        let name = format!("c{}", draw.below(8, BACK, 0));
        let by =
            Person { name: format!("back {}", draw.client), role: "operator".into(), region: String::new() };
        match draw.below(100, BACK, 1) {
            0..6 => Some(Question::Checkpoint { name, kinds: Vec::new(), days: 30, by }),
            6..8 => Some(Question::Forget { name }),
            8..14 => {
                let which = Which { created: true, ..Which::default() };
                Some(Question::Rollback { name, which, dry: false, after: None, by })
            }
            _ => None,
        }
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        if let Some((name, text)) = self.declares.last() {
            let key = Bytes::from(format!("\0dwcp/eventual/eventual/{name}"));
            let put = PutRequest { key, value: file(text).into(), ..PutRequest::default() };
            return Begun { what: None, ask: Ask::Do { stamp: None, op: Op::Put(put) } };
        }
        if let Some(question) = Self::of_checkpoints(draw).filter(|_| self.returns) {
            return Begun { what: None, ask: Ask::Documents(Box::new(question)) };
        }
        let key = draw.below(self.keys, KEY, 0);
        let unique = draw.unique(0);
        let number = Value::Int(unique.cast_signed());
        let text = |of: String| Value::from(of.as_str());
        let set = |at: &str, value: Option<Value>| {
            Change::Patch(vec![(at.into(), value.map(|v| v.to_bytes().into()))])
        };
        let (at, value) = match draw.below(100, FIELD, 0) {
            0..2 => return Self::write(draw, key, unique, Change::Delete),
            2..4 => ("/life", Some(text("wanted".into()))),
            // What was deleted is made anew, or brought back: by itself no field is taken.
            4..10 => {
                let whole: [(std::sync::Arc<str>, Value); 2] =
                    [("cpu".into(), number), ("notes".into(), text(format!("made {unique}")))];
                return Self::write(draw, key, unique, Change::Put(Value::map(whole).to_bytes().into()));
            }
            10..20 => ("/cpu", Some(number)),
            20..30 => ("/power", Some(text(format!("p{unique}")))),
            30..45 => ("/restarts", Some(Value::Int(draw.below(50, FIELD, 1).cast_signed()))),
            45..55 => ("/notes", Some(text(format!("note {unique}")))),
            55..65 => ("/top", Some(number)),
            65..75 => ("/labels/a", Some(number)),
            75..80 => ("/labels/a", None),
            80..90 => ("/addresses", Some(Value::from(vec![number]))),
            _ => ("/kept", Some(number)),
        };
        Self::write(draw, key, unique, set(at, value))
    }

    fn write(draw: Draw, key: u64, unique: u64, change: Change) -> Begun {
        let role = if draw.below(3, ROLE, 0) == 0 { "autoscaler" } else { "operator" };
        let by = Person { name: format!("client {}", draw.client), role: role.into(), region: String::new() };
        let ask = Question::Write { kind: "vm".into(), key: format!("vm-{key}"), by, change };
        let what = What::Eventual(Deed::Write { key, value: unique });
        Begun { what: Some(what), ask: Ask::Documents(Box::new(ask)) }
    }

    pub(super) fn answered(&mut self, answer: &Result<Answer, OpError>) -> Then {
        match answer {
            Ok(_) => {
                self.declares.pop();
                Then::ok(0)
            }
            Err(_) => Then::fail(),
        }
    }
}
