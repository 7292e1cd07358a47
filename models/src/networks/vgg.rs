//! VGG: deep stacks of 3×3 convolutions.

use std::sync::Arc;

use hillshade_engine::{Conv, Tensor};

use crate::networks::{family::*, options::*};
use crate::{error::*, nn::*};

pub(crate) const FAMILY: Family = Family {
    names: &["vgg11", "vgg13", "vgg16", "vgg19"],
    about: "stacks of 3×3 convolutions with max pooling between them, then dense layers; names as torchvision's",
    source: "Simonyan and Zisserman 2015, table 1, columns A, B, D, E",
    takes: Takes::Images,
    size: [224, 224, 3],
    classes: 1000,
    has: |_| false,
    settings: Parts::settings,
    make: |name, values| {
        let stages = stages(name).expect("the family's names are those with stages");
        Ok(Arc::new(Vgg { stages, parts: Parts::read(values)? }))
    },
};

/// Convolutions in each of the five stages.
fn stages(name: &str) -> Option<[usize; 5]> {
    match name {
        "vgg11" => Some([1, 1, 2, 2, 2]),
        "vgg13" => Some([2, 2, 2, 2, 2]),
        "vgg16" => Some([2, 2, 3, 3, 3]),
        "vgg19" => Some([2, 2, 4, 4, 4]),
        _ => None,
    }
}

choices! {
    /// What comes after the convolutions.
    Head { Auto = "auto", ImageNet = "imagenet", Cifar = "cifar", }
}

options! {
    /// What it is made of.
    Parts {
        norm: Norm = "none", "what follows a convolution beside its bias";
        head: Head = "auto", "three dense layers, or one; auto is one below 64 pixels";
        dropout: f32 = "0.5", "share of features dropped in training between three dense layers";
        width: usize = "64", "channels of the first stage; 2, 4, 8, 8 times as many follow";
        hidden: usize = "4096", "features between three dense layers";
    }
}

/// VGG, with torchvision's initializers.
#[derive(Debug)]
struct Vgg {
    stages: [usize; 5],
    parts: Parts,
}

impl Architecture for Vgg {
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>> {
        let Parts { norm, head, dropout, width, hidden } = self.parts;
        b.begin_convolutions(Init::KaimingNormalOut);
        let large = x.shape()?[1] >= 64;
        // torchvision counts every layer, those without parameters too.
        let (mut y, mut place) = (x, 0);
        for (convolutions, times) in self.stages.into_iter().zip([1, 2, 4, 8, 8]) {
            for _ in 0..convolutions {
                y = b.conv_bias(&format!("features.{place}"), y, times * width, 3, Conv::padded(1));
                if norm != Norm::None {
                    place += 1;
                    y = b.norm(&format!("features.{place}"), norm, y);
                }
                y = y.relu();
                place += 2;
            }
            y = b.max_pool(y, 2);
            place += 1;
        }
        y = b.flatten(y);
        let init = [Init::Normal { std: 0.01 }, Init::Zeros];
        if head == Head::Cifar || head == Head::Auto && !large {
            return Ok(b.dense_from("classifier", y, classes, init));
        }
        for name in ["classifier.0", "classifier.3"] {
            y = b.dense_from(name, y, hidden, init).relu();
            y = b.dropout(y, dropout);
        }
        Ok(b.dense_from("classifier.6", y, classes, init))
    }
}
