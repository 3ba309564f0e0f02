//! What an engine of agreement owes the node
