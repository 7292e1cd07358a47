//! Transformers and the recurrent language model against PyTorch and Hugging Face, and their curvature against the reference.
//!
//! The values and the script that made them are in `golden/`; the weights are a formula's, the same here and there.

use hillshade::{
    engine::{Data, Graph, Session, Tensor, block_on},
    models::{Builder, Generator, Mode, Network, Optimizer, Param, Sampling, export},
};
use safetensors::SafeTensors;

use crate::common::{assert_close, dot, evaluate, golden::Golden, gpu, noise32};

/// A setting of a file.
fn number<T: std::str::FromStr>(golden: &Golden, key: &str) -> T {
    golden.settings[key].parse().unwrap_or_else(|_| panic!("{key}: {}", golden.settings[key]))
}

/// A parameter as the script's `weights` has it, in PyTorch's layout.
fn chirp(name: &str, count: usize, gain: bool) -> Vec<f32> {
    let h = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let (step, phase) = (1.0 + f64::from(h & 0xffff) / 65536.0, f64::from(h >> 16) / 4096.0);
    let wave = |i: usize| (phase + step * ((i * i) as f64)).sin();
    (0..count).map(|i| if gain { 1.0 + 0.2 * wave(i) } else { 0.3 * wave(i) } as f32).collect()
}

/// How PyTorch stores a parameter of ours.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Same,
    Transposed,
    /// A convolution's.
    Filter,
}

fn stored(p: &Param) -> Stored {
    let table = ["wte", "wpe", "embed_tokens", "encoder.weight"].iter().any(|t| p.name.contains(t));
    match p.shape.len() {
        4 => Stored::Filter,
        2 if !table && !p.name.starts_with("transformer.") => Stored::Transposed,
        _ => Stored::Same,
    }
}

/// Element `i` of PyTorch's tensor, as an index into ours.
fn ours(p: &Param, i: usize) -> usize {
    match (stored(p), &p.shape[..]) {
        (Stored::Transposed, &[ins, outs]) => i % ins * outs + i / ins,
        (Stored::Filter, &[kh, kw, ci, co]) => {
            let (y, x, c, o) = (i / kw % kh, i % kw, i / (kh * kw) % ci, i / (kh * kw * ci));
            ((y * kw + x) * ci + c) * co + o
        }
        _ => i,
    }
}

/// Whether a parameter is a normalization's gain.
fn is_gain(p: &Param) -> bool {
    (p.shape.len() == 1 && p.name.contains("norm") || p.name.contains(".ln_")) && p.name.ends_with("weight")
}

fn fill(session: &mut Session, params: &[Param]) {
    for p in params {
        let count: usize = p.shape.iter().product();
        let mut data = vec![0.0; count];
        for (i, v) in chirp(&p.name, count, is_gain(p)).into_iter().enumerate() {
            data[ours(p, i)] = v;
        }
        session.set(&p.name, &p.shape, &data).expect("the sizes match");
    }
}

/// Token ids, some of them more than once.
fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    (0..count).map(|i| ((7 * i * i + 3 * i + 1) % vocab) as u32).collect()
}

/// A network with its mean loss and the inputs of the golden file.
struct Model<'g> {
    b: Builder<'g>,
    logits: Tensor<'g>,
    loss: Tensor<'g>,
    gradient: Vec<Tensor<'g>>,
}

const VOCAB: usize = 61;

impl<'g> Model<'g> {
    fn of_tokens(g: &'g Graph, spec: &str, n: usize, t: usize) -> Self {
        Self::new(spec, g.input_u32("tokens", &[n, t]), n * t, VOCAB)
    }

    fn of_images(g: &'g Graph, spec: &str, shape: [usize; 4], classes: usize) -> Self {
        Self::new(spec, g.input("images", &shape), shape[0], classes)
    }

    fn new(spec: &str, x: Tensor<'g>, rows: usize, classes: usize) -> Self {
        let g = x.graph();
        let mut b = Builder::new(g, Mode::Train);
        let logits = Network::parse(spec).and_then(|n| n.build(&mut b, x, classes)).expect("known and fitting");
        let labels = g.input_u32("labels", &[rows]);
        let loss = logits.reshape(&[rows, classes]).cross_entropy(labels)[0].mean_all();
        let gradient = loss.grad(&b.trained_values()).expect("every op has its rules");
        Model { b, logits, loss, gradient }
    }

