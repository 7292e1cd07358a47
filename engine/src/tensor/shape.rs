//! Extents, strides, broadcasting: integers only.

/// Extents of a dense row-major array, outermost first; empty for a scalar.
pub type Shape = Vec<usize>;

/// The most loops that a kernel's `dims` hold.
pub(crate) const DIMS: usize = 8;

/// The number of elements, 1 for a scalar.
pub fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i];
    }
    s
}

/// The shape to which both operands broadcast, aligned at their last axes, or `None`.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (p, q) if p == q => Some(p),
            (1, q) => Some(q),
            (p, 1) => Some(p),
            _ => None,
        })
        .collect()
}

/// Strides of `x` read as if it had shape `y`: 0 along broadcast axes.
pub fn broadcast_strides(x: &[usize], y: &[usize]) -> Vec<usize> {
    let own = strides(x);
    let lead = y.len() - x.len();
    (0..y.len()).map(|i| if i < lead || x[i - lead] == 1 { 0 } else { own[i - lead] }).collect()
}

/// Axes of `y` along which an operand of shape `x` was broadcast.
pub fn broadcast_axes(x: &[usize], y: &[usize]) -> Vec<usize> {
    let lead = y.len() - x.len();
    (0..y.len()).filter(|&i| i < lead || (x[i - lead] == 1 && y[i] != 1)).collect()
}

/// A nest of loops over an output and the strides with which each of `N` operands is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loops<const N: usize> {
    /// Extent of each loop, outermost first.
    pub extents: Vec<usize>,
    /// For each loop the operands' strides, negative for a reversed axis.
    pub strides: Vec<[isize; N]>,
}

impl<const N: usize> Loops<N> {
    /// The loops over `shape`, with axes of extent 1 dropped and adjacent axes merged where every operand allows.
    pub fn new(shape: &[usize], strides: [&[isize]; N]) -> Self {
        let mut loops = Loops { extents: Vec::new(), strides: Vec::<[isize; N]>::new() };
        for (axis, &extent) in shape.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            let own: [isize; N] = std::array::from_fn(|n| strides[n][axis]);
            if let (Some(last), Some(outer)) = (loops.extents.last_mut(), loops.strides.last_mut())
                && (0..N).all(|n| outer[n] == own[n] * extent as isize)
            {
                *last *= extent;
                *outer = own;
                continue;
            }
            loops.extents.push(extent);
            loops.strides.push(own);
        }
        if loops.extents.is_empty() {
            loops.extents.push(1);
            loops.strides.push([0; N]);
        }
        loops
    }

    /// Calls `f` with the operands' offsets at the start of every innermost run, in row-major order.
    pub fn each_segment(&self, from: usize, to: usize, mut f: impl FnMut(usize, [isize; N])) {
        let outer = self.extents.len() - 1;
        let (mut index, mut at) = (vec![0; outer], [0isize; N]);
        let step = |at: &mut [isize; N], axis: usize, steps: isize| {
            at.iter_mut().zip(&self.strides[axis]).for_each(|(at, stride)| *at += steps * stride);
        };
        let mut rest = from;
        for axis in (0..outer).rev() {
            index[axis] = rest % self.extents[axis];
            rest /= self.extents[axis];
            step(&mut at, axis, index[axis] as isize);
        }
        for run in from..to {
            f(run, at);
            for axis in (0..outer).rev() {
                index[axis] += 1;
                step(&mut at, axis, 1);
                if index[axis] < self.extents[axis] {
                    break;
                }
                step(&mut at, axis, -(index[axis] as isize));
                index[axis] = 0;
            }
        }
    }

    /// Length of an innermost run.
    pub fn segment(&self) -> usize {
        self.extents[self.extents.len() - 1]
    }

    /// Number of innermost runs.
    pub fn segments(&self) -> usize {
        self.extents[..self.extents.len() - 1].iter().product()
    }
}

/// As signed integers.
pub fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&s| s as isize).collect()
}
