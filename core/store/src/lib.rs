//! etcd's MVCC semantics on redb
