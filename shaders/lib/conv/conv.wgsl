// Extents of a two-dimensional convolution, channels last. m, n, k, batches, splits and k_chunk are those of the
// matrix product that it is seen as; a batch is a group of channels of an item of the stack. ci and co count the channels
// of one group; taps and pixels are explained in phase; steps are from one item of a factor to the next, 0 where there is
// one for all.

#import index

struct Params {
    m: u32, n: u32, k: u32, batches: u32, splits: u32, k_chunk: u32,
    height: u32, width: u32, out_height: u32, out_width: u32,
    kernel_height: u32, kernel_width: u32, ci: u32, co: u32,
    stride_y: u32, stride_x: u32, pad_y: u32, pad_x: u32, dilation_y: u32, dilation_x: u32,
    first_tap: u32, tap_y: u32, tap_x: u32,
    first_pixel: u32, pixel_y: u32, pixel_x: u32, image_pixels: u32, all_pixels: u32,
    groups: u32, items: u32, a_step: u32, b_step: u32, a2_step: u32, b2_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// Whether there are items; else a batch is a group.
override STACK: bool = false;

fn group_of(batch: u32) -> u32 {
    if STACK { return batch % params.groups; }
    return batch;
}

// Offset of a batch's item in a factor.
fn step_to(batch: u32, step: u32) -> u32 {
    if STACK { return batch / params.groups * step; }
    return 0;
}

// Number of a split's result for a batch's item.
fn result_of(batch: u32, split: u32) -> u32 {
    if STACK { return split * params.items + batch / params.groups; }
    return split;
}

// Offset in x of the pixel under tap (ky, kx) of an output pixel's window.
fn place_x(image: u32, out_y: u32, out_x: u32, ky: u32, kx: u32) -> u32 {
    // Above and left of the image these wrap to large numbers, which the comparison refuses too.
    let iy = out_y * params.stride_y + ky * params.dilation_y - params.pad_y;
    let ix = out_x * params.stride_x + kx * params.dilation_x - params.pad_x;
    if iy >= params.height || ix >= params.width { return OUTSIDE; }
    return ((image * params.height + iy) * params.width + ix) * params.ci * params.groups;
}

// Offset in y of the output pixel whose window has pixel (iy, ix) of x under its tap (ky, kx).
fn place_y(image: u32, iy: u32, ix: u32, ky: u32, kx: u32) -> u32 {
    let ty = iy + params.pad_y - ky * params.dilation_y;
    let tx = ix + params.pad_x - kx * params.dilation_x;
    let oy = ty / params.stride_y;
    let ox = tx / params.stride_x;
    let met = oy * params.stride_y == ty && ox * params.stride_x == tx;
    if !met || oy >= params.out_height || ox >= params.out_width { return OUTSIDE; }
    return ((image * params.out_height + oy) * params.out_width + ox) * params.co * params.groups;
}
