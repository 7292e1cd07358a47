// The frame of kernels on arrays [rows, n] that need sums over each row: WIDTH lanes share a row, a workgroup computes
// LANES / WIDTH of them. The kernel defines its bindings, x among them, and compute, in which every lane takes part.

#import index

override LANES: u32 = 256;
override WIDTH: u32 = 64;
// Whether the mean is taken off: layer normalization, else that by the root of the mean square.
override CENTRED: bool = true;

struct Params { rows: u32, n: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> by_lane: array<vec4f, LANES>;

// A lane's part of a row: elements first, first + WIDTH, … below end, none of a row that does not exist.
struct Row { row: u32, at: u32, first: u32, end: u32, lane: u32 }

// The sum over the lanes of each row, in a fixed order.
fn total(part: vec4f, lane: u32) -> vec4f {
    by_lane[lane] = part;
    workgroupBarrier();
    for (var half = WIDTH / 2; half > 0; half /= 2) {
        if lane % WIDTH < half { by_lane[lane] += by_lane[lane + half]; }
        workgroupBarrier();
    }
    let sum = by_lane[lane - lane % WIDTH];
    workgroupBarrier();
    return sum;
}

// Mean and 1/√(variance + ε) of a row; 0 and 1/√(mean square + ε) where the mean stays.
fn statistics(row: Row) -> vec2f {
    let n = f32(params.n);
    var mean = 0.0;
    if CENTRED {
        var sum = 0.0;
        for (var i = row.first; i < row.end; i += WIDTH) { sum += x[i]; }
        mean = total(vec4f(sum), row.lane).x / n;
    }
    var square = 0.0;
    for (var i = row.first; i < row.end; i += WIDTH) { square += (x[i] - mean) * (x[i] - mean); }
    return vec2f(mean, 1.0 / sqrt(total(vec4f(square), row.lane).x / n + params.eps));
}

fn leads(row: Row) -> bool { return row.first == row.at && row.row < params.rows; }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group, groups) * (LANES / WIDTH) + lane / WIDTH;
    let at = min(row, params.rows) * params.n;
    compute(Row(row, at, at + lane % WIDTH, select(at, at + params.n, row < params.rows), lane));
}
