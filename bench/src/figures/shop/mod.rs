//! What the whole shop does: its five services, their servers and the outside world.

mod chain;
mod growth;
mod idle;
mod intake;
mod latency;
mod limit;
mod pgbench;
mod replicas;
mod sustained;

use super::Subject;

/// All of them.
pub(super) fn all() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(idle::Idle),
        Box::new(latency::Latency),
        Box::new(sustained::Sustained),
        Box::new(intake::Intake),
        Box::new(replicas::Replicas),
        Box::<growth::Growth>::default(),
    ]
}

/// Whether the raw limit of this round comes before what it limits.
fn raw_first(round: usize) -> bool {
    !round.is_multiple_of(2)
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}
