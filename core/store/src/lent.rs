//! Commands read from the log with what a put writes left where it lies.
//!
//! Nearly all commands are puts, and all that is kept of one is its key and its value. Copying them costs each replica two
//! allocations and, when they are shared, two more; a slice of the log's bytes costs a count. The price: whoever keeps a
//! key for long (the index, the leases) makes a copy of its own, or it would keep the value, too.

use crate::api::{
    COMMAND_VERSION, Command, DeleteRangeRequest, LeaseId, Op, PutRequest, Revision, SessionId, Stamp,
    TxnRequest,
};
use bytes::Bytes;
use dwcp_env::wire::{self, WireError};
use dwcp_env::{Duration, WallTime};
use serde::Deserialize;

/// [`Command`], byte for byte.
#[derive(Deserialize)]
struct Lent<'a> {
    session: Option<Stamp>,
    time: WallTime,
    #[serde(borrow)]
    op: LentOp<'a>,
}

/// [`Op`], byte for byte: the same variants in the same order.
#[derive(Deserialize)]
enum LentOp<'a> {
    #[serde(borrow)]
    Put(LentPut<'a>),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact {
        revision: Revision,
    },
    LeaseGrant {
        id: LeaseId,
        ttl_s: i64,
    },
    LeaseRevoke {
        id: LeaseId,
        expired: bool,
    },
    OpenSession {
        ttl: Duration,
    },
    CloseSession {
        session: SessionId,
    },
    Noop,
}

/// [`PutRequest`], byte for byte.
#[derive(Deserialize)]
struct LentPut<'a> {
    key: &'a [u8],
    value: &'a [u8],
    lease: LeaseId,
    prev_kv: bool,
    ignore_value: bool,
    ignore_lease: bool,
}

impl Command {
    /// From the log's bytes, which it goes on to share. Ask before proposing what came from outside.
    ///
    /// # Errors
    /// `Version` if it was written by a newer build; `Body` if it is no command at all.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let body = match bytes.split_first() {
            Some((&COMMAND_VERSION, body)) => body,
            Some((version, _)) if *version > COMMAND_VERSION => return Err(WireError::Version(*version)),
            _ => return Err(WireError::Body("a command without a version")),
        };
        let Lent { session, time, op } = wire::decode_lent(body)?;
        let op = match op {
            LentOp::Put(put) => Op::Put(PutRequest {
                key: bytes.slice_ref(put.key),
                value: bytes.slice_ref(put.value),
                lease: put.lease,
                prev_kv: put.prev_kv,
                ignore_value: put.ignore_value,
                ignore_lease: put.ignore_lease,
            }),
            LentOp::DeleteRange(delete) => Op::DeleteRange(delete),
            LentOp::Txn(txn) => Op::Txn(txn),
            LentOp::Compact { revision } => Op::Compact { revision },
            LentOp::LeaseGrant { id, ttl_s } => Op::LeaseGrant { id, ttl_s },
            LentOp::LeaseRevoke { id, expired } => Op::LeaseRevoke { id, expired },
            LentOp::OpenSession { ttl } => Op::OpenSession { ttl },
            LentOp::CloseSession { session } => Op::CloseSession { session },
            LentOp::Noop => Op::Noop,
        };
        Ok(Self { session, time, op })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TxnOp;

    /// Both spellings of a command are one format.
    #[test]
    fn every_operation_comes_back() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let put = PutRequest {
            key: bytes("a key"),
            value: bytes("a value"),
            lease: 7,
            prev_kv: true,
            ignore_value: false,
            ignore_lease: true,
        };
        let delete = DeleteRangeRequest { key: bytes("a"), range_end: bytes("b"), prev_kv: true };
        let inner = vec![TxnOp::Put(put.clone()), TxnOp::DeleteRange(delete.clone())];
        let txn = TxnRequest { compare: Vec::new(), success: inner, failure: Vec::new() };
        let ops = [
            Op::Put(put),
            Op::Put(PutRequest { key: bytes("k"), ..PutRequest::default() }),
            Op::DeleteRange(delete),
            Op::Txn(txn),
            Op::Compact { revision: 300 },
            Op::LeaseGrant { id: -1, ttl_s: 60 },
            Op::LeaseRevoke { id: 9, expired: true },
            Op::OpenSession { ttl: Duration::secs(3) },
            Op::CloseSession { session: SessionId(77) },
            Op::Noop,
        ];
        let stamp = Stamp { session: SessionId(5), seq: 1_000, ack_below: 4 };
        for op in ops {
            for session in [None, Some(stamp)] {
                let command = Command { session, time: WallTime::from_nanos(123_456_789), op: op.clone() };
                let encoded = command.encode();
                assert_eq!(Command::decode(&encoded), Ok(command));
                for cut in 0..encoded.len() {
                    assert!(Command::decode(&encoded.slice(..cut)).is_err(), "{op:?} cut at {cut}");
                }
            }
        }
    }

    /// Three bytes a level: a short message could end any stack.
    #[test]
    fn transactions_nested_too_deep_are_refused_before_the_stack_ends() {
        let deep = |levels: usize| {
            let mut bytes = vec![COMMAND_VERSION, 0, 0, 2];
            bytes.extend([0, 1, 3].repeat(levels));
            bytes.extend([0, 0, 0]);
            bytes.extend([0].repeat(levels));
            Bytes::from(bytes)
        };
        let decoded = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            let levels = [0, 1, 128, 129, 20_000, 200_000];
            // Each is read as if none had been before it.
            levels.map(|n| (n, Command::decode(&deep(n)).map(drop)))
        });
        for (levels, decoded) in decoded.unwrap().join().unwrap() {
            assert_eq!(decoded.is_ok(), levels <= 128, "{levels}: {decoded:?}");
        }
    }

    #[test]
    fn a_put_shares_the_logs_bytes() {
        let put = PutRequest {
            key: Bytes::from_static(b"key"),
            value: Bytes::from_static(b"value"),
            ..PutRequest::default()
        };
        let encoded = Command { session: None, time: WallTime::from_nanos(1), op: Op::Put(put) }.encode();
        let Ok(Command { op: Op::Put(put), .. }) = Command::decode(&encoded) else { panic!("a put") };
        let within = encoded.as_ptr_range();
        assert!(within.contains(&put.key.as_ptr()) && within.contains(&put.value.as_ptr()));
    }
}
