//! Tables of etcd's behaviour.
