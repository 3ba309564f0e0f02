//! A law of the disk, against a plain pair of byte strings: what a process sees is what it wrote, and after the
//! power went it sees what it had synced.

use dwcp_env::Seed;
use dwcp_nemesis::disk::Disk;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, length: usize, byte: u8 },
    Cut(usize),
    Sync,
    FailSync,
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..20_000_usize, 1..9_000_usize, 1..=255_u8)
            .prop_map(|(at, length, byte)| Step::Write { at, length, byte }),
        2 => (0..25_000_usize).prop_map(Step::Cut),
        2 => Just(Step::Sync),
        1 => Just(Step::FailSync),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    #[test]
    fn what_is_seen_is_what_was_written_and_what_was_synced_survives(steps in prop::collection::vec(step(), 1..60)) {
        let mut disk = Disk::default();
        let file = disk.create("f").unwrap();
        disk.sync(file).unwrap();
        disk.sync_names().unwrap();
        let (mut live, mut durable) = (Vec::new(), Vec::new());
        let mut losses = 0;
        for step in steps {
            match step {
                Step::Write { at, length, byte } => {
                    disk.write(file, at as u64, &vec![byte; length]).unwrap();
                    if live.len() < at + length {
                        live.resize(at + length, 0);
                    }
                    live[at..at + length].fill(byte);
                }
                Step::Cut(length) => {
                    disk.set_length(file, length as u64).unwrap();
                    live.resize(length, 0);
                }
                Step::Sync => {
                    disk.sync(file).unwrap();
                    durable = live.clone();
                }
                Step::FailSync => {
                    disk.set_sync_fails(true);
                    prop_assert!(disk.sync(file).is_err());
                    disk.set_sync_fails(false);
                    live = durable.clone();
                }
                Step::Lose => {
                    losses += 1;
                    // Every other loss keeps by chance: then only what was synced is certain.
                    if losses % 2 == 0 {
                        disk.sync(file).unwrap();
                        durable = live.clone();
                    }
                    disk.lose_power(Seed(losses));
                    live = durable.clone();
                }
            }
            prop_assert_eq!(disk.read(file, 0, 1 << 20).unwrap(), live.clone());
        }
    }
}
