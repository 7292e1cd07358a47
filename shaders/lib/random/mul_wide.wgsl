// High and low word of a product, from 16-bit halves.
fn mul_wide(a: u32, b: u32) -> vec2u {
    let ll = (a & 0xffffu) * (b & 0xffffu);
    let lh = (a & 0xffffu) * (b >> 16);
    let hl = (a >> 16) * (b & 0xffffu);
    let mid = (ll >> 16) + (lh & 0xffffu) + (hl & 0xffffu);
    return vec2u((a >> 16) * (b >> 16) + (lh >> 16) + (hl >> 16) + (mid >> 16), a * b);
}
