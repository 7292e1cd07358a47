// The loop of kernels of an LSTM's cell: one invocation for each feature of [.., width], whose gates i, f, k, o are width
// apart in rows of 4 width; the kernel defines its bindings and compute.

#import each
#import math

struct Params { len: u32, width: u32 }

@group(0) @binding(0) var<uniform> params: Params;

// Where the first of a feature's gates is.
fn first_gate(e: u32) -> u32 { return e + e / params.width * 3 * params.width; }
