//! Every kind of figure, of measurements as they come and of such as should not.
//!
//! With `HILLSHADE_FIGURES` set to a folder, the figures are written there, to be looked at.

use std::{env, fs, path::Path};

use hillshade_models::Score;

use super::{figure::Rect, *};

/// Even numbers from 0 to 1, the same every time.
struct Dice(u64);

impl Dice {
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

/// Nodes as Lanczos finds them: a bulk about 0, more of it positive, and outliers.
fn probes(count: usize, outliers: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let mut dice = Dice(7);
    let probe = |_| {
        let bulk = 80 - outliers.len();
        let mut nodes: Vec<(f64, f64)> = (0..bulk)
            .map(|i| {
                let angle = std::f64::consts::PI * (i as f64 + 0.5 + 0.1 * dice.normal()) / bulk as f64;
                let t = 2.1 - 3.4 * angle.cos();
                (t, (-t.abs() / 0.12).exp() * angle.sin() * (0.1 * dice.normal()).exp())
            })
            .collect();
        let sum: f64 = nodes.iter().map(|n| n.1).sum();
        nodes.iter_mut().for_each(|n| n.1 /= sum);
        nodes.extend(outliers.iter().map(|&t| (t, dice.normal().powi(2) / 272_474.0)));
        nodes
    };
    (0..count).map(probe).collect()
}

const OUTLIERS: [f64; 9] = [195.59, 105.72, 71.3, 48.9, 40.2, 33.3, 21.0, 15.2, 9.4];

fn spectrum() -> Figure {
    let notes = ["trace 638 ± 12", "batch statistics of 128 images", "10 probes of 80 products, 41 s on llvmpipe"];
    Density {
        title: "Hessian of ResNet-20 after 12 epochs on cifar10",
        dimension: 272_474,
        probes: &probes(10, &OUTLIERS),
        sigma: None,
        top: &OUTLIERS.map(|t| (t, 1.3e-3)),
        bottom: &[(-1.38, 2e-3), (-1.21, 1e-4), (-1.1, 1e-4)],
        notes: &notes.map(String::from),
    }
    .figure()
}

fn slice() -> Figure {
    let x: Vec<f64> = (-100..=100).map(|i| f64::from(i) / 100.0).collect();
    let loss = |s: f64| -> Vec<f64> {
        x.iter().map(|x| 0.21 + 1.4 * x * x + 0.3 * x.powi(3) + s * 0.08 * (11.0 * x).cos()).collect()
    };
    let (train, test) = (loss(1.0), loss(1.7).iter().map(|l| l + 0.2).collect::<Vec<_>>());
    let model: Vec<f64> = x.iter().map(|x| 0.29 + 0.5 * -6.9 * x * x).collect();
    let lines = [("training loss", &train, false), ("test loss", &test, false), ("quadratic model", &model, true)];
    Slice {
        title: "Loss along the first eigenvector of the Hessian",
        x: &x,
        lines: &lines.map(|(name, values, model)| Line { name, values, model }),
        x_label: "distance along v₁, normalized by filter",
        y_label: "cross-entropy (nats)",
        log: false,
        notes: &["dᵀHd = −6.88 from the slice, −6.90 from a product".into()],
    }
    .figure()
}

fn surface(log: bool) -> Figure {
    let x: Vec<f64> = (-25..=25).map(|i| f64::from(i) / 25.0).collect();
    let bowl = |x: f64, y: f64| {
        let ripples = (9.0 * x + 2.0 * y).sin() * (7.0 * y - 3.0 * x).cos();
        0.12 + 3.0 * (1.3 * x * x + 0.5 * y * y + 0.6 * x * y) + 0.5 * ripples * (x * x + y * y) + 0.1 * ripples.powi(2)
    };
    let mut z: Vec<f64> = x.iter().flat_map(|y| x.iter().map(|x| bowl(*x, *y))).collect();
    if log {
        z.iter_mut().for_each(|z| *z = 1e-3 * z.powi(4));
        z[3] = f64::NAN;
        z[4] = f64::INFINITY;
        z[54] = f64::NAN;
    }
    let path: Vec<(f64, f64)> = (0..=14)
        .map(|i| {
            let t = f64::from(i) / 14.0;
            ((0.8 * (1.0 - t) * (2.6 * t).cos()), -0.85 * (1.0 - t).powi(2) + 0.3 * (3.0 * t).sin() * (1.0 - t))
        })
        .collect();
    Surface {
        title: "Loss around the parameters after 15 epochs",
        x: &x,
        y: &x,
        z: &z,
        x_label: "first direction",
        y_label: "second direction",
        z_label: "cross-entropy (nats)",
        log,
        path: if log { &[] } else { &path },
        notes: &[
            "random directions, normalized by filter; cosine 0.003".into(),
            "statistics of each point's own batch".into(),
        ],
    }
    .figure()
}

fn track() -> Figure {
    let mut dice = Dice(3);
    let points: Vec<TrackPoint> = (0..400)
        .map(|i| {
            let t = f64::from(i) / 400.0;
            let edge = 200.0;
            let rise = 20.0 + 260.0 * (1.0 - (-4.0 * t).exp());
            let wobble =
                if rise > edge { 9.0 * dice.normal() * (0.9 * f64::from(i)).sin() } else { 2.0 * dice.normal() };
            let first = rise.min(edge + 3.0) + wobble;
            TrackPoint {
                step: 50 * i as u64,
                loss: (2.3 * (-5.0 * t).exp() + 0.02) * (0.05 * dice.normal()).exp(),
                sharpness: vec![
                    first,
                    0.62 * rise.min(240.0) + 2.0 * dice.normal(),
                    0.4 * rise.min(200.0) + dice.normal(),
                ],
                threshold: if i < 300 { edge } else { edge / (1.0 - (t - 0.75) * 1.2) },
            }
        })
        .collect();
    Track {
        title: "Sharpness of the MLP on cifar10, gradient descent with η = 0.01",
        points: &points,
        threshold_label: "2/η",
        notes: &["Hessian of the loss of 5000 images".into()],
    }
    .figure()
}

fn curves() -> Figure {
    let score = |loss, accuracy| Score { loss, accuracy };
    let epochs: Vec<Epoch> = (1..=15)
        .map(|i| {
            let t = f64::from(i);
            let train = score(1.9 * (-0.35 * t).exp() + 0.004, 1.0 - 0.6 * (-0.5 * t).exp());
            Epoch { epoch: i, train, test: score(train.loss + 0.04, 0.995 * train.accuracy) }
        })
        .collect();
    Curves { epochs: &epochs, loss: "cross-entropy (nats)" }.figure()
}

/// The figure is whole in both formats.
fn check(name: &str, figure: &Figure) {
    let svg = figure.svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
    let mut lines = svg.lines().filter(|line| !line.starts_with("<image"));
    assert!(lines.all(|line| !line.contains("NaN") && !line.contains("inf")), "{name}");
    let png = figure.png();
    let picture = image::load_from_memory(&png).expect("a picture");
    let (width, height) = figure.size();
    assert_eq!((picture.width(), picture.height()), (2 * width, 2 * height), "{name}");
    assert!(svg.contains(&format!("width=\"{width}\" height=\"{height}\"")), "{name}");
    if let Some(folder) = env::var_os("HILLSHADE_FIGURES") {
        let path = Path::new(&folder).join(name);
        fs::write(path.with_extension("svg"), svg).expect("written");
        fs::write(path.with_extension("png"), png).expect("written");
    }
}

/// The figure is whole and all its text on the paper and apart.
fn check_layout(name: &str, figure: &Figure) {
    check(name, figure);
    let (width, height) = figure.size();
    let page = Rect { left: 0.0, top: 0.0, right: f64::from(width), bottom: f64::from(height) };
    let texts: Vec<_> = figure.texts().collect();
    assert!(texts.len() > 8, "{name}");
    for (i, text) in texts.iter().enumerate() {
        let b = text.bounds();
        let inside = page.contains((b.left, b.top)) && page.contains((b.right, b.bottom));
        assert!(inside, "{name}: {text:?}");
        for other in &texts[..i] {
            assert!(!other.bounds().overlaps(&b), "{name}: {text:?} over {other:?}");
        }
    }
}

#[test]
fn a_spectrum_is_drawn() {
    check_layout("density", &spectrum());
}

#[test]
fn a_slice_is_drawn() {
    check_layout("slice", &slice());
}

#[test]
fn surfaces_are_drawn() {
    check_layout("surface", &surface(false));
    check_layout("surface-log", &surface(true));
}

#[test]
fn a_track_is_drawn() {
    check_layout("track", &track());
}

#[test]
fn curves_are_drawn() {
    check_layout("curves", &curves());
}

#[test]
fn odd_spectra_are_drawn() {
    let none: &[(f64, f64)] = &[];
    let wild = [(f64::NAN, 0.5), (1.0, f64::NAN), (f64::INFINITY, 0.1), (-2.0, -0.3), (f64::MAX, 1.0), (3.0, 0.2)];
    let many: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i) - 250.0, 1.0)).collect();
    type Odd<'a> = (&'a str, Vec<Vec<(f64, f64)>>, &'a [(f64, f64)]);
    let all: [Odd; 9] = [
        ("nothing", vec![], none),
        ("empty-probes", vec![vec![], vec![]], none),
        ("ends-alone", vec![], &[(7.0, 0.0), (6.0, f64::NAN)]),
        ("one-node", vec![vec![(3.0, 1.0)]], &[(3.0, 0.0)]),
        ("zero", vec![vec![(0.0, 1.0)]; 3], &[(0.0, 0.0)]),
        ("equal", vec![vec![(-2.0, 0.5), (-2.0, 0.5)], vec![(-2.0, 1.0)]], none),
        ("tiny", vec![vec![(1e-300, 0.5), (-5e-324, 0.5)]], none),
        ("wild", vec![wild.to_vec(), wild.to_vec()], &wild),
        ("many", vec![many.clone()], &many),
    ];
    let sigmas = [None, Some(0.1), Some(1e-9), Some(0.0), Some(f64::NAN)];
    for (i, (name, probes, top)) in all.iter().enumerate() {
        let density = Density { title: name, dimension: i, probes, sigma: None, top, bottom: top, notes: &[] };
        for sigma in sigmas {
            assert!(Density { sigma, ..density }.figure().svg().ends_with("</svg>\n"));
        }
        check(&format!("density-{name}"), &Density { sigma: sigmas[i % 5], ..density }.figure());
    }
}

