//! Dispatches as data: kernels with their constants, uniforms, bindings and grids.

use crate::{launch::target::Class, tensor::DIMS};

/// What a kernel's storage binding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// The op's operand.
    In(usize),
    /// The op's result.
    Out(usize),
    /// A scratch buffer of the op.
    Scratch(usize),
}

/// One dispatch: a kernel with its constants, uniforms, bindings 1, 2, … and grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The kernel's name in the shaders crate, or of `text`.
    pub kernel: &'static str,
    /// The kernel's text, where it is not in the shaders crate; `#import` works in it.
    pub text: Option<&'static str>,
    /// Values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// The words of its `Params`.
    pub params: Vec<u32>,
    /// What is bound from binding 1 on.
    pub bind: Vec<Bind>,
    /// Workgroups, each at most 65,535.
    pub groups: [u32; 3],
}

impl Launch {
    /// Folds `groups` workgroups into two dimensions of at most 65,535 each; kernels unfold them with `flat_group`.
    pub fn new(kernel: &'static str, groups: usize) -> Self {
        const MOST: usize = 65_535;
        let y = groups.div_ceil(MOST).max(1);
        let x = groups.div_ceil(y).max(1);
        let groups = [x as u32, y as u32, 1];
        Launch { kernel, text: None, constants: Vec::new(), params: Vec::new(), bind: Vec::new(), groups }
    }

    /// With a kernel of one's own, compiled with all run-time checks: entry point `main`, `params` at binding 0.
    pub fn text(self, text: &'static str) -> Self {
        Launch { text: Some(text), ..self }
    }

    /// With these uniform words.
    pub fn params(mut self, words: impl IntoIterator<Item = u32>) -> Self {
        self.params.extend(words);
        self
    }

    /// With these bindings.
    pub fn bind(mut self, bind: impl IntoIterator<Item = Bind>) -> Self {
        self.bind.extend(bind);
        self
    }

    /// With this constant.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }
}

/// An op's dispatches, in order, and the scratch buffers that they share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Launches {
    /// Elements (4 bytes each) of every scratch buffer.
    pub scratch: Vec<usize>,
    /// The dispatches.
    pub list: Vec<Launch>,
}

impl From<Launch> for Launches {
    fn from(launch: Launch) -> Self {
        Launches { scratch: Vec::new(), list: vec![launch] }
    }
}

/// `n` as a kernel's word.
///
/// # Panics
///
/// Above 2³²−1: no buffer that a device can bind has so many elements.
pub(crate) fn word(n: usize) -> u32 {
    u32::try_from(n).expect("buffers are refused at 2^31 bytes, long before an index exceeds 32 bits")
}

/// `dims` of the kernels: for each loop its extent and up to three strides.
///
/// # Panics
///
/// Beyond eight loops; [`Graph`] refuses shapes of more than eight axes.
pub(crate) fn loop_words<const N: usize>(extents: &[usize], strides: &[[isize; N]]) -> Vec<u32> {
    assert!(extents.len() <= DIMS, "shapes have at most eight axes");
    let mut words = Vec::with_capacity(4 * DIMS);
    for (&extent, strides) in extents.iter().zip(strides) {
        words.push(word(extent));
        words.extend((0..3).map(|n| strides.get(n).map_or(0, |&s| s as i32 as u32)));
    }
    words.resize(4 * DIMS, 0);
    words
}

/// Lanes that share columns of which `across` are neighbours: on a software adapter each lane has its own.
pub(crate) fn lanes(class: Class, across: usize) -> usize {
    if class.is_software() { across.max(8) } else { 256 }
}
