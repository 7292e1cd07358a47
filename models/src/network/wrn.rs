//! Wide residual networks.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Family, Setting, Takes};
use crate::{Builder, Init, Norm, Result};

pub(super) const FAMILY: Family = Family {
    names: &["wrn16-4", "wrn28-10", "wrn40-4"],
    about: "residual networks of depth 6n + 4, K times as wide, normalized before their convolutions: wrnDEPTH-K",
    source: "Zagoruyko and Komodakis 2016",
    takes: Takes::Images,
    size: [32, 32, 3],
    classes: 10,
    has: |name| size(name).is_some(),
    settings: || {
        vec![
            Setting::choice::<Norm>("norm", "batch", "what comes before a convolution"),
            Setting::share("dropout", "0", "share of features dropped in training within blocks"),
            Setting::size("width", "16", "channels of the first convolution"),
        ]
    },
    make: |name, values| {
        let [blocks, wide] = size(name).unwrap_or_default();
        let (norm, dropout) = (values.choice("norm")?, values.share("dropout")?);
        Ok(Arc::new(WideResNet { blocks, wide, norm, dropout, width: values.size("width")? }))
    },
};

/// Blocks in each of the three stages, and how wide they are.
fn size(name: &str) -> Option<[usize; 2]> {
    let (depth, wide) = name.strip_prefix("wrn")?.split_once('-')?;
    let (depth, wide): (usize, usize) = (depth.parse().ok()?, wide.parse().ok()?);
    let blocks = depth.checked_sub(4)? / 6;
    (blocks > 0 && 6 * blocks + 4 == depth && wide > 0).then_some([blocks, wide])
}

/// A wide residual network; names and initial weights are those of the authors' PyTorch version.
#[derive(Debug)]
struct WideResNet {
    blocks: usize,
    wide: usize,
    norm: Norm,
    dropout: f32,
    width: usize,
}

impl Architecture for WideResNet {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        b.begin_convolutions(Init::KaimingNormalOut);
        let mut y = b.conv2d("conv1", x, self.width, 3, Conv::padded(1))?;
        for stage in 0..3 {
            let channels = (self.width * self.wide) << stage;
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("block{}.layer.{block}", stage + 1);
                y = b.scope(&name, |b| self.residual(b, y, channels, stride))?;
            }
        }
        let y = b.norm("bn1", self.norm, y)?;
        let y = b.g.relu(y)?;
        let y = b.g.global_avg_pool(y)?;
        let init = Init::Uniform { fan_in: b.g.shape(y)[1] };
        b.dense_from("fc", y, classes, [init, Init::Zeros])
    }
}

impl WideResNet {
    fn residual(&self, b: &mut Builder, x: Var, channels: usize, stride: usize) -> Result<Var> {
        let y = b.norm("bn1", self.norm, x)?;
        let ready = b.g.relu(y)?;
        let y = b.conv2d("conv1", ready, channels, 3, Conv::padded(1).strided(stride))?;
        let y = b.norm("bn2", self.norm, y)?;
        let y = b.g.relu(y)?;
        let y = b.dropout(y, self.dropout)?;
        let y = b.conv2d("conv2", y, channels, 3, Conv::padded(1))?;
        let shortcut = match b.g.shape(x)[3] == channels && stride == 1 {
            true => x,
            false => b.conv2d("convShortcut", ready, channels, 1, Conv::default().strided(stride))?,
        };
        Ok(b.g.add(y, shortcut)?)
    }
}
