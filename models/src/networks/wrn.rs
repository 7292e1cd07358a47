//! Wide residual networks.

use std::sync::Arc;

use hillshade_engine::{Conv, Tensor};

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["wrn16-4", "wrn28-10", "wrn40-4"],
    about: "residual networks of depth 6n + 4, K times as wide, normalized before their convolutions: wrnDEPTH-K",
    source: "Zagoruyko and Komodakis 2016",
    takes: Takes::Images,
    size: [32, 32, 3],
    classes: 10,
    has: |name| size(name).is_some(),
    settings: Parts::settings,
    make: |name, values| {
        let [blocks, wide] = size(name).expect("a family makes the names that it has");
        Ok(Arc::new(WideResNet { blocks, wide, parts: Parts::read(values)? }))
    },
};

/// Blocks in each of the three stages, and how wide they are.
fn size(name: &str) -> Option<[usize; 2]> {
    let (depth, wide) = name.strip_prefix("wrn")?.split_once('-')?;
    let (depth, wide): (usize, usize) = (depth.parse().ok()?, wide.parse().ok()?);
    let blocks = depth.checked_sub(4)? / 6;
    (blocks > 0 && 6 * blocks + 4 == depth && wide > 0).then_some([blocks, wide])
}

options! {
    /// What it is made of.
    Parts {
        norm: Norm = "batch", "what comes before a convolution";
        dropout: f32 = "0", "share of features dropped in training within blocks";
        width: usize = "16", "channels of the first convolution";
    }
}

/// A wide residual network; names and initial weights are those of the authors' PyTorch version.
#[derive(Debug)]
struct WideResNet {
    blocks: usize,
    wide: usize,
    parts: Parts,
}

impl Architecture for WideResNet {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        b.begin_convolutions(Init::KaimingNormalOut);
        let Parts { norm, width, .. } = self.parts;
        let mut y = b.conv("conv1", x, width, 3, Conv::padded(1));
        for stage in 0..3 {
            let channels = (width * self.wide) << stage;
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("block{}.layer.{block}", stage + 1);
                y = b.scope(&name, |b| self.residual(b, y, channels, stride))?;
            }
        }
        let y = b.norm("bn1", norm, y).relu().global_avg_pool();
        let init = Init::Uniform { fan_in: features(y)? };
        Ok(b.dense_from("fc", y, classes, [init, Init::Zeros]))
    }
}

impl WideResNet {
    fn residual<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, channels: usize, stride: usize) -> Result<Tensor<'g>> {
        let Parts { norm, dropout, .. } = self.parts;
        let ready = b.norm("bn1", norm, x).relu();
        let y = b.conv("conv1", ready, channels, 3, Conv::padded(1).strided(stride));
        let y = b.norm("bn2", norm, y).relu();
        let y = b.dropout(y, dropout);
        let y = b.conv("conv2", y, channels, 3, Conv::padded(1));
        Ok(match features(x)? == channels && stride == 1 {
            true => y + x,
            false => y + b.conv("convShortcut", ready, channels, 1, Conv::default().strided(stride)),
        })
    }
}
