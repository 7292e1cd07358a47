//! The ops, one line each: a name here, `ops/<family>/<name>.rs`, `shaders/<family>/<name>.wgsl`. Tests, benches and docs read
//! this list; benches time what is marked so. Modules in brackets are a family's frame.

use crate::graph::TestCase;

/// Declares the families' modules, their public items, and the tables of their cases.
macro_rules! ops {
    ($($(#[$doc:meta])* $family:ident [$($frame:ident),*]: $($name:ident $(+ $timed:ident)?),+;)+) => {
        $($(#[$doc])* pub mod $family {
            $(pub(crate) mod $frame;)*
            $(pub(crate) mod $name;)+
        }
        $(#[allow(unused_imports, reason = "an op may have no public items beside its method")]
        pub use $family::$name::*;)+)+

        /// Every op's name and cases.
        pub fn all() -> Vec<(&'static str, Vec<TestCase>)> {
            vec![$($((stringify!($name), $family::$name::cases())),+),+]
        }

        /// The hot ops' names and the cases on which they are timed: one op each, larger than those of [`all`], on
        /// operands that are more than a MiB together with the results.
        pub fn timed() -> Vec<(&'static str, Vec<TestCase>)> {
            vec![$($($((stringify!($name), $family::$name::$timed()),)?)+)+]
        }
    };
}

ops! {
    /// Functions of one to three numbers, elementwise with broadcasting.
    pointwise [map, operators]:
        abs,
        add + timed,
        affine,
        clamp,
        cos,
        div,
        eq,
        erf,
        exp + timed,
        ge,
        gelu + timed,
        gelu_grad,
        gelu_tanh,
        gelu_tanh_grad,
        gt,
        le,
        leaky_relu,
        log,
        lt,
        max,
        min,
        mul,
        ne,
        neg,
        pow,
        recip,
        relu + timed,
        relu_mask + timed,
        rsqrt,
        select,
        sigmoid,
        sign,
        silu,
        silu_grad,
        sin,
        softplus,
        sqrt,
        sub,
        tanh;

    /// Reductions along axes.
    reduce [frame]:
        argmax,
        cross_batch_mean,
        inner_products + timed,
        logsumexp + timed,
        max_over + timed,
        sum + timed;

    /// Ops that only move, repeat or store elements.
    shape [stacks, strided]:
        broadcast,
        concat + timed,
        fill,
        flip,
        pack_f16 + timed,
        pad,
        reshape,
        slice,
        stop_gradient,
        transpose + timed,
        unpack_f16 + timed;

    /// Rows by index.
    index []:
        gather + timed,
        one_hot,
        scatter_add + timed,
        write_rows;

    /// Random numbers.
    random [draw]:
        bernoulli,
        normal + timed,
        uniform + timed;

    /// Matrix products.
    matmul [gemm, variants]:
        matmul + timed;

    /// Convolutions and pooling, channels last.
    conv [depthwise, epilogue, frame, phases, trials, winograd]:
        conv2d + timed,
        conv2d_input_grad + timed,
        conv2d_weight_grad + timed,
        max_pool + timed,
        max_pool_grad + timed;

    /// Batch and layer normalization.
    norm [frame, rows, tangent]:
        batch_norm + timed,
        batch_norm_grad + timed,
        batch_norm_grad_tangent + timed,
        batch_norm_tangent + timed,
        layer_norm + timed,
        layer_norm_grad + timed,
        layer_norm_grad_tangent + timed,
        layer_norm_tangent + timed;

    /// Scaled dot-product attention.
    attention [blocks, heads, trials]:
        attention + timed,
        attention_grad + timed,
        attention_grad_tangent + timed,
        attention_tangent + timed;

    /// Long short-term memory.
    lstm [frame]:
        lstm_cell + timed,
        lstm_cell_grad + timed,
        lstm_cell_grad_tangent,
        lstm_cell_tangent;

    /// Losses.
    loss []:
        cross_entropy + timed,
        cross_entropy_grad + timed;

    /// Updates of parameters in place.
    optim [update]:
        adam + timed,
        lerp,
        running_variance,
        sgd + timed;

    /// What measures the ceilings of an executor.
    roofline []:
        iterate + timed;
}

pub use attention::heads::Attention;
pub use norm::rows::LayerNorm;
pub use optim::update::{Rule, Update};
pub use pointwise::map::{Map, Pointwise};
