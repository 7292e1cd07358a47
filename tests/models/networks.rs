//! Networks against PyTorch and torchvision: outputs, losses, gradients, names and layouts; weights from files and to them.
//!
//! The values and the script that made them are in `golden/`; what goes in comes from [`formula`], which the script has too.

use std::{collections::BTreeMap, path::Path};

use hillshade::{
    engine::{Data, Graph, Session, block_on},
    models::{Builder, Goal, Loss, Mode, Network, Param, Tensor, export, import, to_torch},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::common::{assert_close, evaluate, fails, golden, gpu};

/// Numbers in [-1, 1), multiples of 2⁻²³: MurmurHash3's finalizer of the place, with FNV-1a of the name.
fn formula(name: &str, count: usize) -> Vec<f64> {
    let start = name.bytes().fold(0x811c_9dc5, |h: u32, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let number = |i: usize| {
        let mut x = (i as u32).wrapping_mul(0x9e37_79b1).wrapping_add(start);
        x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
        x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
        f64::from((x ^ x >> 16) >> 8) / 8_388_608.0 - 1.0
    };
    (0..count).map(number).collect()
}

/// A parameter or statistic of PyTorch's, by the end of its name.
fn value(name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let bound = (6.0 / (count / shape[0]) as f64).sqrt();
    let of = |u: f64| match name {
        _ if name.ends_with("running_var") => 1.0 + 0.5 * u.abs(),
        _ if name.ends_with("bias") || name.ends_with("running_mean") => 0.1 * u,
        _ if shape.len() == 1 || name.ends_with("weight_g") => 1.0 + 0.25 * u,
        _ => u * bound,
    };
    formula(name, count).into_iter().map(|u| of(u) as f32).collect()
}

type Shapes = BTreeMap<String, Vec<usize>>;

/// The file of reference values.
struct Golden {
    tensors: BTreeMap<String, Vec<f64>>,
    metadata: std::collections::HashMap<String, String>,
}

impl Golden {
    fn read() -> Self {
        let bytes = golden::bytes("networks");
        let file = SafeTensors::deserialize(&bytes).expect("a whole file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let floats = |b: &[u8]| b.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect();
        let tensors = file.iter().map(|(name, view)| (name.to_string(), floats(view.data())));
        Golden { tensors: tensors.collect(), metadata: header.metadata().clone().expect("metadata") }
    }

    fn get(&self, name: &str) -> &[f64] {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn shapes(&self, key: &str) -> Shapes {
        serde_json::from_str(&self.metadata[key]).expect("names with extents")
    }

    /// The networks, each with what goes into it.
    fn subjects(&self) -> Vec<Subject> {
        let count = self.metadata.keys().filter(|key| key.parse::<usize>().is_ok()).count();
        assert_eq!(count, 15);
        (0..count)
            .map(|i| {
                let (spec, size) = self.metadata[&i.to_string()].split_once(' ').expect("a network and a size");
                let size: Vec<usize> = size.split('x').map(|n| n.parse().expect("a number")).collect();
                let shapes = self.shapes(&format!("shapes {i}"));
                let tensors = shapes.iter().map(|(name, s)| (name.clone(), (s.clone(), value(name, s)))).collect();
                let size = <[usize; 4]>::try_from(size).expect("four extents");
                Subject { index: i, spec: spec.into(), size, tensors }
            })
            .collect()
    }
}

/// A golden network.
struct Subject {
    index: usize,
    spec: String,
    size: [usize; 4],
    /// Its weights, in PyTorch's names and layouts.
    tensors: BTreeMap<String, Tensor>,
}

impl Subject {
    fn network(&self) -> Network {
        Network::parse(&self.spec).unwrap_or_else(|e| panic!("{}: {e}", self.spec))
    }

    /// Parameters and running statistics.
    fn params(&self) -> Vec<Param> {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Eval);
        self.network()
            .build(&mut b, g.input("images", &self.size), 10)
            .unwrap_or_else(|e| panic!("{}: {e}", self.spec));
        b.params
    }

    fn check(&self, golden: &Golden, executor: &str, mut session: Session, bound: f64, file: &Path) {
        let (n, what) = (self.size[0], format!("{executor}, {}", self.spec));
        import(file, &self.params(), &mut session, None).unwrap_or_else(|e| panic!("{what}: {e}"));
        let pixels: Vec<f32> = formula("images", self.size.iter().product()).iter().map(|u| (2.0 * u) as f32).collect();
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 10) as u32).collect();
        let inputs = [("images", Data::F32(&pixels)), ("labels", Data::U32(&labels))];
        let network = self.network();
        let loss = if network.goal() == Goal::Input { Loss::Squared } else { Loss::CrossEntropy };
        for mode in [Mode::Eval, Mode::Train] {
            let g = Graph::new();
            let mut b = Builder::new(&g, mode);
            let x = g.input("images", &self.size);
            let y = network.build(&mut b, x, 10).expect("a fitting size");
            if mode == Mode::Eval {
                let got = evaluate(&mut session, &g, &[y], inputs);
                assert_close(
                    &format!("{what}: in evaluation"),
                    &got[0],
                    golden.get(&format!("{}.eval", self.index)),
                    bound,
                );
                continue;
            }
            let labels = g.input_u32("labels", &[n]);
            let losses = network.losses(loss, 0.0, [x, y], labels, 10).expect("fitting");
            let mean = losses.mean_all();
            let d = mean.grad(&b.trained_values()).expect("rules");
            g.take_assigns();
            let trained: Vec<Param> = b.trained().cloned().collect();
            let mut got = evaluate(&mut session, &g, &[&[y, mean], &d[..]].concat(), inputs);
            let gradients: Vec<Vec<f32>> =
                got.split_off(2).iter().map(|d| d.iter().map(|&v| v as f32).collect()).collect();
            for (part, got) in ["train", "loss"].iter().zip(&got) {
                assert_close(&format!("{what}: {part}"), got, golden.get(&format!("{}.{part}", self.index)), bound);
            }
            self.check_gradients(golden, &what, &to_torch(&trained, &gradients), bound);
        }
    }

    fn check_gradients(&self, golden: &Golden, what: &str, got: &BTreeMap<String, Tensor>, bound: f64) {
        let prefix = format!("{}.d.", self.index);
        let want: Vec<(&str, &Vec<f64>)> =
            golden.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?, t))).collect();
        let most = want.iter().flat_map(|(_, t)| t.iter()).fold(0.0, |m: f64, v| m.max(v.abs()));
        let names: Vec<&str> = got.keys().map(String::as_str).collect();
        assert_eq!(names, want.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{what}");
        for (name, want) in want {
            let (_, data) = &got[name];
            let wide: Vec<f64> = data.iter().map(|&v| v.into()).collect();
            let mut sample: Vec<f64> = wide.iter().copied().step_by(wide.len().div_ceil(1024) | 1).collect();
            sample.push(wide.iter().map(|v| v * v).sum::<f64>().sqrt());
            // A bias before a normalization has no gradient: what is left is rounding.
            let largest = want.iter().fold(most / 100.0, |m, v| m.max(v.abs()));
            assert_eq!(sample.len(), want.len(), "{what}: {name}");
            for (got, want) in sample.iter().zip(want) {
                let error = (got - want).abs() / largest;
                assert!(
                    error <= bound,
                    "{what}: gradient of {name} is {got}, expected {want} ({error:e} of the largest)"
                );
            }
        }
    }
}

