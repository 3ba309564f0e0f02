//! The disk as a process meets it: through the kernel, with files, folders, locks and syncs.

use dwcp_env::Seed;
use dwcp_nemesis::Need;
use dwcp_nemesis::fuse::Mount;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

#[test]
fn files_are_written_synced_renamed_and_forgotten_through_the_kernel() {
    if let Err(why) = Need::Fuse.check() {
        eprintln!("not tried here: {why}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("data");
    let disk = Mount::new(&at).unwrap();
    let folder = File::open(&at).unwrap();

    let mut temp = File::create(at.join("temp")).unwrap();
    temp.write_all(&[7; 10_000]).unwrap();
    temp.sync_data().unwrap();
    std::fs::rename(at.join("temp"), at.join("state")).unwrap();
    folder.sync_all().unwrap();
    temp.write_all_at(b"unsynced", 9_000).unwrap();
    File::create(at.join("nameless")).unwrap().write_all(b"x").unwrap();
    let names = || {
        let mut names: Vec<String> =
            std::fs::read_dir(&at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["nameless", "state"]);
    drop(temp);

    disk.lose_power(Seed(1));
    assert_eq!(names(), ["state"]);
    let mut held = Vec::new();
    File::open(at.join("state")).unwrap().read_to_end(&mut held).unwrap();
    assert_eq!(held, vec![7; 10_000]);

    let state = File::options().write(true).open(at.join("state")).unwrap();
    disk.set_full(true);
    let full = state.write_all_at(b"more", 0).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    disk.set_full(false);
    disk.set_sync_fails(true);
    state.write_all_at(b"more", 0).unwrap();
    assert!(state.sync_data().is_err(), "the sync fails");
    disk.set_sync_fails(false);
    state.sync_data().unwrap();
    let mut four = [0; 4];
    File::open(at.join("state")).unwrap().read_exact(&mut four).unwrap();
    assert_eq!(four, [7; 4], "a second sync does not bring back what the first lost");
    let counts = disk.counts();
    assert_eq!((counts.no_space, counts.failed_syncs), (1, 1));
    assert!(counts.lost_pages > 0 && counts.lost_names > 0);

    drop((state, folder, disk));
    assert!(
        std::fs::read_dir(&at).unwrap().next().is_none(),
        "the mount is gone, the folder beneath is empty"
    );
}
