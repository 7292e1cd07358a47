// The loop of a reduction over the middle axis of x [outer, n, inner], in chunks: y [outer, chunks, inner].
// A workgroup makes ACROSS neighbouring columns of one chunk; the order of summation is fixed by the extents: a lane takes
// four rows at a time, in pairs.
// The kernel defines Acc, Out, identity, lift (a number of a row), combine and finish.

#import index

override LANES: u32 = 256;
override ACROSS: u32 = 1;

struct Params { outer: u32, n: u32, inner: u32, chunk: u32, chunks: u32, start: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<Out>;

var<workgroup> by_lane: array<Acc, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.inner + ACROSS - 1) / ACROSS;
    let tile = flat_group(group, groups);
    let column = (tile % tiles) * ACROSS + lane % ACROSS;
    let chunk = (tile / tiles) % params.chunks;
    let outer = tile / tiles / params.chunks;
    let row = lane / ACROSS;
    let mine = column < params.inner && outer < params.outer;

    var acc = identity();
    if mine {
        let step = LANES / ACROSS;
        let end = min((chunk + 1) * params.chunk, params.n);
        let at = params.start + outer * params.n * params.inner + column;
        var r = chunk * params.chunk + row;
        for (; r + 3 * step < end; r += 4 * step) {
            let a = at + r * params.inner;
            let b = step * params.inner;
            let first = combine(lift(x[a], r), lift(x[a + b], r + step));
            let second = combine(lift(x[a + 2 * b], r + 2 * step), lift(x[a + 3 * b], r + 3 * step));
            acc = combine(acc, combine(first, second));
        }
        for (; r < end; r += step) { acc = combine(acc, lift(x[at + r * params.inner], r)); }
    }
    by_lane[lane] = acc;
    workgroupBarrier();
    for (var half = LANES / ACROSS / 2; half > 0; half /= 2) {
        if row < half { by_lane[lane] = combine(by_lane[lane], by_lane[lane + half * ACROSS]); }
        workgroupBarrier();
    }
    if mine && row == 0 { y[(outer * params.chunks + chunk) * params.inner + column] = finish(by_lane[lane]); }
}
