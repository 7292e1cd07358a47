//! The ops, one line each: a name here, `ops/<name>.rs`, `shaders/<name>.wgsl`. Tests, benches and docs read this list;
//! benches time what is marked so.

use crate::{Case, Graph, Result, Var};

/// Declares the ops' modules, their public items, and the tables of their cases.
macro_rules! ops {
    ($($name:ident $(+ $timed:ident)?),+ $(,)?) => {
        $(mod $name; #[allow(unused_imports, reason = "an op may have no public items beside its method")]
        pub use $name::*;)+

        /// Every op's name and cases.
        pub fn all() -> Vec<(&'static str, Vec<Case>)> {
            vec![$((stringify!($name), $name::cases())),+]
        }

        /// The hot ops' names and the cases on which they are timed: one op each, larger than those of [`all`], on
        /// operands that are more than a MiB together with the results.
        pub fn timed() -> Vec<(&'static str, Vec<Case>)> {
            vec![$($((stringify!($name), $name::$timed()),)?)+]
        }
    };
}

pub mod random;

ops! {
    abs,
    adam + timed,
    add + timed,
    affine,
    argmax,
    attention + timed,
    attention_grad + timed,
    attention_grad_tangent + timed,
    attention_tangent + timed,
    average,
    batch_norm + timed,
    batch_norm_grad + timed,
    batch_norm_grad_tangent + timed,
    batch_norm_tangent + timed,
    bernoulli,
    broadcast,
    clamp,
    concat + timed,
    conv2d + timed,
    conv2d_input_grad + timed,
    conv2d_weight_grad + timed,
    cos,
    cross_entropy + timed,
    cross_entropy_grad + timed,
    div,
    eq,
    erf,
    exp + timed,
    fill,
    flip,
    float + timed,
    gate + timed,
    gather + timed,
    ge,
    gelu + timed,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    gt,
    half + timed,
    inner_products + timed,
    iterate + timed,
    layer_norm + timed,
    layer_norm_grad + timed,
    layer_norm_grad_tangent + timed,
    layer_norm_tangent + timed,
    le,
    leaky_relu,
    log,
    logsumexp + timed,
    lstm_cell + timed,
    lstm_cell_grad + timed,
    lstm_cell_grad_tangent,
    lstm_cell_tangent,
    lt,
    matmul + timed,
    max,
    max_over + timed,
    max_pool + timed,
    max_pool_grad + timed,
    mean_of_parts,
    min,
    mul,
    ne,
    neg,
    normal + timed,
    one_hot,
    pad,
    pow,
    recip,
    relu + timed,
    reshape,
    rsqrt,
    scatter_add + timed,
    select,
    sgd + timed,
    sigmoid,
    sign,
    silu,
    silu_grad,
    sin,
    slice,
    softplus,
    sqrt,
    stop_gradient,
    sub,
    sum + timed,
    tanh,
    transpose + timed,
    uniform + timed,
    write_rows,
}

/// The sum of the terms that there are.
pub(crate) fn sum_terms(g: &mut Graph, a: Option<Var>, b: Option<Var>) -> Result<Option<Var>> {
    match (a, b) {
        (Some(a), Some(b)) => g.add(a, b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}
