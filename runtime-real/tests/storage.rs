//! The directory: whose it is, what is refused, what a full disk does.

use crate::fixture::{CLUSTER, Site, file, until};
use bytes::Bytes;
use dwcp_env::disk::{read_all, replace};
use dwcp_env::{
    ClusterId, DiskError, DiskOp, DiskRequest, Duration, Input, NodeId, Outputs, Reply, Storage, Ticket,
};
use dwcp_runtime_real::RealStorage;
use dwcp_runtime_real::storage::OpenError;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

fn open(dir: &Path) -> Result<RealStorage, OpenError> {
    RealStorage::open(dir, CLUSTER, NodeId(1))
}

#[test]
fn files_are_what_they_were_made() {
    let dir = tempfile::tempdir().unwrap();
    let s = open(dir.path()).unwrap();
    assert_eq!(s.list().unwrap(), []);
    let f = s.create(&file("b")).unwrap();
    f.write_at(3, b"xyz").unwrap();
    f.sync().unwrap();
    s.sync_dir().unwrap();
    assert_eq!(f.len().unwrap(), 6);
    assert_eq!(read_all(&s, &file("b")).unwrap(), b"\0\0\0xyz");
    let short = f.read_at(4, &mut [0; 3]).unwrap_err();
    assert_eq!(short, DiskError::Short { file: "b".into(), len: 6, want: 7 });
    f.set_len(4).unwrap();
    assert_eq!(read_all(&s, &file("b")).unwrap(), b"\0\0\0x");
    replace(&s, &file("a"), b"one").unwrap();
    replace(&s, &file("a"), b"two").unwrap();
    assert_eq!(read_all(&s, &file("a")).unwrap(), b"two");
    assert_eq!(s.list().unwrap(), [file("a"), file("b")]);
    s.rename(&file("b"), &file("a")).unwrap();
    assert_eq!(s.list().unwrap(), [file("a")]);
    s.remove(&file("a")).unwrap();
    s.remove(&file("a")).unwrap();
    assert_eq!(s.open(&file("a")).unwrap_err(), DiskError::NotFound("a".into()));
    assert_eq!(s.rename(&file("a"), &file("b")).unwrap_err(), DiskError::NotFound("a".into()));
}

#[test]
fn the_meta_file_is_out_of_a_nodes_reach() {
    let dir = tempfile::tempdir().unwrap();
    let s = open(dir.path()).unwrap();
    let meta = file("dwcp.toml");
    assert!(s.open(&meta).is_err() && s.create(&meta).is_err() && s.remove(&meta).is_err());
    s.create(&file("a")).unwrap();
    assert!(s.rename(&file("a"), &meta).is_err());
    drop(s);
    open(dir.path()).unwrap();
}

/// All names and bytes of a directory.
fn picture(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    {
        let s = open(path).unwrap();
        replace(&s, &file("data"), b"precious").unwrap();
        let e = open(path).unwrap_err();
        assert!(matches!(e, OpenError::InUse { .. }), "{e}");
    }
    let before = picture(path);
    let meta = path.join("dwcp.toml");
    let good = std::fs::read_to_string(&meta).unwrap();
    let cluster = |n| RealStorage::open(path, ClusterId(n), NodeId(1));
    assert!(matches!(cluster(9), Err(OpenError::Cluster { theirs: CLUSTER, ours: ClusterId(9), .. })));
    let node = RealStorage::open(path, CLUSTER, NodeId(2));
    assert!(matches!(node, Err(OpenError::Node { theirs: NodeId(1), ours: NodeId(2), .. })));
    for (text, what) in [
        ("format = 2\nwhatever = [1]", "has format 2, and this build knows formats up to 1"),
        ("format = 1", "missing field `cluster`"),
        ("format = 1\ncluster = \"x\"\nnode = 1", "is not a hexadecimal number"),
        ("", "missing field `format`"),
        ("\u{0}\u{1}", "not readable as a node's meta file"),
        (&format!("{good}\nextra = 1"), "unknown field"),
    ] {
        std::fs::write(&meta, text).unwrap();
        let e = open(path).unwrap_err().to_string();
        assert!(e.contains(what), "{text:?}: {e}");
        assert_eq!(std::fs::read_to_string(&meta).unwrap(), text);
    }
    std::fs::write(&meta, good).unwrap();
    assert_eq!(picture(path), before);

    std::os::unix::fs::symlink("/etc/passwd", path.join("link")).unwrap();
    assert!(open(path).unwrap_err().to_string().contains("a symbolic link"));
    std::fs::remove_file(path.join("link")).unwrap();
    std::fs::create_dir(path.join("dir")).unwrap();
    assert!(open(path).unwrap_err().to_string().contains("not a plain file"));
    std::fs::remove_dir(path.join("dir")).unwrap();
    std::fs::write(path.join(".odd name"), "").unwrap();
    assert!(open(path).unwrap_err().to_string().contains("not a name that a node gives"));
    std::fs::remove_file(path.join(".odd name")).unwrap();
    open(path).unwrap();
}

