// Philox4x32-10 (Salmon et al. 2011): four random words from a counter and a key.

// High and low word of a product, from 16-bit halves.
fn mul_wide(a: u32, b: u32) -> vec2u {
    let ll = (a & 0xffffu) * (b & 0xffffu);
    let lh = (a & 0xffffu) * (b >> 16);
    let hl = (a >> 16) * (b & 0xffffu);
    let mid = (ll >> 16) + (lh & 0xffffu) + (hl & 0xffffu);
    return vec2u((a >> 16) * (b >> 16) + (lh >> 16) + (hl >> 16) + (mid >> 16), a * b);
}

fn philox(counter: vec4u, seed: vec2u) -> vec4u {
    var c = counter;
    var k = seed;
    for (var round = 0; round < 10; round++) {
        let p = mul_wide(0xD2511F53u, c.x);
        let q = mul_wide(0xCD9E8D57u, c.z);
        c = vec4u(q.x ^ c.y ^ k.x, q.y, p.x ^ c.w ^ k.y, p.y);
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// Uniform in [0, 1), a multiple of 2^-24.
fn unit(word: u32) -> f32 {
    return f32(word >> 8) * 5.9604644775390625e-8;
}
