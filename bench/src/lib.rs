//! Every figure that is promised, beside the raw limit of the same run: `make bench`.
//!
//! A subject measures its figures and their raw limits in rounds, and the rounds of all subjects are
//! interleaved, so that what else the machine does falls on all of them. Of every figure the median
//! counts, of every ratio the median of each round's own.

pub mod cli;
mod cpu;
mod document;
mod figure;
mod figures;
mod machine;
pub mod micro;
mod raw;
mod report;
mod run;
mod stage;
mod world;

pub use run::run;
