//! Reference values in `tests/golden/`, and the executors that are held to them.

use std::collections::HashMap;

use hillshade::engine::Session;
use safetensors::SafeTensors;

use crate::common::{gpu, root};

/// The bytes of a file of reference values, in the folder of the tests that run.
pub fn bytes(name: &str) -> Vec<u8> {
    let path = root().join(format!("tests/golden/{name}.safetensors"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A file of reference values.
pub struct Golden {
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    pub settings: HashMap<String, String>,
}

/// The bound on the reference.
const REFERENCE: f64 = 2e-7;

impl Golden {
    pub fn read(name: &str) -> Self {
        let bytes = bytes(name);
        let file = SafeTensors::deserialize(&bytes).expect("a whole file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let tensors = file.iter().map(|(name, view)| {
            let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            (name.to_string(), (view.shape().to_vec(), floats.collect()))
        });
        Golden { tensors: tensors.collect(), settings: header.metadata().clone().unwrap_or_default() }
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys()
    }

    pub fn get(&self, name: &str) -> &[f32] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    pub fn wide(&self, name: &str) -> Vec<f64> {
        self.get(name).iter().map(|&v| v.into()).collect()
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).0
    }

    /// `key=value` pairs.
    pub fn settings(&self, name: &str) -> HashMap<&str, &str> {
        let text = self.settings.get(name).unwrap_or_else(|| panic!("no settings {name}"));
        text.split_whitespace().map(|pair| pair.split_once('=').expect("key=value")).collect()
    }
}

/// Calls `f` with each executor and what makes its bound from that in f32.
pub fn each_executor(mut f: impl FnMut(&str, &mut Session, &dyn Fn(f64) -> f64)) {
    let (single, wide) = (|tolerance: f64| tolerance, |_: f64| REFERENCE);
    f("device", &mut Session::device(gpu(false)), &single);
    f("host", &mut Session::host(), &single);
    f("reference", &mut Session::reference(), &wide);
}
