//! Weights for elsewhere: safetensors files as PyTorch's `load_state_dict` takes them.

use std::{collections::BTreeMap, path::Path};

use crate::io::{checkpoint::*, torch_layout::*};
use crate::{error::*, nn::Param};

/// Writes the parameters and running statistics of a network, out of states by name, under PyTorch's names and in its
/// layouts: [`to_torch`]. The states may have others too; `prefix` comes before the names of those that are meant.
///
/// # Errors
///
/// [`Error::Format`] that names the states that are missing or of another shape, [`Error::Io`] when the disk refuses.
pub fn export(path: &Path, params: &[Param], states: &BTreeMap<String, Tensor>, prefix: &str) -> Result<()> {
    let mut values = Vec::new();
    for p in params {
        let name = format!("{prefix}{}", p.name);
        match states.get(&name) {
            Some((shape, data)) if *shape == p.shape => values.push(data.clone()),
            other => {
                let found = other.map_or("none".into(), |(shape, _)| format!("{shape:?}"));
                let expected = format!("a state \"{name}\" of shape {:?}", p.shape);
                return Err(Error::format(path, expected, found));
            }
        }
    }
    write_atomically(path, &serialize(path, &to_torch(params, &values), None)?)
}
