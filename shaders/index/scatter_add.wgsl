// y[r, :] = Σ x[i, :] over the i with index[i] = r, in the order of i. One workgroup per row: its lanes mark the i of the row
// in a piece of the index, 32 to a word, then each adds up its own columns over the marks. No atomics.

#import index

struct Params { rows: u32, run: u32, n: u32 }

override LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> marks: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group, groups);
    for (var begin = 0u; begin < params.n; begin += 32 * LANES) {
        let own = begin + 32 * lane;
        var word = 0u;
        for (var k = own; k < min(own + 32, params.n); k++) {
            if index[k] == row { word |= 1u << (k - own); }
        }
        marks[lane] = word;
        workgroupBarrier();
        if row < params.rows {
            for (var column = lane; column < params.run; column += LANES) {
                let at = row * params.run + column;
                var sum = 0.0;
                if begin > 0 { sum = y[at]; }
                for (var w = 0u; w < LANES; w++) {
                    for (var rest = marks[w]; rest != 0; rest &= rest - 1) {
                        let k = begin + 32 * w + countTrailingZeros(rest);
                        sum += x[k * params.run + column];
                    }
                }
                y[at] = sum;
            }
        }
        workgroupBarrier();
    }
}
