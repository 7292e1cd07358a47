// x[at + i, :] ← rows[i, :], in place, for the rows that x has. One element per invocation.

#import each

struct Params { len: u32, run: u32, rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> first: array<u32>;
@group(0) @binding(3) var<storage, read> rows: array<f32>;

fn compute(i: u32) {
    let row = i / params.run;
    if first[0] < params.rows && row < params.rows - first[0] { x[first[0] * params.run + i] = rows[i]; }
}
