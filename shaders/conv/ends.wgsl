// y = y + residual, then 0 where the gate is not positive, or where y is negative, in place; y and the residual may be
// stacks.

#import each4

override RESIDUAL: bool = false;
override GATE: bool = false;
override RELU: bool = false;

// Elements in all and of a member.
struct Params { len: u32, member: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> residual: array<vec4f>;
@group(0) @binding(2) var<storage, read> gate: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

fn make(i: u32) {
    var v = y[i];
    if RESIDUAL { v += residual[i]; }
    // Members of a stack come in whole fours; a single one ends within the last.
    let at = select(i, i % (params.member / 4), params.member < params.len);
    if GATE { v = select(vec4f(), v, gate[at] > vec4f()); }
    if RELU { v = select(v, vec4f(), v < vec4f()); }
    y[i] = v;
}
