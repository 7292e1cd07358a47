//! The curves of a run.

use hillshade::models::Loss;
use plotters::prelude::*;

use super::folder::Epoch;

const TRAIN: RGBColor = RGBColor(120, 120, 120);
const TEST: RGBColor = RGBColor(200, 70, 30);

/// Loss and accuracy by epoch, in training and on the test images, as SVG.
pub fn curves(epochs: &[Epoch], loss: Loss) -> String {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 340)).into_drawing_area();
        let drawn = draw(&root, epochs, loss).and_then(|()| root.present());
        // Writing to a string does not fail; a chart that cannot be laid out is left as it is.
        debug_assert!(drawn.is_ok(), "{drawn:?}");
    }
    svg
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(root: &Area<'a>, epochs: &[Epoch], loss: Loss) -> Drawn<'a> {
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    chart(&left, loss.label(), epochs, |e| (e.train_loss, e.test_loss))?;
    chart(&right, "error (share of images, 0 drawn at 0.0001)", epochs, |e| {
        (1.0 - e.train_accuracy, 1.0 - e.test_accuracy)
    })
}

/// One quantity in training and test, on a logarithmic axis.
fn chart<'a>(area: &Area<'a>, title: &str, epochs: &[Epoch], of: fn(&Epoch) -> (f64, f64)) -> Drawn<'a> {
    const LEAST: f64 = 1e-4;
    let points: Vec<(f64, f64, f64)> = epochs
        .iter()
        .map(|e| {
            let (train, test) = of(e);
            (f64::from(e.epoch), train.max(LEAST), test.max(LEAST))
        })
        .collect();
    let all = || points.iter().flat_map(|p| [p.1, p.2]);
    let lo = all().fold(1.0, f64::min) / 1.3;
    let hi = all().fold(lo * 2.0, f64::max) * 1.3;
    let end = points.last().map_or(1.0, |p| p.0).max(1.0) + 0.5;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(0.5..end, (lo..hi).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| y.to_string())
        .draw()?;
    for (name, color, pick) in
        [("training", TRAIN, (|p| p.1) as fn(&(f64, f64, f64)) -> f64), ("test", TEST, |p: &(f64, f64, f64)| p.2)]
    {
        let line: Vec<(f64, f64)> = points.iter().map(|p| (p.0, pick(p))).collect();
        let series = LineSeries::new(line.clone(), color.stroke_width(2));
        chart
            .draw_series(series)?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(line.into_iter().map(|p| Circle::new(p, 2, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
}
