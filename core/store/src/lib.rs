//! etcd's MVCC semantics on redb
//!
//! The surface (being built; the node and the doors are written against it):
//!
//! ```text
//! Store::open(StoreOptions { cluster, group, cache, .. }, Arc<dyn Storage>, Probe) -> Result<Store, StoreError>
//! Store::reset(..same..)   // a new empty file beside the corrupt one; then install a peer's checkpoint
//! impl dwcp_consensus::StateMachine for Store { type Response = api::Applied; .. }
//! store.range(&RangeRequest) -> Result<(Header, RangeResponse), OpError>
//! store.revision() / compact_revision() / log_time() / hash_kv(revision) -> Result<HashKv, OpError>
//! store.failure() -> Option<&StoreError>     // asked after apply: the replica must stop
//! store.leases() -> iterator of LeaseView { id, ttl_s, keys } / store.lease(id) -> Option<LeaseView>
//!
//! LeaseClock: lead(now, &store) / follow() / observe(now, &store) / renew(now, id) -> Option<ttl_s>
//!             remaining(now, id) -> Option<Duration> / due(now, max) -> Vec<LeaseId> / next() -> Option<Instant>
//!
//! Watchers: add(WatchId, WatchRequest { key, range_end, start_revision, prev_kv, no_put, no_delete }, &store)
//!           remove(id) / pause(id) / resume(id) / progress(id) -> Option<Revision>
//!           drain(&store, budget_events, &mut |WatchId, WatchUpdate|) -> bool   // true: more is waiting
//! WatchUpdate::{ Events { revision, events }, Compacted { compact_revision } }
//! ```

pub mod api;