    /// Logits, loss and gradient are the file's, to 1e-4 in f32.
    fn check(&self, name: &str, inputs: &[(&str, Data)]) {
        let golden = Golden::read(name);
        let executors = [Session::device(gpu(false)), Session::host(), Session::reference()];
        for (mut session, bound) in executors.into_iter().zip([1e-4, 1e-4, 2e-6]) {
            let what = |part: &str| format!("{name} on {}: {part}", session.executor());
            let [logits, loss] = [what("logits"), what("loss")];
            let names: Vec<String> = self.b.params.iter().map(|p| what(&p.name)).collect();
            fill(&mut session, &self.b.params);
            let outputs = [&[self.logits, self.loss], &self.gradient[..]].concat();
            let got = evaluate(&mut session, self.b.g, &outputs, inputs);
            assert_close(&logits, &got[0], &golden.wide("logits"), bound);
            assert_close(&loss, &got[1], &golden.wide("loss"), bound);
            for ((p, what), got) in self.b.params.iter().zip(names).zip(&got[2..]) {
                let want = golden.wide(&format!("grad/{}", p.name));
                let step = (got.len() / 64).max(1);
                let got: Vec<f64> = (0..got.len()).step_by(step).map(|i| got[ours(p, i)]).collect();
                // A key's bias moves all scores of a query alike, which changes nothing: its gradient is rounding.
                let most = want.iter().fold(0.0_f64, |m, w| m.max(w.abs()));
                match most < 1e-7 {
                    true => assert!(got.iter().all(|g| g.abs() < 1e-6), "{what}"),
                    false => assert_close(&what, &got, &want, bound),
                }
            }
            assert_eq!(golden.names().filter(|name| name.starts_with("grad/")).count(), self.b.params.len());
        }
    }

    /// Ten steps of AdamW on one batch have PyTorch's losses.
    fn descend(&self, name: &str, inputs: &[(&str, Data)]) {
        let golden = Golden::read(name);
        let rule = Optimizer::AdamW { decay: number(&golden, "weight_decay") };
        let params: Vec<&Param> = self.b.trained().collect();
        let states = rule.build(self.b.g, &params, &self.gradient).expect("rules");
        for mut session in [Session::device(gpu(false)), Session::host()] {
            fill(&mut session, &self.b.params);
            for s in &states {
                session.set(&s.name, &s.shape, &vec![0.0; s.shape.iter().product()]).expect("the sizes match");
            }
            let mut program = session.compile(self.b.g, &[self.loss]).expect("the graph compiles");
            let mut losses = Vec::new();
            for t in 1..=10 {
                let rates = rule.rates(number(&golden, "lr"), t);
                let inputs = [inputs, &[("rates", Data::F32(&rates))]].concat();
                program.run(&mut session, &inputs).expect("the inputs fit");
                losses.push(f64::from(program.read_now(&session, self.loss).expect("an output")[0]));
            }
            for (i, (got, want)) in losses.iter().zip(golden.wide("losses")).enumerate() {
                let executor = session.executor();
                assert!((got - want).abs() < 1e-3 * want, "{name} on {executor}: step {i} has {got}, expected {want}");
            }
            assert!(losses[9] < 0.98 * losses[0], "{losses:?}");
        }
    }

