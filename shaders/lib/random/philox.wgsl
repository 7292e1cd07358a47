// Philox4x32-10 (Salmon et al. 2011): four random words from a counter and a key.

#import mul_wide

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
