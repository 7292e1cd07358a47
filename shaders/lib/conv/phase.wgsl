// What a phase of an input gradient is of the whole: the pixels of equal remainders by the stride, which the same taps meet.
// Extents of x and of the kernel are those of the phase, and the stride is 1.

#import conv
#import unfold

// Whether there are several.
override PHASES: bool = false;

fn tap_of(ky: u32, kx: u32) -> u32 { return params.first_tap + ky * params.tap_y + kx * params.tap_x; }

fn pixel_of(i: u32) -> u32 {
    if !PHASES { return i; }
    let p = unfold(i, vec2u(params.height, params.width));
    return params.first_pixel + p.x * params.image_pixels + p.y * params.pixel_y + p.z * params.pixel_x;
}