    /// The product with a direction is the reference's, to 1e-4.
    fn bend(&self, what: &str, inputs: &[(&str, Data)]) {
        let (g, wrt) = (self.b.g, self.b.trained_values());
        let direction = |(i, &p): (usize, &Tensor<'g>)| {
            let shape = p.shape().expect("a parameter");
            g.literal(shape, &noise32(shape.iter().product(), i as u32))
        };
        let v: Vec<Tensor> = wrt.iter().enumerate().map(direction).collect();
        let product = g.jvp(&self.gradient, &wrt, &v).expect("every op has its rules");
        let sessions = [Session::reference(), Session::device(gpu(false)), Session::host()];
        let [truth, device, host] = sessions.map(|mut session| {
            fill(&mut session, &self.b.params);
            evaluate(&mut session, g, &product, inputs).concat()
        });
        for (name, got) in [("device", device), ("host", host)] {
            let off: f64 = got.iter().zip(&truth).map(|(a, b)| (a - b) * (a - b)).sum();
            let error = (off / dot(&truth, &truth)).sqrt();
            println!("{what} on the {name}: product {error:.1e} off the reference's");
            assert!(error < 1e-4, "{what} on the {name}: {error:e}");
        }
    }
}

const GPT2: &str = "gpt2:layers=2,heads=5,width=20,context=80";
const LLAMA: &str = "llama:layers=2,heads=6,kv-heads=2,width=24,hidden=36,context=80,theta=500";
const LINEAR: &str = "llama:layers=2,heads=6,kv-heads=2,width=48,hidden=36,context=80,theta=500,stretch=2.5";
const LLAMA3: &str =
    "llama:layers=2,heads=6,kv-heads=2,width=48,hidden=36,context=80,theta=500,stretch=8,original=64,low=1,high=4";
const LSTM: &str = "lstm:layers=2,width=20";
const VIT: &str = "vit:layers=2,heads=5,width=20,hidden=28";

#[test]
fn language_models_are_pytorchs() {
    let stretched = [("llama_linear", LINEAR), ("llama_llama3", LLAMA3)];
    for (name, spec) in [("gpt2", GPT2), ("llama", LLAMA), ("lstm", LSTM)].into_iter().chain(stretched) {
        let golden = Golden::read(name);
        let (n, t): (usize, usize) = (number(&golden, "n"), number(&golden, "t"));
        assert_eq!(number::<usize>(&golden, "vocab"), VOCAB);
        let all = tokens(n * (t + 1), VOCAB);
        let part = |from: usize| all.chunks(t + 1).flat_map(|row| row[from..from + t].to_vec()).collect::<Vec<u32>>();
        let (x, y) = (part(0), part(1));
        let inputs = [("tokens", Data::U32(&x)), ("labels", Data::U32(&y))];
        let g = Graph::new();
        let model = Model::of_tokens(&g, spec, n, t);
        model.check(name, &inputs);
        model.bend(name, &inputs);
        // Last, since the graph then moves the parameters.
        model.descend(name, &inputs);
    }
}

#[test]
fn the_vision_transformer_is_hugging_faces() {
    let first = chirp("images", 5 * 3 * 144, false);
    // Channels first to last.
    let x: Vec<f32> = (0..first.len()).map(|i| 4.0 * first[i / 432 * 432 + i % 3 * 144 + i / 3 % 144]).collect();
    let labels = tokens(5, 7);
    let inputs = [("images", Data::F32(&x)), ("labels", Data::U32(&labels))];
    let g = Graph::new();
    let model = Model::of_images(&g, VIT, [5, 12, 12, 3], 7);
    model.check("vit", &inputs);
    model.bend("vit", &inputs);
}

/// 64 tokens, the likeliest each time, as Hugging Face's models choose them; with a cache and without.
#[test]
fn greedy_texts_are_hugging_faces() {
    for (name, spec) in [("gpt2", GPT2), ("llama", LLAMA)] {
        let golden = Golden::read(&format!("{name}_greedy"));
        let want: Vec<u32> = golden.wide("ids").iter().map(|&id| id as u32).collect();
        let prompt = number(&golden, "prompt");
        assert_eq!((want.len(), &want[..prompt]), (prompt + 64, &tokens(prompt, VOCAB)[..]));
        let network = Network::parse(spec).expect("known");
        let greedy = Sampling { temperature: 0.0, top_k: None, top_p: 1.0, seed: 0 };
        for (on_device, cached) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut session = if on_device { Session::device(gpu(false)) } else { Session::host() };
            fill(&mut session, &Generator::params(&network, VOCAB).expect("tokens"));
            let executor = session.executor();
            let mut generator = Generator::new(network.clone(), VOCAB, session, cached).expect("tokens");
            generator.push(&want[..prompt]).expect("tokens");
            while generator.tokens().len() < want.len() {
                let logits = block_on(generator.logits()).expect("logits");
                generator.push(&[greedy.choose(&logits, 0)]).expect("a token");
            }
            assert_eq!(generator.tokens(), want, "{name} on {executor}, cache {cached}");
        }
    }
}

