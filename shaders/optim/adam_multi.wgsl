// adam of seven arrays. Four elements per invocation.

#import each4_multi
#import adam

struct Params {
    len0: u32, len1: u32, len2: u32, len3: u32, len4: u32, len5: u32, len6: u32,
    beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32, decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#repeat 7
@group(0) @binding($(4*i+1)) var<storage, read_write> p$i: array<vec4f>;
@group(0) @binding($(4*i+2)) var<storage, read> grad$i: array<vec4f>;
@group(0) @binding($(4*i+3)) var<storage, read_write> m$i: array<vec4f>;
@group(0) @binding($(4*i+4)) var<storage, read_write> v$i: array<vec4f>;
#end
@group(0) @binding(29) var<storage, read> rates: array<f32>;

fn compute(which: u32, i: u32) {
    switch which {
#repeat 7
        case $i: {
            let after = moved(p$i[i], grad$i[i], m$i[i], v$i[i]);
            p$i[i] = after.p;
            m$i[i] = after.m;
            v$i[i] = after.v;
        }
#end
        default: {}
    }
}
