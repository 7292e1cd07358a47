//! Scratch buffers that a thread keeps from one loop to the next: new memory costs a page fault for every page of it, which
//! can take longer than the loop.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

use crate::cpu::aligned::AlignedBuf;

/// Buffers that a thread keeps, and the longest that it does: of a longer one the loop takes longer than the faults.
const KEPT: usize = 12;
const LONGEST: usize = 1 << 22;

thread_local! {
    static FREE: RefCell<Vec<AlignedBuf<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of some length, with whatever was left in it.
pub(crate) struct Scratch {
    data: AlignedBuf<f32>,
    len: usize,
}

impl Scratch {
    /// The shortest one of this thread that is long enough, or a new one.
    pub(crate) fn new(len: usize) -> Self {
        let kept = FREE.with_borrow_mut(|free| {
            let fits = free.iter().enumerate().filter(|(_, data)| data.len() >= len);
            let best = fits.min_by_key(|(_, data)| data.len()).map(|(i, _)| i);
            best.map(|i| free.swap_remove(i))
        });
        Scratch { data: kept.unwrap_or_else(|| AlignedBuf::zeros(len)), len }
    }
}

impl Drop for Scratch {
    /// Gives it back; of too many the shortest goes.
    fn drop(&mut self) {
        let data = std::mem::replace(&mut self.data, AlignedBuf::zeros(0));
        if data.len() > LONGEST {
            return;
        }
        FREE.with_borrow_mut(|free| {
            free.push(data);
            if free.len() > KEPT {
                let shortest = free.iter().enumerate().min_by_key(|(_, data)| data.len()).map_or(0, |(i, _)| i);
                free.swap_remove(shortest);
            }
        });
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}
