// A number's place among all: larger for larger ones, the largest for NaN, equal for 0 and −0; more than 0.
fn order_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    let place = select(0x80000000u + size, 0x80000000u - size, bits > 0x7fffffffu);
    return select(place, 0xffffffffu, size > 0x7f800000u);
}
