//! Figures of a training run and of the shape of its loss, as SVG and as PNG.
//!
//! Each kind of figure is a struct that borrows what it shows; its method `figure` draws it. Figures take any numbers:
//! what is not finite is left out, or grey.

mod axis;
mod canvas;
mod color;
mod curves;
mod figure;
mod font;
mod page;
mod panel;

pub use curves::{Curves, Epoch};
pub use figure::Figure;