/// What lies behind a sequence's length, or behind a query, changes nothing before it, and its gradient is 0.
#[test]
fn masked_keys_do_not_count() {
    let (n, t, heads, d) = (2, 5, 2, 3);
    let lengths = [3, 5];
    for causal in [false, true] {
        let g = Graph::new();
        let qkv = ["q", "k", "v"].map(|name| g.input(name, &[n, t, heads, d]));
        let l = g.input_u32("lengths", &[n]);
        let attended = Builder::new(&g, Mode::Eval).attention(qkv, causal, Some(l)).expect("heads that fit");
        let y = attended.slice(1, 2, 1);
        let row = (y * y).sum_all();
        let gradient = row.grad(&qkv[1..]).expect("every op has its rules");
        let drawn = [1, 2, 3].map(|s| noise32(n * t * heads * d, s));
        let run = |session: &mut Session, change: Option<(usize, usize)>| {
            let mut x = drawn.clone();
            if let Some((i, j)) = change {
                let at = (i * t + j) * heads * d;
                x[1..].iter_mut().for_each(|x| x[at..at + heads * d].fill(9.0));
            }
            let floats = qkv.iter().zip(&x).map(|(&value, x)| (value, Data::F32(x)));
            let inputs: Vec<_> = floats.chain([(l, Data::U32(&lengths))]).collect();
            evaluate(session, &g, &[&[row], &gradient[..]].concat(), &inputs)
        };
        for mut session in [Session::device(gpu(false)), Session::host(), Session::reference()] {
            let want = run(&mut session, None);
            for (i, j) in (0..n).flat_map(|i| (0..t).map(move |j| (i, j))) {
                let seen = j < lengths[i] as usize && (!causal || j <= 2);
                let got = run(&mut session, Some((i, j)));
                assert_eq!(got[0] != want[0], seen, "key {j} of sequence {i}, causal {causal}");
                let own = (i * t + j) * heads * d..(i * t + j + 1) * heads * d;
                let moved = want[1..].iter().any(|ct| ct[own.clone()].iter().any(|&v| v != 0.0));
                assert_eq!(moved, seen, "gradient of key {j} of sequence {i}, causal {causal}");
            }
        }
    }
}

/// What is written is, element by element, what PyTorch has under the name.
#[test]
fn files_have_pytorchs_layouts() {
    let g = Graph::new();
    let images = Model::of_images(&g, VIT, [5, 12, 12, 3], 7).b.params;
    let texts = [GPT2, LLAMA, LSTM]
        .map(|spec| Generator::params(&Network::parse(spec).expect("known"), VOCAB).expect("tokens"));
    for params in texts.into_iter().chain([images]) {
        let mut session = Session::host();
        fill(&mut session, &params);
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("model.safetensors");
        let state = |p: &Param| {
            let data = block_on(session.get(&p.name)).expect("a parameter");
            (p.name.clone(), (p.shape.clone(), data))
        };
        export(&path, &params, &params.iter().map(state).collect(), "").expect("written");
        let bytes = std::fs::read(&path).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("a whole file");
        assert_eq!(file.len(), params.len());
        for p in &params {
            let view = file.tensor(&p.name).expect("a tensor for each parameter");
            let shape: Vec<usize> = match (stored(p), &p.shape[..]) {
                (Stored::Transposed, &[ins, outs]) => vec![outs, ins],
                (Stored::Filter, &[kh, kw, ci, co]) => vec![co, ci, kh, kw],
                _ => p.shape.clone(),
            };
            let got: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            assert_eq!(
                (view.shape(), got),
                (&shape[..], chirp(&p.name, shape.iter().product(), is_gain(p))),
                "{}",
                p.name
            );
        }
    }
}
