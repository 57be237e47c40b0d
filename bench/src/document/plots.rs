//! The plots of the document, as SVG.

use anyhow::Context as _;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figure::Measured;

const WIDTH: u32 = 900;
const ROW: u32 = 34;
const MET: RGBColor = RGBColor(0x2b, 0x7a, 0x78);
const MISSED: RGBColor = RGBColor(0xc7, 0x51, 0x2d);
const QUIET: RGBColor = RGBColor(0x99, 0x99, 0x99);
const FONT: &str = "sans-serif";
/// Where bars begin and where the longest ends.
const BARS: (i32, i32) = (260, 640);
/// Longer bars are cut off here; their number says how long they are.
const LONGEST: f64 = 3.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Every figure that has something beside it, as a share of that: value against raw.
///
/// # Errors
/// Never, but drawing does not know that.
pub(super) fn of_raw(figures: &[Measured]) -> anyhow::Result<String> {
    let with_ratio: Vec<(&Measured, f64)> =
        figures.iter().filter_map(|figure| Some((figure, figure.ratio?))).collect();
    let height = ROW * (u32::try_from(with_ratio.len())? + 2);
    let longest = with_ratio.iter().map(|(_, ratio)| *ratio).fold(1.2, f64::max).min(LONGEST);
    #[expect(clippy::cast_possible_truncation, reason = "a place on the plot")]
    let place = |ratio: f64| {
        BARS.0 + (ratio.min(longest) / longest * f64::from(BARS.1 - BARS.0)).round() as i32
    };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        label(&root, "raw", (place(1.0), 12), HPos::Center)?;
        for (n, (figure, ratio)) in with_ratio.iter().enumerate() {
            let middle = i32::try_from(ROW * (u32::try_from(n)? + 1) + ROW / 2)?;
            let colour = if figure.met { MET } else { MISSED };
            let bar = [(BARS.0, middle - 9), (place(*ratio), middle + 9)];
            root.draw(&Rectangle::new(bar, colour.filled()))?;
            label(&root, &figure.id, (BARS.0 - 10, middle), HPos::Right)?;
            let verdict = if figure.met { "met" } else { "missed" };
            let told = format!("{ratio:.2}, {verdict}: {}", figure.goal);
            label(&root, &told, (BARS.1 + 10, middle), HPos::Left)?;
        }
        let line = [(place(1.0), 24), (place(1.0), i32::try_from(height - ROW / 2)?)];
        root.draw(&PathElement::new(line, QUIET.stroke_width(2)))?;
        root.present()?;
    }
    Ok(svg)
}

fn label(root: &Area<'_>, text: &str, at: (i32, i32), side: HPos) -> anyhow::Result<()> {
    let style = (FONT, 14).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center));
    Ok(root.draw(&Text::new(text.to_owned(), at, style))?)
}

/// How the times of a figure are spread.
///
/// # Errors
/// Never, but drawing does not know that.
pub(super) fn curves(figure: &Measured) -> anyhow::Result<String> {
    let points = || figure.curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|(_, at_most)| *at_most).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, 320)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .caption(&figure.what, (FONT, 16))
            .build_cartesian_2d(0.0..most * 1.02, 0.0..100.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("milliseconds").y_desc("% of all").light_line_style(WHITE).draw()?;
        for (curve, colour) in figure.curves.iter().zip([MET, MISSED, QUIET].iter().cycle()) {
            let line = curve.points.iter().map(|(share, at_most)| (*at_most, share * 100.0));
            let colour = *colour;
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
                .label(&curve.of)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        let mut legend = chart.configure_series_labels();
        legend
            .position(SeriesLabelPosition::LowerRight)
            .border_style(QUIET)
            .draw()
            .context("legend")?;
        root.present()?;
    }
    Ok(svg)
}
