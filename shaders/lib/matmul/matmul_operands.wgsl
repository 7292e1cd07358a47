// The operands of matrix products, with any strides. The bias goes into the first split.

#import matmul_params
#import terms

@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

fn row_at(i: u32) -> vec3u { return vec3u(0, 0, i); }
fn row_after(row: vec3u) -> vec3u { return vec3u(0, 0, row.z + 1); }
fn sum_at(k: u32) -> vec3u { return vec3u(0, 0, k); }
fn sum_after(sum: vec3u) -> vec3u { return vec3u(0, 0, sum.z + 1); }

fn base_a(term: u32, batch: u32) -> u32 { return batch * params.a_batch; }
fn base_b(term: u32, batch: u32) -> u32 { return batch * params.b_batch; }
fn place_a(row: vec3u, sum: vec3u) -> u32 { return row.z * params.a_i + sum.z * params.a_k; }
fn place_b(k: u32, j: u32) -> u32 { return k * params.b_k + j * params.b_j; }

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    var sum = v;
    if BIAS && split == 0 { sum += bias[j]; }
    y[(split * params.batches + batch) * params.y_batch + i * params.n + j] = sum;
}
