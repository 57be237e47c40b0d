//! Everything that is measured, in the order in which it is.

mod kit;
mod shop;

pub(crate) use kit::placed;

use async_trait::async_trait;

use crate::figure::{Figure, Run};
use crate::stage::Stage;

/// What one round of a subject came to: a run of each of its figures, in their order, and what is worth
/// a note.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) runs: Vec<Run>,
    /// By the figure's id.
    pub(crate) notes: Vec<(&'static str, String)>,
    /// By the figure's id and what they are of: every single time, in milliseconds.
    pub(crate) times: Vec<(&'static str, &'static str, Vec<f64>)>,
}

impl Round {
    pub(crate) fn note(&mut self, id: &'static str, text: String) {
        self.notes.push((id, text));
    }
}

/// Whether it is the raw limit's turn, first and second: in every second round it comes after what it
/// limits.
pub(crate) fn raw_turns(number: usize) -> [bool; 2] {
    let raw_first = number.is_multiple_of(2);
    [raw_first, !raw_first]
}

/// Figures that are measured together, with their raw limit, over and over. All of them in one task: no
/// subject has to be fit for another thread.
#[async_trait(?Send)]
pub(crate) trait Subject {
    /// What it measures.
    fn figures(&self) -> &'static [Figure];

    /// Measures everything once. In every second round the raw limit comes after what it limits, so
    /// that neither always finds the machine warmer.
    async fn round(&mut self, stage: &Stage, number: usize) -> anyhow::Result<Round>;
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Subject>> {
    let mut all = kit::subjects();
    all.extend(shop::all());
    all
}
