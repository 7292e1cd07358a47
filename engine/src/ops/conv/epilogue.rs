//! The epilogue of convolutions on devices.

use crate::launch::launch::{Bind, Launch, word};

/// The operands, by number, of what results end with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Endings {
    pub residual: Option<usize>,
    pub gate: Option<usize>,
    pub relu: bool,
}

impl Endings {
    /// The launch that does this to results which other launches have written, of members of `len` elements, if there is
    /// anything to do.
    pub(crate) fn launch(&self, [len, members]: [usize; 2]) -> Option<Launch> {
        let any = self.residual.or(self.gate).or(self.relu.then_some(0))?;
        let launch = Launch::new("ends", (len * members).div_ceil(256))
            .constant("RESIDUAL", self.residual.is_some())
            .constant("GATE", self.gate.is_some())
            .constant("RELU", self.relu)
            .params([len * members, len].map(word));
        let [residual, gate] = [self.residual, self.gate].map(|i| Bind::In(i.unwrap_or(any)));
        Some(launch.bind([residual, gate, Bind::Out(0)]))
    }
}