#[test]
fn odd_slices_are_drawn() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let all: [(&[f64], &[f64]); 7] = [
        (&[], &[]),
        (&[0.0], &[1.0]),
        (&[-1.0, 0.0, 1.0], &[2.0, 2.0, 2.0]),
        (&[-1.0, 0.0, 1.0], &[nan, inf, -inf]),
        (&[-1.0, 0.0, 1.0, 2.0], &[-3.0, nan, 0.0, 1e300]),
        (&[nan, 1.0, 1.0, 0.5], &[1.0, 2.0, 3.0]),
        (&[1.0, 2.0], &[1e-320, 5.0, 6.0]),
    ];
    for (i, (x, values)) in all.into_iter().enumerate() {
        for (log, lines) in [(false, 1), (true, 7)] {
            let line = |k| Line { name: "a < b & \u{0} c", values, model: k % 2 == 1 };
            let lines: Vec<_> = (0..lines).map(line).collect();
            let title = "w".repeat(300);
            let notes = vec!["a note of some length".to_owned(); 40];
            let slice = Slice { title: &title, x, lines: &lines, x_label: "", y_label: "y", log, notes: &notes };
            check(&format!("slice-{i}-{log}"), &slice.figure());
        }
    }
}

#[test]
fn odd_surfaces_are_drawn() {
    let nan = f64::NAN;
    let all: [(&[f64], &[f64], &[f64]); 8] = [
        (&[], &[], &[]),
        (&[0.0], &[0.0], &[1.0]),
        (&[0.0, 1.0], &[3.0], &[1.0, 2.0]),
        (&[0.0, 1.0], &[0.0, 1.0], &[2.0; 4]),
        (&[0.0, 1.0], &[0.0, 1.0], &[nan; 4]),
        (&[0.0, 1.0, 3.0], &[0.0, 1.0], &[nan, 1.0, f64::INFINITY, -2.0, 1e300]),
        (&[1.0, 0.0, nan], &[2.0, 2.0], &[1.0, 2.0, 3.0, 1e-300, 5.0, 0.0]),
        (&[-1.0, 1.0], &[-1.0, 1.0], &[-1.0, -2.0, -3.0, -4.0]),
    ];
    let paths: [&[(f64, f64)]; 3] = [&[], &[(0.5, 0.5)], &[(nan, 0.0), (0.1, 0.2), (9.0, 9.0), (0.0, f64::INFINITY)]];
    for (i, (x, y, z)) in all.into_iter().enumerate() {
        let labels = ("x", "y", "z");
        for log in [false, true] {
            let (x_label, y_label, z_label) = labels;
            let path = paths[i % 3];
            let surface = Surface { title: "", x, y, z, x_label, y_label, z_label, log, path, notes: &[] };
            check(&format!("surface-{i}-{log}"), &surface.figure());
        }
    }
}

