//! Output that nobody takes: the program ends without a word, and never as if all were well.

use std::process::{Command, Output, Stdio};

/// As a shell reports what SIGPIPE ended.
const READER_GONE: i32 = 141;
/// A history that is linearizable: read to its end, its status is 0.
const SOUND: &str =
    "{:process 0, :type :invoke, :f :write, :value 1}\n{:process 0, :type :ok, :f :write, :value 1}\n";

fn dwcp(words: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dwcp"));
    command.args(words).stdin(Stdio::null()).stdout(stdout).output().unwrap()
}

#[test]
fn whoever_stops_reading_ends_the_program_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("sound.edn");
    std::fs::write(&history, SOUND).unwrap();
    let history = history.to_str().unwrap();
    let sound = dwcp(&["check", history], Stdio::piped());
    assert_eq!(sound.status.code(), Some(0), "{}", String::from_utf8_lossy(&sound.stderr));
    for words in [
        &["sim", "list"][..],
        &["--output", "json", "sim", "list"],
        &["sim", "run", "failover/leader_crash"],
        &["sim", "trace", "failover/leader_crash"],
        &["sim", "sweep", "failover/leader_crash", "--seeds", "2"],
        &["jepsen", "list"],
        &["--output", "json", "jepsen", "list"],
        &["check", history],
        &["check", history, "--convert", "jsonl"],
        &["cluster-id"],
        &["completions", "zsh"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = dwcp(words, writer.into());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*said), (Some(READER_GONE), ""), "{words:?}");
    }
}

#[test]
fn output_that_can_not_be_written_is_told() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = dwcp(&["sim", "list"], full.into());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.starts_with("dwcp: can't write to standard output: No space left"), "{said}");
}
