//! The handwritten WGSL kernels of Hillshade, as text.
//!
//! Kernels are the `.wgsl` files at the top of this crate, one entry point `main` each. `#import name` pastes
//! `lib/name.wgsl` once. Nothing else is assembled: variants are `override` constants.

/// Names and texts of files in this crate.
macro_rules! texts {
    ($dir:literal: $($name:ident)+) => {
        &[$((stringify!($name), include_str!(concat!("../", $dir, stringify!($name), ".wgsl")))),+]
    };
}

/// Fragments for `#import`, without bindings of their own unless the fragment is a whole loop (`map1`, `reduce`, `gemm`).
const FRAGMENTS: &[(&str, &str)] = texts!("lib/":
    channels conv each_channel gemm index map1 map2 map3 math moments philox reduce
);

/// The kernels, by name.
pub const KERNELS: &[(&str, &str)] = texts!("":
    abs adam add affine argmax batch_norm batch_norm_grad batch_norm_grad_tangent
    batch_norm_grad_tangent_scales batch_norm_grad_tangent_sums batch_norm_merge batch_norm_moments
    batch_norm_sums batch_norm_tangent batch_norm_tangent_scales bernoulli clamp concat conv2d
    conv2d_input_grad conv2d_weight_grad cos cross_entropy cross_entropy_grad div eq erf exp fill gate gather
    ge gelu gelu_tanh gt le log logsumexp lt matmul max max_over max_pool max_pool_grad min mul ne neg normal
    one_hot pad pow recip relu rsqrt scatter_add select sgd sgd_momentum sigmoid sign silu sin softplus sqrt
    strided sub sum tanh uniform
);

fn find(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// The kernel's text with its imports pasted in, or `None` when there is no such kernel.
///
/// # Panics
///
/// When a text imports what does not exist, which a test excludes for all of them.
pub fn compose(name: &str) -> Option<String> {
    let mut out = String::new();
    let mut done = Vec::new();
    paste(find(KERNELS, name)?, &mut out, &mut done);
    Some(out)
}

fn paste(text: &'static str, out: &mut String, done: &mut Vec<&'static str>) {
    for line in text.lines() {
        match line.strip_prefix("#import ") {
            Some(name) if done.contains(&name) => {}
            Some(name) => {
                done.push(name);
                paste(find(FRAGMENTS, name).unwrap_or_else(|| panic!("no fragment {name}")), out, done);
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_resolves() {
        assert!(!KERNELS.is_empty());
        for (name, _) in KERNELS {
            assert!(!compose(name).expect("listed").contains("#import"), "{name}");
        }
    }
}
