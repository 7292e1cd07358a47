// Extents and strides of matrix products.

override BIAS: bool = false;

// Strides of a: from batch to batch, along i, along k. Of b: from batch to batch, along k, along j. Of y: from batch to
// batch.
struct Params {
    m: u32, n: u32, k: u32, batches: u32, splits: u32, k_chunk: u32,
    a_batch: u32, a_i: u32, a_k: u32, b_batch: u32, b_k: u32, b_j: u32, y_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
