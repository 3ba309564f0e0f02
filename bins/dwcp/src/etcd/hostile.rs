//! What a client that errs or means harm can send: never a panic, never an endless wait.

use super::grpc::{self, Call, Inbound};
use super::message as pb;
use super::{convert, status};
use prost::Message as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Numbers that look random and are the same in each run.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> usize {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }
    fn below(&mut self, n: usize) -> usize {
        self.next() % n
    }
}

fn txn() -> pb::TxnRequest {
    let put = pb::PutRequest { key: "key".into(), value: vec![7; 40].into(), ..Default::default() };
    let range = pb::RangeRequest { key: "a".into(), range_end: "b".into(), ..Default::default() };
    let compare = pb::Compare {
        key: "key".into(),
        target: pb::COMPARE_VALUE,
        target_union: Some(pb::TargetUnion::Value("x".into())),
        ..Default::default()
    };
    let op = |r| pb::RequestOp { request: Some(r) };
    let inner = pb::TxnRequest { success: vec![op(pb::Request::Put(put))], ..Default::default() };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(pb::Request::Txn(inner))],
        failure: vec![op(pb::Request::Range(range))],
    }
}

fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    out.extend_from_slice(body);
    out
}

/// What a well-behaved client sends for one call, its message in two frames.
fn conversation() -> Vec<u8> {
    let message = txn().encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    let path = b"/etcdserverpb.KV/Txn";
    // :method POST, :scheme http, :path, content-type; HPACK without its tables.
    let mut head = vec![0x83, 0x86, 0x04, path.len() as u8];
    head.extend_from_slice(path);
    head.extend_from_slice(&[0x0f, 0x10, 16]);
    head.extend_from_slice(b"application/grpc");
    let (one, two) = body.split_at(9);
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &head),
        frame(0, 0, 1, one),
        frame(0, 1, 1, two),
    ]
    .concat()
}

/// Serves `bytes` as one connection whose client then falls silent; how many calls were understood.
async fn serve(bytes: &[u8]) -> usize {
    let understood = AtomicUsize::new(0);
    let handler = |mut call: Call| {
        let understood = &understood;
        Some(async move {
            let read: Result<pb::TxnRequest, _> = Inbound::only(&mut call.inbound).await;
            match read.and_then(convert::whole_txn) {
                Ok(_) => {
                    understood.fetch_add(1, Ordering::Relaxed);
                    grpc::answer(&mut call.respond, Ok(pb::TxnResponse::default()));
                }
                Err(status) => grpc::refuse(&mut call.respond, &status),
            }
        })
    };
    let (_keep, closing) = watch::channel(false);
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let talk = async {
        client.write_all(bytes).await.expect("the pipe is larger than the conversation");
        // Both sides run on this task: after some turns the server has done all it can.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        client.shutdown().await.expect("a pipe closes");
        let mut answer = Vec::new();
        let _cut: Result<usize, _> = client.read_to_end(&mut answer).await;
    };
    let both = async { tokio::join!(grpc::serve(server, handler, closing), talk) };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("a connection whose client left ends");
    understood.load(Ordering::Relaxed)
}

#[tokio::test]
async fn altered_conversations_end_without_a_panic() {
    let good = conversation();
    assert_eq!(serve(&good).await, 1, "what is not altered is understood");
    let mut draws = Draws(0x5eed);
    let mut understood = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=draws.below(3) {
            let at = draws.below(bytes.len());
            match draws.below(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, draws.next() as u8),
                _ => bytes[at] = draws.next() as u8,
            }
        }
        understood += serve(&bytes).await;
    }
    // Most alterations are of keys, values and padding, or are caught; neither may be all.
    assert!((100..19_000).contains(&understood), "{understood} of 20000 were understood");
}

#[test]
fn altered_messages_are_refused_or_read_and_never_panic() {
    let good = txn().encode_to_vec();
    let mut draws = Draws(0xfeed);
    for _ in 0..100_000 {
        let mut bytes = good.clone();
        for _ in 0..=draws.below(4) {
            let at = draws.below(bytes.len());
            bytes[at] = draws.next() as u8;
        }
        if let Ok(message) = pb::TxnRequest::decode(&bytes[..]) {
            let _either = convert::whole_txn(message);
        }
        let _either = pb::WatchRequest::decode(&bytes[..]);
    }
}

/// `message` inside so many transactions, written from the inside out.
fn nested(message: &pb::TxnRequest, depth: usize) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    // `TxnRequest.success` is field 2, `RequestOp.request_txn` field 4.
    for tag in [0x22, 0x12].repeat(depth) {
        let mut outer = vec![tag];
        prost::encode_length_delimiter(bytes.len(), &mut outer).expect("a vector grows");
        outer.append(&mut bytes);
        bytes = outer;
    }
    bytes
}

#[test]
fn nesting_without_end_is_refused() {
    let read = |depth| pb::TxnRequest::decode(&nested(&txn(), depth)[..]);
    assert!(read(20_000).is_err(), "deeper than the decoder follows");
    assert!(convert::whole_txn(read(40).expect("within what it follows")).is_ok());
    let wide = pb::TxnRequest { compare: vec![pb::Compare::default(); 129], ..Default::default() };
    assert_eq!(convert::whole_txn(wide), Err(status::TOO_MANY_OPS));
}
