//! Conversations: what a client sends, and what it is told, to the letter.

use super::connection::Patience;
use super::door::Door;
use super::memory::Memory;
use dwcp_eventual::Query;
use dwcp_eventual::api::Step;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

struct Talk {
    replica: Memory,
    io: DuplexStream,
    task: tokio::task::JoinHandle<super::connection::End>,
    close: watch::Sender<bool>,
}

impl Talk {
    fn begin(password: Option<&str>) -> Self {
        Self::begin_with(password, Patience::default())
    }
    fn begin_with(password: Option<&str>, patience: Patience) -> Self {
        let replica = Memory::new();
        let door =
            Door::with_patience(replica.clone(), password.map(str::to_owned), 6379, patience, Arc::default());
        let (io, theirs) = tokio::io::duplex(1 << 20);
        let (close, closing) = watch::channel(false);
        let task = tokio::spawn(async move {
            door.serve_on(tokio::io::split(theirs), "127.0.0.1:1".into(), closing).await
        });
        Self { replica, io, task, close }
    }
    async fn hears(&mut self, want: &str) {
        let mut got = vec![0; want.len()];
        let read = tokio::time::timeout(Duration::from_secs(5), self.io.read_exact(&mut got)).await;
        let said = String::from_utf8_lossy(&got).into_owned();
        assert!(read.is_ok_and(|r| r.is_ok()), "wanted {want:?}, heard {said:?}");
        assert_eq!(said, want);
    }
    /// Sends lines (inline commands) in one go and hears this.
    async fn asks(&mut self, lines: &str, want: &str) {
        self.io.write_all(format!("{lines}\n").as_bytes()).await.unwrap();
        self.hears(want).await;
    }
}

#[tokio::test]
async fn a_pipeline_is_one_question_and_its_replies_come_in_order() {
    let mut talk = Talk::begin(None);
    talk.asks(
        "SET a 1\nPING\nINCR a\nGET a\nMULTI\nINCR a\nPING\nSADD a x\nEXEC\nGET nothing\nTTL a\nTYPE a\nSETNX a 2",
        "+OK\r\n+PONG\r\n:2\r\n$1\r\n2\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:3\r\n+PONG\r\n\
         -WRONGTYPE Operation against a key holding the wrong kind of value\r\n$-1\r\n:2\r\n+string\r\n-NOTKEPT SETNX can't be kept",
    )
    .await;
    let questions = talk.replica.questions();
    let [Query::Pipeline(steps)] = &questions[..] else { panic!("{questions:?}") };
    assert_eq!(steps.len(), 7);
    assert!(matches!(&steps[3], Step::Transaction(commands) if commands.len() == 2));
}

#[tokio::test]
async fn one_command_is_asked_as_it_is() {
    let mut talk = Talk::begin(None);
    talk.asks("GET a", "$-1\r\n").await;
    assert!(matches!(talk.replica.questions()[..], [Query::Command(_)]));
}

