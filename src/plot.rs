//! Figures of a training run and of the shape of its loss, as SVG and as PNG.
//!
//! Each kind of figure is a struct that borrows what it shows; its method `figure` draws it. Figures take any numbers:
//! what is not finite is left out, or grey.
//!
//! ```
//! use hillshade::plot::{Line, Slice};
//!
//! let x: Vec<f64> = (-50..=50).map(|i| f64::from(i) / 50.0).collect();
//! let loss: Vec<f64> = x.iter().map(|x| 0.2 + x * x + 0.05 * (9.0 * x).cos()).collect();
//! let lines = [Line { name: "training loss", values: &loss, model: false }];
//! let notes = ["128 images".to_owned()];
//! let slice = Slice {
//!     title: "Along the first eigenvector",
//!     x: &x,
//!     lines: &lines,
//!     x_label: "distance",
//!     y_label: "cross-entropy (nats)",
//!     log: false,
//!     notes: &notes,
//! };
//! let figure = slice.figure();
//! assert!(figure.svg().starts_with("<svg"));
//! assert!(figure.png().starts_with(b"\x89PNG"));
//! ```

mod axis;
mod canvas;
mod color;
mod contour;
mod curves;
mod density;
mod figure;
mod font;
mod page;
mod panel;
mod quadrature;
mod relief;
mod slice;
mod surface;
#[cfg(test)]
mod tests;
mod track;

pub use curves::{Curves, Epoch};
pub use density::Density;
pub use figure::Figure;
pub use slice::{Line, Slice};
pub use surface::Surface;
pub use track::{Track, TrackPoint};