#[test]
fn odd_tracks_are_drawn() {
    let point =
        |step, loss, sharpness: &[f64], threshold| TrackPoint { step, loss, sharpness: sharpness.into(), threshold };
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let all = [
        vec![],
        vec![point(0, 1.0, &[3.0], 20.0)],
        vec![point(5, 2.0, &[3.0], nan), point(5, 2.0, &[3.0], nan)],
        vec![point(0, 0.0, &[-3.0, -4.0], inf), point(1, -1.0, &[], -2.0)],
        vec![point(0, nan, &[nan, inf], 1e300), point(u64::MAX, inf, &[1e300], 2.0), point(7, 1e-300, &[0.0; 12], 0.0)],
    ];
    for (i, points) in all.iter().enumerate() {
        let track = Track { title: "", points, threshold_label: "2/η", notes: &[] };
        check(&format!("track-{i}"), &track.figure());
    }
}

#[test]
fn curves_of_odd_epochs_are_drawn() {
    let score = |loss, accuracy| Score { loss, accuracy };
    let epoch = |epoch, loss, accuracy| Epoch { epoch, train: score(loss, accuracy), test: score(loss, accuracy) };
    for (i, epochs) in [vec![], vec![epoch(1, 0.0, 1.0)], vec![epoch(0, f64::NAN, 2.0), epoch(u32::MAX, 1e30, -1.0)]]
        .iter()
        .enumerate()
    {
        check(&format!("curves-{i}"), &Curves { epochs, loss: "loss" }.figure());
    }
}
