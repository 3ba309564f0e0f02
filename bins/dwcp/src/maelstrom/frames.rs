//! Peers' messages as Maelstrom messages, and back.
//!
//! `{"type": "dwcp", "frame": "…"}`: a frame of [`dwcp_env::wire`] in base64, the lane as its kind, its
//! checksum tested before anything is believed. Who sent it is what Maelstrom's envelope says.

use super::cluster::Cluster;
use super::lines::Lines;
use super::protocol::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dwcp_env::{Lane, NodeId, Send, wire};
use dwcp_runtime_real::shard::Carrier;
use serde_json::Value;
use std::sync::Arc;

/// The type of a message that carries a frame.
pub(super) const KIND: &str = "dwcp";

/// Carries a node's messages out through standard output.
pub(super) struct Postman {
    pub(super) cluster: Arc<Cluster>,
    pub(super) lines: Lines,
}

impl Carrier for Postman {
    fn carry(&self, send: Send) {
        let Some(name) = self.cluster.name(send.to) else {
            tracing::warn!(to = %send.to, "a message to nobody is lost");
            return;
        };
        match wire::frame(send.lane as u8, &send.body) {
            Ok(frame) => self.lines.tell(name, KIND, [("frame", STANDARD.encode(frame).into())]),
            Err(e) => tracing::warn!(to = name, "a message can't be framed and is lost: {e}"),
        }
    }
    fn flush(&self) {}
    fn peers(&self, _: Vec<(NodeId, String)>) {
        // Everybody reaches everybody by name.
    }
}

/// The lane and the body in a message, if it holds a sound frame.
pub(super) fn open(body: &Body) -> Result<(Lane, Bytes), String> {
    let text = body.get("frame").and_then(Value::as_str).ok_or("no frame")?;
    let frame = STANDARD.decode(text).map_err(|e| e.to_string())?;
    let (lane, body) = wire::parse(&frame.into()).map_err(|e| e.to_string())?;
    Ok((Lane::from_u8(lane).ok_or("no such lane")?, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_frame_comes_back_and_an_altered_one_does_not() {
        let text = STANDARD.encode(wire::frame(1, b"hello").unwrap());
        let of = |text: &str| json!({ "frame": text }).as_object().cloned().unwrap();
        assert_eq!(open(&of(&text)), Ok((Lane::Data, Bytes::from_static(b"hello"))));
        let mut altered = STANDARD.decode(&text).unwrap();
        *altered.last_mut().unwrap() ^= 1;
        for bad in [STANDARD.encode(altered), "?".into(), String::new()] {
            assert!(open(&of(&bad)).is_err());
        }
        assert!(open(&Body::new()).is_err());
    }
}
