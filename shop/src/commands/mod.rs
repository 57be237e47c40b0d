//! What each verb does: `Args`, and `run`.

pub mod client;
pub mod completions;
pub mod dlq;
pub mod doctor;
pub mod documents;
pub mod gateway;
pub mod healthcheck;
pub mod keys;
pub mod load;
pub mod migrate;
pub mod place;
pub mod reset;
pub mod sink;
pub mod status;
pub mod trace;
pub mod verify;
