//! All rounds of all subjects.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;

use crate::cli::Args;
use crate::document;
use crate::figure::{Curve, Figure, Measured, Run};
use crate::figures::{self, Round, Subject};
use crate::machine;
use crate::report::Report;
use crate::stage::Stage;

/// What the rounds so far came to, by the figure's id.
#[derive(Default)]
struct Results {
    runs: BTreeMap<&'static str, Vec<Run>>,
    notes: BTreeMap<&'static str, Vec<String>>,
    times: BTreeMap<(&'static str, &'static str), Vec<f64>>,
}

impl Results {
    fn take(&mut self, figures: &[Figure], round: Round) {
        for (figure, run) in figures.iter().zip(round.runs) {
            self.runs.entry(figure.id).or_default().push(run);
        }
        for (id, note) in round.notes {
            self.notes.entry(id).or_default().push(note);
        }
        for (id, what, times) in round.times {
            self.times.entry((id, what)).or_default().extend(times);
        }
    }

    fn of(&mut self, figure: &Figure) -> Option<Measured> {
        let notes = self.notes.remove(figure.id).unwrap_or_default();
        let mut measured = Measured::of(figure, self.runs.remove(figure.id)?, notes)?;
        let times = self.times.iter().filter(|((id, _), _)| *id == figure.id);
        measured.curves = times.map(|((_, what), all)| Curve::of(what, all.clone())).collect();
        Some(measured)
    }
}

/// Measures what the arguments ask for, or only writes the document.
///
/// # Errors
/// When a server or a service does not start, or something cannot be measured or written.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.document {
        return document::write();
    }
    if args.publish {
        let all = figures::all();
        let ids: Vec<_> = all.iter().flat_map(|one| one.figures()).map(|one| one.id).collect();
        return document::publish(&args.report, &ids);
    }
    let begun = Instant::now();
    let mut subjects: Vec<_> = figures::all()
        .into_iter()
        .filter(|subject| subject.figures().iter().any(|figure| args.wants(figure.id)))
        .collect();
    let stage = Stage::start(&args).await?;
    let results = measure(&mut subjects, &stage, args.rounds()).await?;
    let machine = machine::look(&stage).await?;
    let report = Report::new(machine, results, args.quick, begun.elapsed());
    println!("{report}");
    report.write(&args.report)
}

async fn measure(
    subjects: &mut [Box<dyn Subject>],
    stage: &Stage,
    rounds: usize,
) -> anyhow::Result<Vec<Measured>> {
    let mut results = Results::default();
    for number in 0..rounds {
        for subject in subjects.iter_mut() {
            let figures = subject.figures();
            let ids: Vec<_> = figures.iter().map(|figure| figure.id).collect();
            let ids = ids.join(", ");
            let begun = Instant::now();
            let round = subject.round(stage, number).await.with_context(|| ids.clone())?;
            eprintln!("round {}: {ids}: {:.1} s", number + 1, begun.elapsed().as_secs_f64());
            results.take(figures, round);
        }
    }
    let figures = subjects.iter().flat_map(|subject| subject.figures());
    Ok(figures.filter_map(|figure| results.of(figure)).collect())
}
