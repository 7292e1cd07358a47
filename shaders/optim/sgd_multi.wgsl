// sgd of seven arrays. Four elements per invocation.

#import each4_multi
#import sgd

struct Params {
    len0: u32, len1: u32, len2: u32, len3: u32, len4: u32, len5: u32, len6: u32,
    decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p0: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad0: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> p1: array<vec4f>;
@group(0) @binding(4) var<storage, read> grad1: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> p2: array<vec4f>;
@group(0) @binding(6) var<storage, read> grad2: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> p3: array<vec4f>;
@group(0) @binding(8) var<storage, read> grad3: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> p4: array<vec4f>;
@group(0) @binding(10) var<storage, read> grad4: array<vec4f>;
@group(0) @binding(11) var<storage, read_write> p5: array<vec4f>;
@group(0) @binding(12) var<storage, read> grad5: array<vec4f>;
@group(0) @binding(13) var<storage, read_write> p6: array<vec4f>;
@group(0) @binding(14) var<storage, read> grad6: array<vec4f>;
@group(0) @binding(15) var<storage, read> rate: array<f32>;

fn compute(which: u32, i: u32) {
    switch which {
        case 0: { p0[i] = moved(p0[i], grad0[i]); }
        case 1: { p1[i] = moved(p1[i], grad1[i]); }
        case 2: { p2[i] = moved(p2[i], grad2[i]); }
        case 3: { p3[i] = moved(p3[i], grad3[i]); }
        case 4: { p4[i] = moved(p4[i], grad4[i]); }
        case 5: { p5[i] = moved(p5[i], grad5[i]); }
        default: { p6[i] = moved(p6[i], grad6[i]); }
    }
}
