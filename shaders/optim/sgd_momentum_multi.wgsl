// sgd_momentum of seven arrays. Four elements per invocation.

#import each4_multi
#import sgd_momentum

struct Params {
    len0: u32, len1: u32, len2: u32, len3: u32, len4: u32, len5: u32, len6: u32,
    decay: f32, momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#repeat 7
@group(0) @binding($(3*i+1)) var<storage, read_write> p$i: array<vec4f>;
@group(0) @binding($(3*i+2)) var<storage, read> grad$i: array<vec4f>;
@group(0) @binding($(3*i+3)) var<storage, read_write> velocity$i: array<vec4f>;
#end
@group(0) @binding(22) var<storage, read> rate: array<f32>;

fn compute(which: u32, i: u32) {
    switch which {
#repeat 7
        case $i: {
            let after = moved(p$i[i], grad$i[i], velocity$i[i]);
            p$i[i] = after.p;
            velocity$i[i] = after.v;
        }
#end
        default: {}
    }
}
