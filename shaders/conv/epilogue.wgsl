// y = y + residual, then 0 where the mask is not positive, or where y is negative, in place; y and the residual may be
// stacks.

#import each4
#import nan

override RESIDUAL: bool = false;
override MASK: bool = false;
override RELU: bool = false;

// Elements in all and of an item.
struct Params { len: u32, item: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> residual: array<vec4f>;
@group(0) @binding(2) var<storage, read> mask: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

fn compute(i: u32) {
    var v = y[i];
    if RESIDUAL { v += residual[i]; }
    // Items of a stack come in whole vec4s; a single one ends within the last.
    let at = select(i, i % (params.item / 4), params.item < params.len);
    if MASK { v = gate_4(mask[at], v); }
    if RELU { v = relu_4(v); }
    y[i] = v;
}
