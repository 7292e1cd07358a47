// sgd_momentum of seven arrays. Four elements per invocation.

#import each4_multi
#import sgd_momentum

struct Params {
    len0: u32, len1: u32, len2: u32, len3: u32, len4: u32, len5: u32, len6: u32,
    decay: f32, momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p0: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad0: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> velocity0: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p1: array<vec4f>;
@group(0) @binding(5) var<storage, read> grad1: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> velocity1: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> p2: array<vec4f>;
@group(0) @binding(8) var<storage, read> grad2: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> velocity2: array<vec4f>;
@group(0) @binding(10) var<storage, read_write> p3: array<vec4f>;
@group(0) @binding(11) var<storage, read> grad3: array<vec4f>;
@group(0) @binding(12) var<storage, read_write> velocity3: array<vec4f>;
@group(0) @binding(13) var<storage, read_write> p4: array<vec4f>;
@group(0) @binding(14) var<storage, read> grad4: array<vec4f>;
@group(0) @binding(15) var<storage, read_write> velocity4: array<vec4f>;
@group(0) @binding(16) var<storage, read_write> p5: array<vec4f>;
@group(0) @binding(17) var<storage, read> grad5: array<vec4f>;
@group(0) @binding(18) var<storage, read_write> velocity5: array<vec4f>;
@group(0) @binding(19) var<storage, read_write> p6: array<vec4f>;
@group(0) @binding(20) var<storage, read> grad6: array<vec4f>;
@group(0) @binding(21) var<storage, read_write> velocity6: array<vec4f>;
@group(0) @binding(22) var<storage, read> rate: array<f32>;

fn compute(which: u32, i: u32) {
    switch which {
        case 0: {
            let after = moved(p0[i], grad0[i], velocity0[i]);
            p0[i] = after.p;
            velocity0[i] = after.v;
        }
        case 1: {
            let after = moved(p1[i], grad1[i], velocity1[i]);
            p1[i] = after.p;
            velocity1[i] = after.v;
        }
        case 2: {
            let after = moved(p2[i], grad2[i], velocity2[i]);
            p2[i] = after.p;
            velocity2[i] = after.v;
        }
        case 3: {
            let after = moved(p3[i], grad3[i], velocity3[i]);
            p3[i] = after.p;
            velocity3[i] = after.v;
        }
        case 4: {
            let after = moved(p4[i], grad4[i], velocity4[i]);
            p4[i] = after.p;
            velocity4[i] = after.v;
        }
        case 5: {
            let after = moved(p5[i], grad5[i], velocity5[i]);
            p5[i] = after.p;
            velocity5[i] = after.v;
        }
        default: {
            let after = moved(p6[i], grad6[i], velocity6[i]);
            p6[i] = after.p;
            velocity6[i] = after.v;
        }
    }
}
