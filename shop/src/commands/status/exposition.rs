//! The Prometheus text format: the samples, without their types.

/// A line: a figure under a name and labels.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    labels: Vec<(&'a str, String)>,
    pub(super) value: f64,
}

impl Sample<'_> {
    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// The samples of an answer. Lines that cannot be read are left out: one strange figure must not hide
/// the others.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim_start();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    // A time may follow.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// The labels, and what stands behind their brace.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = quoted(value)?;
        labels.push((name.trim(), value));
        rest = after;
    }
}

/// The text up to its quotation mark, and what stands behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of that name, with labels by turns name and value.
    fn named<'a>(name: &'a str, labels: &[&'a str], value: f64) -> Option<Sample<'a>> {
        let labels = labels.chunks(2).map(|pair| (pair[0], pair[1].to_owned())).collect();
        Some(Sample { name, labels, value })
    }

    #[test]
    fn a_sample_has_a_name_perhaps_labels_and_a_value() {
        assert_eq!(sample("up 1"), named("up", &[], 1.0));
        assert_eq!(sample("up{} 1.5e3 1700000000000"), named("up", &[], 1_500.0));
        assert_eq!(sample("bound +Inf"), named("bound", &[], f64::INFINITY));
        let both = named("took_bucket", &["type", "order.placed.v1", "le", "+Inf"], 50.0);
        assert_eq!(sample(r#"took_bucket{type="order.placed.v1",le="+Inf"} 50"#), both);
        assert_eq!(sample(r#"took_bucket{ type="order.placed.v1", le="+Inf", } 50"#), both);
        assert_eq!(both.as_ref().and_then(|sample| sample.label("le")), Some("+Inf"));
    }

    #[test]
    fn a_label_may_hold_anything() {
        let line = r#"x{a="}, \"b\"=\\ \n é",c="2"} 3"#;
        assert_eq!(sample(line), named("x", &["a", "}, \"b\"=\\ \n é", "c", "2"], 3.0));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let text = "# HELP up It \"is\" {up}\n# TYPE up gauge\n\nup 1\nup\nup one\nx{a=\"1 2\n\
                    x{a} 2\n<html>\nlast 2\r\n";
        let names: Vec<_> = samples(text).map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(names, [("up", 1.0), ("last", 2.0)]);
    }
}
