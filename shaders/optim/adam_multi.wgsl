// adam of seven arrays. Four elements per invocation.

#import each4_multi
#import adam

struct Params {
    len0: u32, len1: u32, len2: u32, len3: u32, len4: u32, len5: u32, len6: u32,
    beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32, decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p0: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad0: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> m0: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> v0: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> p1: array<vec4f>;
@group(0) @binding(6) var<storage, read> grad1: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> m1: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> v1: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> p2: array<vec4f>;
@group(0) @binding(10) var<storage, read> grad2: array<vec4f>;
@group(0) @binding(11) var<storage, read_write> m2: array<vec4f>;
@group(0) @binding(12) var<storage, read_write> v2: array<vec4f>;
@group(0) @binding(13) var<storage, read_write> p3: array<vec4f>;
@group(0) @binding(14) var<storage, read> grad3: array<vec4f>;
@group(0) @binding(15) var<storage, read_write> m3: array<vec4f>;
@group(0) @binding(16) var<storage, read_write> v3: array<vec4f>;
@group(0) @binding(17) var<storage, read_write> p4: array<vec4f>;
@group(0) @binding(18) var<storage, read> grad4: array<vec4f>;
@group(0) @binding(19) var<storage, read_write> m4: array<vec4f>;
@group(0) @binding(20) var<storage, read_write> v4: array<vec4f>;
@group(0) @binding(21) var<storage, read_write> p5: array<vec4f>;
@group(0) @binding(22) var<storage, read> grad5: array<vec4f>;
@group(0) @binding(23) var<storage, read_write> m5: array<vec4f>;
@group(0) @binding(24) var<storage, read_write> v5: array<vec4f>;
@group(0) @binding(25) var<storage, read_write> p6: array<vec4f>;
@group(0) @binding(26) var<storage, read> grad6: array<vec4f>;
@group(0) @binding(27) var<storage, read_write> m6: array<vec4f>;
@group(0) @binding(28) var<storage, read_write> v6: array<vec4f>;
@group(0) @binding(29) var<storage, read> rates: array<f32>;

fn compute(which: u32, i: u32) {
    switch which {
        case 0: {
            let after = moved(p0[i], grad0[i], m0[i], v0[i]);
            p0[i] = after.p;
            m0[i] = after.m;
            v0[i] = after.v;
        }
        case 1: {
            let after = moved(p1[i], grad1[i], m1[i], v1[i]);
            p1[i] = after.p;
            m1[i] = after.m;
            v1[i] = after.v;
        }
        case 2: {
            let after = moved(p2[i], grad2[i], m2[i], v2[i]);
            p2[i] = after.p;
            m2[i] = after.m;
            v2[i] = after.v;
        }
        case 3: {
            let after = moved(p3[i], grad3[i], m3[i], v3[i]);
            p3[i] = after.p;
            m3[i] = after.m;
            v3[i] = after.v;
        }
        case 4: {
            let after = moved(p4[i], grad4[i], m4[i], v4[i]);
            p4[i] = after.p;
            m4[i] = after.m;
            v4[i] = after.v;
        }
        case 5: {
            let after = moved(p5[i], grad5[i], m5[i], v5[i]);
            p5[i] = after.p;
            m5[i] = after.m;
            v5[i] = after.v;
        }
        default: {
            let after = moved(p6[i], grad6[i], m6[i], v6[i]);
            p6[i] = after.p;
            m6[i] = after.m;
            v6[i] = after.v;
        }
    }
}
