// The frame of kernels on arrays [rows, n] that need sums over each row: WIDTH lanes share a row, a workgroup computes
// LANES / WIDTH of them. The kernel defines its bindings, x among them, and compute, in which every lane takes part.

#import index
#import nan

override LANES: u32 = 256;
override WIDTH: u32 = 64;
// Whether the mean is taken off: layer normalization, else that by the root of the mean square.
override CENTRED: bool = true;
// How many elements a lane goes through in one pass; more than one in long rows, since software adapters end the loops of an
// invocation after 65,535 passes in all.
override EACH: u32 = 1;

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
// Deviations from a mean that was rounded add up to what it lacks (Chan, Golub and LeVeque 1983).
fn statistics(row: Row) -> vec2f {
    let n = f32(params.n);
    var mean = 0.0;
    if CENTRED {
        var sum = 0.0;
        for (var at = row.first; at < row.end; at += EACH * WIDTH) {
            var part = 0.0;
            for (var e = 0u; e < EACH; e++) {
                let i = at + e * WIDTH;
                if EACH == 1 || i < row.end { part += x[i]; }
            }
            sum += part;
        }
        mean = total(vec4f(sum), row.lane).x / n;
    }
    var sums = vec2f();
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        var part = vec2f();
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                let d = x[i] - mean;
                part += vec2f(d, d * d);
            }
        }
        sums += part;
    }
    let means = total(vec4f(sums, 0.0, 0.0), row.lane).xy / n;
    let lacks = select(0.0, means.x, CENTRED);
    return vec2f(mean + lacks, 1.0 / sqrt(relu_f32(means.y - lacks * lacks) + params.eps));
}

fn leads(row: Row) -> bool { return row.first == row.at && row.row < params.rows; }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group, groups) * (LANES / WIDTH) + lane / WIDTH;
    let at = min(row, params.rows) * params.n;
    compute(Row(row, at, at + lane % WIDTH, select(at, at + params.n, row < params.rows), lane));
}
