//! Scenario files and what is done with them
