//! The launches of depthwise convolutions.

use crate::ops::{
    conv::{epilogue::EpilogueOperands, frame::Window},
    matmul::gemm::{LONGEST, sum_splits},
};
use crate::{launch::*, tensor::*};

/// Invocations of a workgroup, on GPUs and on software adapters; the same of the others.
const LANES: [usize; 2] = [64, 8];

const SUM_LANES: [u32; 2] = [256, 32];

/// Results of a row that an invocation makes.
const RUNS: [usize; 2] = [4, 8];

/// Weights along each axis of which an invocation makes the sums, at most.
const MOST_TAPS: usize = 4;

/// Invocations below which sums are split, and pixels that a piece has at least.
const ENOUGH: [[usize; 2]; 2] = [[1 << 15, 64], [512, 256]];

/// What a launch is for: items of the stack that results are, and for each term how far apart those of its factors are.
type Stacks<'a> = (usize, &'a [Vec<usize>]);

/// A launch for `count` parts of a pixel's channels, with what the kernels have in common.
fn launch(
    kernel: &'static str, class: Class, g: &Geometry, (items, steps): Stacks, (count, channels): (usize, usize),
    [splits, chunk]: [usize; 2],
) -> Launch {
    let vec4s = channels.is_multiple_of(4);
    let parts = if vec4s { channels / 4 } else { channels };
    let lanes = LANES[of(class)];
    Launch::new(kernel, (count * parts).div_ceil(lanes))
        .constant("LANES", lanes as f64)
        .constant("VEC4", vec4s)
        .constant("TERMS", steps.len() as f64)
        .constant("COPIES", g.co as f64)
        .params([count * parts, parts, g.n, items, splits, chunk].map(word))
        .params(Window::new(g).words())
        .params([g.conv.groups, items].map(word))
        .params([&steps[0][..], &steps[steps.len() - 1]].concat().into_iter().map(word))
}

fn of(class: Class) -> usize {
    usize::from(class.is_software())
}

/// The operands of the first and of the last term.
fn factors(terms: usize) -> [Bind; 4] {
    [0, 1, 2 * terms - 2, 2 * terms - 1].map(Bind::In)
}

impl Geometry {
    /// The launch of a depthwise convolution.
    pub(crate) fn launch_depthwise(&self, class: Class, stacks: Stacks, bias: Option<usize>) -> Launches {
        let (g, conv, run) = (self, self.conv, RUNS[of(class)]);
        let strips = stacks.0 * g.n * g.out[0] * g.out[1].div_ceil(run);
        let launch = launch("depthwise", class, g, stacks, (strips, g.co * conv.groups), [1, 0])
            .constant("RUN", run as f64)
            .constant("STEP_X", self.tap_step(1) as f64)
            .constant("MOVES", conv.stride[1].is_multiple_of(conv.dilation[1]))
            .constant("BIAS", bias.is_some())
            .bind(factors(stacks.1.len()))
            .bind([Bind::In(bias.unwrap_or(1)), Bind::Out(0)]);
        launch.into()
    }

    /// The launch of its input gradient, with its epilogue.
    pub(crate) fn launch_depthwise_input_grad(
        &self, class: Class, stacks: Stacks, epilogue: EpilogueOperands,
    ) -> Launches {
        let (g, conv, run) = (self, self.conv, RUNS[of(class)]);
        let strips = conv.stride[1] * g.size[1].div_ceil(conv.stride[1]).div_ceil(run);
        let count = stacks.0 * g.n * g.size[0] * strips;
        let EpilogueOperands { residual, mask, .. } = epilogue;
        let launch = launch("depthwise_input_grad", class, g, stacks, (count, conv.groups), [1, 0])
            .constant("RUN", run as f64)
            .constant("STEP_Y", self.tap_step(0) as f64)
            .constant("STEP_X", self.tap_step(1) as f64)
            .constant("MOVES", conv.stride[1].is_multiple_of(conv.dilation[1]))
            .constant("RESIDUAL", residual.is_some())
            .constant("MASK", mask.is_some())
            .bind(factors(stacks.1.len()))
            .bind([residual, mask].map(|i| Bind::In(i.unwrap_or(1))))
            .bind([Bind::Out(0)]);
        launch.into()
    }

    /// The launches of its weight gradient: sums over pieces of the rows of all images, and their sum.
    pub(crate) fn launch_depthwise_weight_grad(&self, class: Class, stacks: Stacks) -> Launches {
        let (g, outs, rows) = (self, self.co * self.conv.groups, self.n * self.out[0]);
        let blocks = g.kernel.map(|taps| taps.div_ceil(MOST_TAPS));
        let [down, across] = [0, 1].map(|axis| g.kernel[axis].div_ceil(blocks[axis]));
        let count = stacks.0 * blocks[0] * blocks[1];
        let ([enough, piece], parts) = (ENOUGH[of(class)], if outs.is_multiple_of(4) { outs / 4 } else { outs });
        let most = (rows * g.out[1] / piece).clamp(1, rows);
        let longest = (LONGEST / (stacks.1.len() * g.out[1])).max(1);
        let chunk = rows.div_ceil(enough.div_ceil(count * parts).min(most)).min(longest);
        let splits = rows.div_ceil(chunk);
        let out = if splits > 1 { Bind::Scratch(0) } else { Bind::Out(0) };
        let launch = launch("depthwise_weight_grad", class, g, stacks, (splits * count, outs), [splits, chunk])
            .constant("ROWS", down as f64)
            .constant("TAPS", across as f64)
            .constant("MOVES", g.conv.stride[1] == g.conv.dilation[1])
            .bind(factors(stacks.1.len()))
            .bind([out]);
        let mut launches = Launches::from(launch);
        let len = stacks.0 * g.w().iter().product::<usize>();
        sum_splits(&mut launches, [splits, len], SUM_LANES[of(class)]);
        launches
    }
}
