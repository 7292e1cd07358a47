// y[r, :] = Σ x[i, :] over the i from first to end - 1 with index[i] = r, and what y was where first is not 0, in a fixed
// order: sums of 64 i, of a piece, of all. One workgroup per row and COLUMNS of its columns: its lanes mark the i of the row in a piece
// of the index, 32 to a word, then each adds up its own columns over the marks. No atomics.

#import index

struct Params { rows: u32, run: u32, first: u32, end: u32 }

override LANES: u32 = 64;
override COLUMNS: u32 = 0xffffffff;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> marks: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let number = flat_group(group, groups);
    let row = number % params.rows;
    let left = min(number / params.rows * COLUMNS, params.run);
    let right = left + min(COLUMNS, params.run - left);
    for (var begin = params.first; begin < params.end; begin += 32 * LANES) {
        let own = begin + 32 * lane;
        var word = 0u;
        for (var k = own; k < min(own + 32, params.end); k++) {
            if index[k] == row { word |= 1u << (k - own); }
        }
        marks[lane] = word;
        workgroupBarrier();
        for (var column = left + lane; column < right; column += LANES) {
            let at = row * params.run + column;
            var sum = 0.0;
            for (var w = 0u; w < LANES; w += 2) {
                var part = 0.0;
                for (var rest = marks[w]; rest != 0; rest &= rest - 1) {
                    let k = begin + 32 * w + countTrailingZeros(rest);
                    part += x[k * params.run + column];
                }
                for (var rest = marks[w + 1]; rest != 0; rest &= rest - 1) {
                    let k = begin + 32 * (w + 1) + countTrailingZeros(rest);
                    part += x[k * params.run + column];
                }
                sum += part;
            }
            if begin > 0 { sum += y[at]; }
            y[at] = sum;
        }
        workgroupBarrier();
    }
}