#[tokio::test]
async fn errors_have_redis_words() {
    let mut talk = Talk::begin(None);
    for (line, want) in [
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("get a b", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("INCRBY a x", "-ERR value is not an integer or out of range\r\n"),
        ("SET a b EX", "-ERR syntax error\r\n"),
        ("CLIENT nope", "-ERR unknown subcommand 'nope'. Try CLIENT HELP.\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("AUTH x", "-ERR AUTH <password> called without any password configured for the default user."),
    ] {
        talk.asks(line, want).await;
        if !want.ends_with('\n') {
            talk.hears(" Are you sure your configuration is correct?\r\n").await;
        }
    }
}

#[tokio::test]
async fn a_transaction_is_done_whole_or_not_at_all() {
    let mut talk = Talk::begin(None);
    talk.asks(
        "MULTI\nSET a 1\nNOPE\nEXEC",
        "+OK\r\n+QUEUED\r\n-ERR unknown command 'NOPE', with args beginning with: \r\n\
        -EXECABORT Transaction discarded because of previous errors.\r\n",
    )
    .await;
    talk.asks("MULTI\nSET a 1\nDISCARD\nGET a", "+OK\r\n+QUEUED\r\n+OK\r\n$-1\r\n").await;
    talk.asks("MULTI\nWATCH a\nMULTI\nSUBSCRIBE c\nEXEC",
        "+OK\r\n-ERR WATCH inside MULTI is not allowed\r\n-ERR MULTI calls can not be nested\r\n\
         -ERR Command not allowed inside a transaction\r\n-EXECABORT Transaction discarded because of previous errors.\r\n")
        .await;
    talk.asks("MULTI\nEXEC\nMULTI\nPING\nEXEC", "+OK\r\n*0\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n").await;
    talk.asks("WATCH a", "-NOTKEPT WATCH can't be kept in an eventual keyspace").await;
}

#[tokio::test]
async fn a_stranger_gets_nothing_and_a_password_opens() {
    let mut talk = Talk::begin(Some("secret"));
    talk.asks("GET a", "-NOAUTH Authentication required.\r\n").await;
    talk.asks("PING", "-NOAUTH Authentication required.\r\n").await;
    talk.asks("FOO", "-NOAUTH Authentication required.\r\n").await;
    talk.asks("HELLO 3", "-NOAUTH HELLO must be called").await;
    let mut talk = Talk::begin(Some("secret"));
    talk.asks("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n").await;
    talk.asks("AUTH other secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n")
        .await;
    talk.asks("AUTH default secret\nGET a", "+OK\r\n$-1\r\n").await;
    assert_eq!(talk.replica.questions().len(), 1);
    let mut talk = Talk::begin(Some("secret"));
    talk.asks(
        "HELLO 3 AUTH default secret SETNAME me\nCLIENT GETNAME",
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n",
    )
    .await;
}

#[tokio::test]
async fn resp3_has_its_own_shapes() {
    let mut talk = Talk::begin(None);
    talk.asks("SADD s a\nHELLO 3", ":1\r\n%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n\
        $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n").await;
    talk.asks(
        "GET none\nSMEMBERS s\nHGETALL h\nSMISMEMBER s a b",
        "_\r\n~1\r\n$1\r\na\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n*2\r\n:1\r\n:0\r\n",
    )
    .await;
    talk.asks("HELLO 4", "-NOPROTO unsupported protocol version\r\n").await;
    talk.asks("RESET\nGET none", "+RESET\r\n$-1\r\n").await;
}

#[tokio::test]
async fn changes_are_told_once_to_who_listens() {
    let mut talk = Talk::begin(None);
    talk.asks(
        "SUBSCRIBE __keyspace@0__:a __keyevent@0__:set",
        "*3\r\n$9\r\nsubscribe\r\n$16\r\n__keyspace@0__:a\r\n:1\r\n\
        *3\r\n$9\r\nsubscribe\r\n$18\r\n__keyevent@0__:set\r\n:2\r\n",
    )
    .await;
    talk.asks("GET a", "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n").await;
    talk.asks("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n").await;
    // The same channel again opens no second stream.
    talk.asks("SUBSCRIBE __keyspace@0__:a", "*3\r\n$9\r\nsubscribe\r\n$16\r\n__keyspace@0__:a\r\n:2\r\n")
        .await;
    let set = |key: &'static str| dwcp_eventual::Command::Set {
        key: key.into(),
        value: "v".into(),
        expiry: dwcp_eventual::Expiry::Never,
    };
    let write = async |talk: &Talk, key| {
        use super::backend::Backend;
        let done =
            talk.replica.ask(dwcp_env::GroupId(7), Query::Command(set(key)), std::time::Instant::now()).await;
        done.unwrap();
    };
    write(&talk, "a").await;
    talk.hears("*3\r\n$7\r\nmessage\r\n$16\r\n__keyspace@0__:a\r\n$3\r\nset\r\n").await;
    talk.hears("*3\r\n$7\r\nmessage\r\n$18\r\n__keyevent@0__:set\r\n$1\r\na\r\n").await;
    talk.asks(
        "UNSUBSCRIBE __keyevent@0__:set",
        "*3\r\n$11\r\nunsubscribe\r\n$18\r\n__keyevent@0__:set\r\n:1\r\n",
    )
    .await;
    write(&talk, "b").await;
    talk.asks("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$16\r\n__keyspace@0__:a\r\n:0\r\n").await;
    talk.asks("GET b", "$1\r\nv\r\n").await;
    // In RESP3 anything may be asked meanwhile.
    talk.io.write_all(b"HELLO 3\r\n").await.unwrap();
    let mut hello = [0; 16];
    talk.io.read_exact(&mut hello).await.unwrap();
    while !hello.ends_with(b"*0\r\n") {
        hello.copy_within(1.., 0);
        talk.io.read_exact(&mut hello[15..]).await.unwrap();
    }
    talk.asks(
        "PSUBSCRIBE __keyspace*\nSET c 1",
        ">3\r\n$10\r\npsubscribe\r\n$11\r\n__keyspace*\r\n:1\r\n+OK\r\n",
    )
    .await;
    talk.hears(">4\r\n$8\r\npmessage\r\n$11\r\n__keyspace*\r\n$16\r\n__keyspace@0__:c\r\n$3\r\nset\r\n")
        .await;
    // Who has missed something learns it by the end of the connection.
    talk.replica.lag();
    assert_eq!(talk.task.await.unwrap(), super::connection::End::Slow);
}

#[tokio::test]
async fn a_scan_goes_on_from_its_number() {
    let mut talk = Talk::begin(None);
    talk.asks("SET a 1\nSET b 1\nSET c 1", "+OK\r\n+OK\r\n+OK\r\n").await;
    talk.io.write_all(b"SCAN 0 COUNT 2\n").await.unwrap();
    talk.hears("*2\r\n$").await;
    let mut head = [0; 40];
    let n = talk.io.read(&mut head).await.unwrap();
    let text = String::from_utf8_lossy(&head[..n]).into_owned();
    let cursor: u64 = text.split("\r\n").nth(1).unwrap().parse().unwrap();
    assert!(cursor > 0);
    talk.asks(&format!("SCAN {cursor} COUNT 2"), "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n").await;
    talk.asks("SCAN 12345", "-ERR invalid cursor: this node does not know it").await;
}

#[tokio::test]
async fn the_door_closes_behind_the_last_reply() {
    let mut talk = Talk::begin(None);
    talk.asks("PING\nQUIT\nPING", "+PONG\r\n+OK\r\n").await;
    assert_eq!(talk.task.await.unwrap(), super::connection::End::Said);
    let mut talk = Talk::begin(None);
    talk.asks("PING", "+PONG\r\n").await;
    talk.close.send_replace(true);
    assert_eq!(talk.task.await.unwrap(), super::connection::End::Closing);
}

#[tokio::test]
async fn the_slow_and_the_silent_are_cut() {
    let soon = Duration::from_millis(50);
    let patience = Patience { write: soon, request: soon, login: soon };
    // Says nothing of who it is.
    let talk = Talk::begin_with(Some("secret"), patience);
    assert_eq!(talk.task.await.unwrap(), super::connection::End::Silent);
    // Begins and does not go on.
    let mut talk = Talk::begin_with(None, patience);
    talk.io.write_all(b"*2\r\n$3\r\nGET").await.unwrap();
    assert_eq!(talk.task.await.unwrap(), super::connection::End::Silent);
    // Asks and takes nothing.
    let mut talk = Talk::begin_with(None, patience);
    let big = "x".repeat(40_000);
    talk.asks(&format!("SET a {big}"), "+OK\r\n").await;
    talk.io.write_all("GET a\n".repeat(100).as_bytes()).await.unwrap();
    assert_eq!(talk.task.await.unwrap(), super::connection::End::Slow);
}
