//! The ops, one line each: a name here, `ops/<name>.rs`, `shaders/<name>.wgsl`. Tests, benches and docs read this list.

use crate::{Case, Graph, Result, Var};

/// Declares the ops' modules, their public items, and the table of their cases.
macro_rules! ops {
    ($($name:ident),+ $(,)?) => {
        $(mod $name; #[allow(unused_imports, reason = "an op may have no public items beside its method")]
        pub use $name::*;)+

        /// Every op's name and cases.
        pub fn all() -> Vec<(&'static str, Vec<Case>)> {
            vec![$((stringify!($name), $name::cases())),+]
        }
    };
}

pub mod random;

ops! {
    abs,
    adam,
    add,
    affine,
    argmax,
    attention,
    attention_grad,
    attention_grad_tangent,
    attention_tangent,
    average,
    batch_norm,
    batch_norm_grad,
    batch_norm_grad_tangent,
    batch_norm_tangent,
    bernoulli,
    broadcast,
    clamp,
    concat,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    cos,
    cross_entropy,
    cross_entropy_grad,
    div,
    eq,
    erf,
    exp,
    fill,
    flip,
    float,
    gate,
    gather,
    ge,
    gelu,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    gt,
    half,
    inner_products,
    layer_norm,
    layer_norm_grad,
    layer_norm_grad_tangent,
    layer_norm_tangent,
    le,
    leaky_relu,
    log,
    logsumexp,
    lstm_cell,
    lstm_cell_grad,
    lstm_cell_grad_tangent,
    lstm_cell_tangent,
    lt,
    matmul,
    max,
    max_over,
    max_pool,
    max_pool_grad,
    mean_of_parts,
    min,
    mul,
    ne,
    neg,
    normal,
    one_hot,
    pad,
    pow,
    recip,
    relu,
    reshape,
    rsqrt,
    scatter_add,
    select,
    sgd,
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
    sum,
    tanh,
    transpose,
    uniform,
    write_rows,
}

/// The sum of the terms that there are.
pub(crate) fn sum_terms(g: &mut Graph, a: Option<Var>, b: Option<Var>) -> Result<Option<Var>> {
    match (a, b) {
        (Some(a), Some(b)) => g.add(a, b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}
