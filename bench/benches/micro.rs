//! The small operations by the clock: `cargo bench -p bench`.

use bench::micro::{Fixture, OPERATIONS};
use criterion::{Criterion, criterion_group, criterion_main};

fn operations(criterion: &mut Criterion) {
    match Fixture::new() {
        Ok(fixture) => {
            for (name, operation) in OPERATIONS {
                criterion.bench_function(name, |bencher| bencher.iter(|| operation(&fixture)));
            }
        }
        Err(error) => eprintln!("no fixture: {error:#}"),
    }
}

criterion_group!(micro, operations);
criterion_main!(micro);
