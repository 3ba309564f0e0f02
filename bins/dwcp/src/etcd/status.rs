//! gRPC statuses, and every one that etcd's clients know by heart.
//!
//! Clients of etcd compare the *text* (`rpctypes.Error` maps it back to an error value), so the
//! texts below are etcd 3.4's to the letter, beside the codes etcd sends them with. Those that the
//! store itself gives are with the store ([`dwcp_store::api::OpError`]).

use std::borrow::Cow;

/// The canonical codes of gRPC that this door sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: Cow<'static, str>,
}

impl Status {
    /// A status with a fixed text.
    pub(crate) const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }
    /// A status with a text made up now.
    pub(crate) fn told(code: Code, message: String) -> Self {
        Self { code, message: Cow::Owned(message) }
    }
}

macro_rules! statuses {
    ($($name:ident $code:ident $text:literal;)*) => {$(
        pub(crate) const $name: Status = Status::new(Code::$code, $text);
    )*};
}

statuses! {
    OK Ok "";

    EMPTY_KEY InvalidArgument "etcdserver: key is not provided";
    KEY_NOT_FOUND InvalidArgument "etcdserver: key not found";
    VALUE_PROVIDED InvalidArgument "etcdserver: value is provided";
    LEASE_PROVIDED InvalidArgument "etcdserver: lease is provided";
    TOO_MANY_OPS InvalidArgument "etcdserver: too many operations in txn request";

    MEMBER_BAD_URLS InvalidArgument "etcdserver: given member URLs are invalid";
    MEMBER_NOT_FOUND NotFound "etcdserver: member not found";
    MEMBER_NOT_LEARNER FailedPrecondition "etcdserver: can only promote a learner member";
    MEMBER_EXISTS FailedPrecondition "etcdserver: member ID already exist";
    PEER_URL_EXISTS FailedPrecondition "etcdserver: Peer URLs already exists";
    BAD_LEADER_TRANSFEREE FailedPrecondition "etcdserver: bad leader transferee";

    REQUEST_TOO_LARGE InvalidArgument "etcdserver: request is too large";
    TOO_MANY_REQUESTS ResourceExhausted "etcdserver: too many requests";

    ROOT_USER_NOT_EXIST FailedPrecondition "etcdserver: root user does not exist";
    USER_NOT_FOUND FailedPrecondition "etcdserver: user name not found";
    ROLE_NOT_FOUND FailedPrecondition "etcdserver: role name not found";
    AUTH_NOT_ENABLED FailedPrecondition "etcdserver: authentication is not enabled";

    NO_LEADER Unavailable "etcdserver: no leader";
    NOT_LEADER FailedPrecondition "etcdserver: not leader";
    LEADER_CHANGED Unavailable "etcdserver: leader changed";
    STOPPED Unavailable "etcdserver: server stopped";
    TIMED_OUT Unavailable "etcdserver: request timed out";

    // etcd answers these from its embedded client, with the code Unknown.
    ELECTION_NOT_LEADER Unknown "election: not leader";
    ELECTION_NO_LEADER Unknown "election: no leader";
    // As etcd 3.5; 3.4 gives a lock to a contender whose key is gone.
    SESSION_EXPIRED Unknown "mutex: session is expired";
    MISSING_LEADER_KEY InvalidArgument "\"leader\" field must be provided";

    DEADLINE_EXCEEDED DeadlineExceeded "context deadline exceeded";
    CANCELED Canceled "context canceled";
    NOT_A_MESSAGE Internal "grpc: the request is not the protocol buffer message this method takes";
    CUT_SHORT Internal "grpc: the request ended inside a message";
    NO_MESSAGE Internal "grpc: the request carries no message";
    COMPRESSED Unimplemented "grpc: compressed requests are not taken; send them with grpc-encoding identity";
}
