// Σ dct and Σ (dct x̂ + ct dx̂) of each column over chunks of rows: y [2, chunks, channels]. moments are those of
// layer_norm_grad_tangent.

#import channels

const BLOCK: u32 = 0;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> moments: array<vec4f>;
@group(0) @binding(3) var<storage, read> ct: array<f32>;
@group(0) @binding(4) var<storage, read> dx: array<f32>;
@group(0) @binding(5) var<storage, read> dct: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

alias Acc = vec2f;

fn identity() -> Acc { return vec2f(); }

alias Own = u32;

fn own(channel: u32) -> Own { return channel; }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    let m = moments[at / params.channels];
    let normed = (x[at] - m.x) * m.y;
    let dnormed = m.y * (dx[at] - m.z - normed * m.w);
    return a + vec2f(dct[at], dct[at] * normed + ct[at] * dnormed);
}

fn begin(a: Acc, own: Own) -> Acc { return identity(); }

fn close(a: Acc, own: Own) -> Acc { return a; }

fn combine(a: Acc, b: Acc) -> Acc { return a + b; }

fn put(a: Acc, chunk: u32, channel: u32) {
    y[chunk * params.channels + channel] = a.x;
    y[(params.chunks + chunk) * params.channels + channel] = a.y;
}
