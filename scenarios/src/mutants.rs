//! Known bugs, put back in on purpose.
use dwcp_node::NodeConfig;
/// Plants.
pub fn plant(_bug: Option<&str>, _config: &mut NodeConfig) {}
