//! What was seen, as tables.

use std::process::ExitCode;
use std::time::Duration;

/// A figure and what it should be.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    at_most: f64,
}

/// What became of one check or fault.
struct Line {
    name: String,
    healed: Option<Duration>,
    orders: Option<u64>,
    error: Option<String>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    lines: Vec<Line>,
}

/// How a fault was survived.
pub(crate) struct Survived {
    /// From the fault's end until all was well again and a new order was confirmed.
    pub(crate) healed: Duration,
    /// Orders that were placed meanwhile; all of them ended.
    pub(crate) orders: u64,
}

impl Report {
    /// Notes a figure, and what it may be at most.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &'static str, at_most: f64) {
        eprintln!("  {name}: {value:.1} {unit}");
        self.figures.push(Figure { name: name.to_owned(), value, unit, at_most });
    }

    /// Notes what became of a check.
    pub(crate) fn check(&mut self, name: &str, outcome: anyhow::Result<()>) {
        let error = outcome.err().map(|error| format!("{error:#}"));
        self.add(name, None, None, error);
    }

    /// Notes how a fault was survived.
    pub(crate) fn fault(&mut self, name: &str, outcome: anyhow::Result<Survived>) {
        match outcome {
            Ok(Survived { healed, orders }) => self.add(name, Some(healed), Some(orders), None),
            Err(error) => self.add(name, None, None, Some(format!("{error:#}"))),
        }
    }

    fn add(
        &mut self,
        name: &str,
        healed: Option<Duration>,
        orders: Option<u64>,
        error: Option<String>,
    ) {
        let took =
            healed.map_or(String::new(), |time| format!(", after {:.1} s", time.as_secs_f64()));
        eprintln!("  {name}: {}{took}", error.as_deref().unwrap_or("as it should be"));
        self.lines.push(Line { name: name.to_owned(), healed, orders, error });
    }

    /// Whether everything is as it should be so far.
    pub(crate) fn is_good(&self) -> bool {
        self.lines.iter().all(|line| line.error.is_none())
            && self.figures.iter().all(|figure| figure.value <= figure.at_most)
    }

    /// Prints the tables.
    pub(crate) fn tell(&self) -> ExitCode {
        println!("\n{:<46} {:>9} {:>7}  result", "check or fault", "healed s", "orders");
        for Line { name, healed, orders, error } in &self.lines {
            let healed = healed.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
            let orders = orders.map_or("-".to_owned(), |orders| orders.to_string());
            let result = error.as_deref().unwrap_or("ok");
            println!("{name:<46} {healed:>9} {orders:>7}  {result}");
        }
        println!("\n{:<46} {:>9} {:>8}  result", "figure", "value", "at most");
        for Figure { name, value, unit, at_most } in &self.figures {
            let result = if value <= at_most { "ok" } else { "MISSED" };
            println!("{name:<46} {value:>9.1} {at_most:>8.1}  {unit}, {result}");
        }
        let failed = self.lines.iter().filter(|line| line.error.is_some()).count();
        let missed = self.figures.iter().filter(|figure| figure.value > figure.at_most).count();
        let (checks, figures) = (self.lines.len(), self.figures.len());
        println!("\ne2e: {checks} checks, {failed} failed; {figures} figures, {missed} missed");
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
