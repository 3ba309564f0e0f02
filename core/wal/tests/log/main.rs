//! The log on a disk that crashes and rots.

mod crashes;
mod disk;
mod ended;
mod golden;
mod model;
mod planted;
mod rot;
