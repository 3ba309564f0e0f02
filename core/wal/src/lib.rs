//! The write-ahead log
