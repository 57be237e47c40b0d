//! What broker and database can do at all: the same bytes and the same statements, with nothing between.

pub(crate) mod bad;
pub(crate) mod consume;
pub(crate) mod hop;
pub(crate) mod pgbench;
pub(crate) mod publish;
pub(crate) mod wire;

pub(crate) use wire::Wire;
