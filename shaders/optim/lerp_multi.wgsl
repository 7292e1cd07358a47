// lerp of seven arrays. Four elements per invocation.

#import each4_multi
#import lerp

struct Params {
    len0: u32, len1: u32, len2: u32, len3: u32, len4: u32, len5: u32, len6: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y0: array<vec4f>;
@group(0) @binding(2) var<storage, read> x0: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y1: array<vec4f>;
@group(0) @binding(4) var<storage, read> x1: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y2: array<vec4f>;
@group(0) @binding(6) var<storage, read> x2: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> y3: array<vec4f>;
@group(0) @binding(8) var<storage, read> x3: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> y4: array<vec4f>;
@group(0) @binding(10) var<storage, read> x4: array<vec4f>;
@group(0) @binding(11) var<storage, read_write> y5: array<vec4f>;
@group(0) @binding(12) var<storage, read> x5: array<vec4f>;
@group(0) @binding(13) var<storage, read_write> y6: array<vec4f>;
@group(0) @binding(14) var<storage, read> x6: array<vec4f>;
@group(0) @binding(15) var<storage, read> share: array<f32>;

fn compute(which: u32, i: u32) {
    switch which {
        case 0: { y0[i] = moved(y0[i], x0[i]); }
        case 1: { y1[i] = moved(y1[i], x1[i]); }
        case 2: { y2[i] = moved(y2[i], x2[i]); }
        case 3: { y3[i] = moved(y3[i], x3[i]); }
        case 4: { y4[i] = moved(y4[i], x4[i]); }
        case 5: { y5[i] = moved(y5[i], x5[i]); }
        default: { y6[i] = moved(y6[i], x6[i]); }
    }
}
