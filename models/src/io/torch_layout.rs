//! What PyTorch calls parameters, and in which order it stores them.

use std::collections::BTreeMap;

use crate::io::hugging_face::{bare_name, is_stored_alike};
use crate::nn::Param;

/// A tensor: extents and values.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// Values of a network's parameters under PyTorch's names, in its layouts: weights of convolutions `[co, ci, kh, kw]`, of
/// dense layers `[out, in]`, with channels first where they take images. `values` has one for each parameter.
///
/// Residual networks have torchvision's names (`conv1.weight`, `layer2.0.bn1.running_mean`, `layer2.0.downsample.0.weight`,
/// `fc.weight`); what the others call their parameters is what PyTorch, or Hugging Face's library, calls them.
pub fn to_torch(params: &[Param], values: &[Vec<f32>]) -> BTreeMap<String, Tensor> {
    let residual = params.iter().any(|p| p.name.starts_with("stem."));
    let rename = |p: &Param| match usual_names(&p.name).into_iter().next().filter(|_| residual) {
        Some(name) => name,
        None => p.name.clone(),
    };
    let lengths = |p: &Param| p.name.strip_suffix("weight_g").map(|layer| format!("{layer}weight_v"));
    let stored = params.iter().zip(values).map(|(p, data)| {
        let (mut shape, data) = outward(p, data);
        if let Some(v) = lengths(p).and_then(|v| params.iter().find(|p| p.name == v)) {
            // PyTorch keeps the axes over which the norm is.
            shape.resize(v.shape.len(), 1);
        }
        (rename(p), (shape, data))
    });
    stored.collect()
}

/// Where in the layout of a dense weight's columns, channels first, the value of a row is.
fn column(p: &Param, row: usize) -> usize {
    match p.image {
        Some([h, w, c]) => (row % c * h + row / c / w) * w + row / c % w,
        None => row,
    }
}

/// A parameter's values in PyTorch's layout.
fn outward(p: &Param, data: &[f32]) -> Tensor {
    match p.shape[..] {
        [kh, kw, ci, co] => {
            let at = |i: usize| {
                let (x, y, c, o) = (i % kw, i / kw % kh, i / (kw * kh) % ci, i / (kw * kh * ci));
                data[((y * kw + x) * ci + c) * co + o]
            };
            (vec![co, ci, kh, kw], (0..data.len()).map(at).collect())
        }
        [ins, outs] if !is_stored_alike(&p.name) => {
            let mut y = vec![0.0; data.len()];
            for (i, &v) in data.iter().enumerate() {
                y[i % outs * ins + column(p, i / outs)] = v;
            }
            (vec![outs, ins], y)
        }
        _ => (p.shape.clone(), data.to_vec()),
    }
}

/// A tensor in PyTorch's layout in that of the parameter, as far as its axes are those.
pub(crate) fn inward(p: &Param, (shape, data): &Tensor) -> Tensor {
    match (&p.shape[..], &shape[..]) {
        ([_, _, _, _], &[co, ci, kh, kw]) => {
            let at = |i: usize| {
                let (o, c, x, y) = (i % co, i / co % ci, i / (co * ci) % kw, i / (co * ci * kw));
                data[((o * ci + c) * kh + y) * kw + x]
            };
            (vec![kh, kw, ci, co], (0..data.len()).map(at).collect())
        }
        ([_, _], &[outs, ins]) if !is_stored_alike(&p.name) => {
            let image = |row: usize| if ins == p.shape[0] { column(p, row) } else { row };
            (vec![ins, outs], (0..data.len()).map(|i| data[i % outs * ins + image(i / outs)]).collect())
        }
        ([_], [outs, rest @ ..]) if rest.iter().all(|&n| n == 1) => (vec![*outs], data.clone()),
        _ => (shape.clone(), data.clone()),
    }
}

/// What a parameter of a residual network is called elsewhere, torchvision's name first; the last layer's names also serve
/// other networks.
pub(crate) fn usual_names(name: &str) -> Vec<String> {
    if let Some(rest) = name.strip_prefix("stem.") {
        return vec![rest.replace("conv.", "conv1.").replace("norm.", "bn1.")];
    }
    if let Some(rest) = name.strip_prefix("head.") {
        return vec![format!("fc.{rest}"), format!("linear.{rest}"), format!("classifier.{rest}")];
    }
    if let Some(bare) = bare_name(name) {
        return vec![bare.into()];
    }
    let Some((stage, rest)) = name.strip_prefix("stage").and_then(|s| s.split_once(".block")) else {
        return Vec::new();
    };
    let (Ok(stage), Some((block, layer))) = (stage.parse::<usize>(), rest.split_once('.')) else { return Vec::new() };
    let place = format!("layer{}.{block}", stage + 1);
    match layer.strip_prefix("shortcut.") {
        Some(rest) => {
            let rest = rest.replace("conv.", "0.").replace("norm.", "1.");
            ["downsample", "shortcut"].map(|s| format!("{place}.{s}.{rest}")).to_vec()
        }
        None => vec![format!("{place}.{}", layer.replace("norm", "bn"))],
    }
}

#[cfg(test)]
mod tests {
    use hillshade_engine::Graph;

    use super::*;
    use crate::nn::*;

    #[test]
    fn names_are_the_usual_ones() {
        let pairs = [
            ("stem.conv.weight", "conv1.weight"),
            ("stem.norm.running_var", "bn1.running_var"),
            ("stage0.block2.conv1.weight", "layer1.2.conv1.weight"),
            ("stage1.block0.norm2.bias", "layer2.0.bn2.bias"),
            ("stage2.block0.shortcut.conv.weight", "layer3.0.downsample.0.weight"),
            ("stage2.block0.shortcut.norm.weight", "layer3.0.downsample.1.weight"),
            ("head.bias", "fc.bias"),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(usual_names(ours)[0], theirs);
        }
    }

    #[test]
    fn layouts_come_back_as_they_were() {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Eval);
        let shapes = [vec![3, 2, 5, 4], vec![30, 7], vec![12, 5], vec![9]];
        for (i, shape) in shapes.iter().enumerate() {
            b.param(&i.to_string(), shape, Init::Zeros);
        }
        b.params[1].image = Some([3, 2, 5]);
        let count = |p: &Param| (0..p.shape.iter().product()).map(|i: usize| i as f32).collect();
        let values: Vec<Vec<f32>> = b.params.iter().map(count).collect();
        let out = to_torch(&b.params, &values);
        for (p, values) in b.params.iter().zip(&values) {
            assert_eq!(inward(p, &out[&p.name]), (p.shape.clone(), values.clone()), "{}", p.name);
        }
        // The weight of output o for channel c at row y and column x of the window.
        let (shape, data) = &out["0"];
        let (theirs, ours) = (data[((2 * 5 + 3) * 3 + 1) * 2], values[0][(2 * 5 + 3) * 4 + 2]);
        assert_eq!((&shape[..], theirs), (&[4, 5, 3, 2][..], ours));
        // The weight of output o for channel c at row y and column x of the image.
        let (shape, data) = &out["1"];
        let (theirs, ours) = (data[6 * 30 + (2 * 3 + 1) * 2 + 1], values[1][((2 + 1) * 5 + 2) * 7 + 6]);
        assert_eq!((&shape[..], theirs), (&[7, 30][..], ours));
    }
}
