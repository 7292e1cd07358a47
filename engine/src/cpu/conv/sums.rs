//! Sums of convolutions on the CPU: what they begin with, how they are divided into tasks and added up.

use rayon::prelude::*;

use crate::cpu::float::{Real, SERIAL};

/// Writes what a sum begins with: the bias in every row, or zeros.
pub(crate) fn begin<F: Real>(y: &mut [F], bias: &[F]) {
    match bias {
        [] => y.fill(F::zero()),
        bias => y.chunks_mut(bias.len()).for_each(|y| y.copy_from_slice(bias)),
    }
}

/// Output rows of a task: of one image, which they divide.
pub(crate) fn task_rows(images: usize, rows: usize) -> usize {
    let most = if images >= 8 { rows } else { rows.div_ceil(8) };
    (1..=most).rev().find(|&r| rows.is_multiple_of(r)).unwrap_or(1)
}

/// Adds up the tasks' sums in order.
pub(crate) fn add_up(sums: &[f32], dw: &mut [f32]) {
    let all = dw.len();
    dw.par_chunks_mut(SERIAL).enumerate().for_each(|(i, dw)| {
        dw.fill(0.0);
        for sum in sums.chunks(all) {
            dw.iter_mut().zip(&sum[i * SERIAL..]).for_each(|(dw, sum)| *dw += sum);
        }
    });
}