/// Stores tensors as f32, or as the upper halves of it.
fn store(path: &Path, tensors: &BTreeMap<String, Tensor>, dtype: Dtype) {
    let bytes = |data: &[f32]| match dtype {
        Dtype::BF16 => data.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect(),
        _ => data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(),
    };
    let bytes: Vec<(&str, &[usize], Vec<u8>)> =
        tensors.iter().map(|(name, (shape, data))| (name.as_str(), &shape[..], bytes(data))).collect();
    let view = |(name, shape, b)| (name, TensorView::new(dtype, shape, b).expect("as many bytes"));
    let views = bytes.iter().map(|(name, shape, b)| view((*name, shape.to_vec(), &b[..])));
    std::fs::write(path, safetensors::serialize(views, None).expect("a file")).expect("a disk");
}

/// Fifteen networks, through import: logits with both kinds of statistics, loss, and every gradient.
#[test]
fn networks_are_pytorchs() {
    let golden = Golden::read();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let device = gpu(false);
    let mut failed = Vec::new();
    for subject in golden.subjects() {
        let file = folder.path().join(format!("{}.safetensors", subject.index));
        store(&file, &subject.tensors, Dtype::F32);
        let sessions = [(Session::reference(), 2e-6), (Session::host(), 1e-4), (Session::device(device.clone()), 1e-4)];
        for (session, bound) in sessions {
            let executor = session.executor();
            let check = || subject.check(&golden, &executor, session, bound, &file);
            if fails(check) {
                failed.push(format!("{} on {executor}", subject.spec));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("; "));
}

/// The names and extents of torchvision's whole networks.
#[test]
fn names_are_torchvisions() {
    let golden = Golden::read();
    for (theirs, ours) in [
        ("resnet18", "resnet18"),
        ("resnet34", "resnet34"),
        ("resnet50", "resnet50"),
        ("vgg11", "vgg11"),
        ("vgg16_bn", "vgg16:norm=batch"),
    ] {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Eval);
        let x = g.input("images", &[1, 224, 224, 3]);
        Network::parse(ours).and_then(|n| n.build(&mut b, x, 1000)).expect("known and fitting");
        let values: Vec<Vec<f32>> = b.params.iter().map(|p| vec![0.0; p.shape.iter().product()]).collect();
        let shapes: Shapes = to_torch(&b.params, &values).into_iter().map(|(name, (shape, _))| (name, shape)).collect();
        assert_eq!(shapes, golden.shapes(&format!("names {theirs}")), "{theirs}");
    }
}

/// What is exported has PyTorch's names and extents, and comes back bit for bit.
#[test]
fn weights_go_out_and_come_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for subject in Golden::read().subjects() {
        let (params, mut session) = (subject.params(), Session::host());
        let [theirs, ours] = ["theirs", "ours"].map(|name| folder.path().join(name));
        store(&theirs, &subject.tensors, Dtype::F32);
        import(&theirs, &params, &mut session, None).expect("fitting tensors");
        let get = |p: &Param| (p.name.clone(), (p.shape.clone(), block_on(session.get(&p.name)).expect("a state")));
        let states = params.iter().map(get).collect();
        export(&ours, &params, &states, "").expect("all states");
        let bytes = std::fs::read(&ours).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("a whole file");
        assert_eq!(file.len(), subject.tensors.len(), "{}", subject.spec);
        for (name, (shape, data)) in &subject.tensors {
            let view = file.tensor(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", subject.spec));
            let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(view.shape() == shape && view.data() == bytes, "{}: {name}", subject.spec);
        }
        let absent = export(&ours, &params, &states, "average/").expect_err("no averages").to_string();
        assert!(absent.contains("expected a state \"average/") && absent.ends_with("found none"), "{absent}");
    }
}

#[test]
fn shards_and_halves_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let subject = Golden::read().subjects().into_iter().find(|s| s.spec.starts_with("resnet20")).expect("one");
    let (params, place) = (subject.params(), |name: &str| folder.path().join(name));
    let (mut parts, mut map) = ([BTreeMap::new(), BTreeMap::new()], BTreeMap::new());
    for (i, (name, tensor)) in subject.tensors.iter().enumerate() {
        parts[i % 2].insert(format!("module.{name}"), tensor.clone());
        map.insert(format!("module.{name}"), format!("{}.safetensors", i % 2));
    }
    store(&place("0.safetensors"), &parts[0], Dtype::F32);
    store(&place("1.safetensors"), &parts[1], Dtype::BF16);
    let index = place("model.safetensors.index.json");
    std::fs::write(&index, serde_json::json!({"metadata": {}, "weight_map": map}).to_string()).expect("a disk");
    let mut session = Session::host();
    import(&index, &params, &mut session, None).expect("both files");
    let values: Vec<Vec<f32>> = params.iter().map(|p| block_on(session.get(&p.name)).expect("a state")).collect();
    for (i, (name, (shape, data))) in to_torch(&params, &values).into_iter().enumerate() {
        let (want_shape, want) = &subject.tensors[&name];
        let cut = |v: &f32| if i % 2 == 0 { *v } else { f32::from_bits(v.to_bits() & 0xffff_0000) };
        assert_eq!((&shape, data), (want_shape, want.iter().map(cut).collect()), "{name}");
    }
    std::fs::remove_file(place("1.safetensors")).expect("it is there");
    let gone = import(&index, &params, &mut session, None).expect_err("a file is missing").to_string();
    assert!(gone.contains("expected to read") && gone.contains("1.safetensors"), "{gone}");
}

/// All that is wrong is told at once, by name.
#[test]
fn tensors_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("weights");
    let subject = Golden::read().subjects().into_iter().find(|s| s.spec.starts_with("resnet20")).expect("one");
    let mut tensors = subject.tensors.clone();
    tensors.remove("layer2.0.bn1.running_mean");
    tensors.insert("fc.weight".into(), (vec![7, 32], vec![0.0; 7 * 32]));
    tensors.insert("layer4.0.conv1.weight".into(), (vec![1], vec![0.0]));
    store(&file, &tensors, Dtype::F32);
    let told = import(&file, &subject.params(), &mut Session::host(), None).expect_err("three faults").to_string();
    let found = "found without: stage1.block0.norm1.running_mean; of other shapes: \"fc.weight\" of [32, 7] for [32, 10]; \
                 with others too: layer4.0.conv1.weight";
    assert!(told.ends_with(found), "{told}");
}