#[test]
fn somebody_elses_directory_is_not_adopted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("photo.jpg"), "x").unwrap();
    let e = open(dir.path()).unwrap_err().to_string();
    assert!(e.contains("it is not a node's; use an empty one"), "{e}");
    assert!(!dir.path().join("dwcp.toml").exists());
    let e = open(Path::new("/proc/nowhere")).unwrap_err().to_string();
    assert!(e.contains("check that it exists"), "{e}");
}

#[test]
fn a_link_put_there_later_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let s = open(dir.path()).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("wal")).unwrap();
    assert!(matches!(s.open(&file("wal")), Err(DiskError::Io { doing: "open", .. })));
    assert!(matches!(s.create(&file("wal")), Err(DiskError::Io { doing: "open", .. })));
}

const FULL: &str = "DWCP_TEST_FULL_DIR";

/// Runs [`on_a_volume_of_one_mebibyte`] in a mount namespace of its own, on a tmpfs of that size.
#[test]
fn a_full_disk_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let own = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|s| s.success());
    if !own {
        eprintln!("skipped: this machine gives no mount namespace");
        return;
    }
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "storage::on_a_volume_of_one_mebibyte", "--ignored", "--nocapture"])
        .env(FULL, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Request 0 fills the disk in one step, 1 by growing a file, 2 writes to what there is, 3 frees.
fn ops(request: u64) -> Vec<DiskOp> {
    let create = |name, len| DiskOp::Create { file: file(name), len };
    let write = |name, offset| DiskOp::Write { file: file(name), offset, data: Bytes::from(vec![7; 65_536]) };
    match request {
        0 => vec![create("big", 8 << 20)],
        1 => std::iter::once(create("grown", 0)).chain((0..32).map(|n| write("grown", n << 16))).collect(),
        2 => vec![write("log", 0), DiskOp::Sync { file: file("log") }],
        3 => vec![DiskOp::Remove { file: file("grown") }, DiskOp::SyncDir],
        _ => vec![create("log", 256 << 10), DiskOp::SyncDir],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a small volume; a_full_disk_harms_nothing makes one"]
async fn on_a_volume_of_one_mebibyte() {
    let dir = PathBuf::from(std::env::var_os(FULL).unwrap());
    let site = Site::new();
    let results = Arc::new(Mutex::new(Vec::new()));
    let seen = results.clone();
    let mut tickets = 0;
    let step = move |_, input, out: &mut Outputs<u64>| match input {
        Input::Request { id, request, .. } => {
            tickets += 1;
            out.disk.push(DiskRequest { ticket: Ticket(tickets), ops: ops(request) });
            out.replies.push(Reply { id, response: request, end: true, after: None });
        }
        Input::Disk { result, .. } => seen.lock().unwrap().push(result),
        _ => {}
    };
    let boot = move |_| Ok(crate::fixture::Told(step));
    let node = crate::fixture::start(site.settings_in(&dir, 1), boot).await.unwrap();
    let no_space = || Err(DiskError::NoSpace);
    let story =
        [(4, Ok(())), (0, no_space()), (2, Ok(())), (1, no_space()), (2, Ok(())), (3, Ok(())), (2, Ok(()))];
    for (n, (request, want)) in story.into_iter().enumerate() {
        node.handle().request(request, Duration::secs(5)).await.unwrap();
        until("done", || results.lock().unwrap().len() == n + 1).await;
        assert_eq!(results.lock().unwrap()[n], want, "request {n}, {request}");
        assert!(!dir.join("big").exists());
        if n >= 2 {
            assert_eq!(std::fs::read(dir.join("log")).unwrap()[..65_536], [7; 65_536]);
        }
    }
}
