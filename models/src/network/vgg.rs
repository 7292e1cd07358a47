//! Deep stacks of 3×3 convolutions.

use std::sync::Arc;

use hillshade_engine::{Conv, Var};

use super::{Architecture, Choice, Family, Setting, Takes};
use crate::{Builder, Init, Norm, Result};

pub(super) const FAMILY: Family = Family {
    names: &["vgg11", "vgg13", "vgg16", "vgg19"],
    about: "stacks of 3×3 convolutions with max pooling between them, then dense layers; names as torchvision's",
    source: "Simonyan and Zisserman 2015, table 1, columns A, B, D, E",
    takes: Takes::Images,
    size: [224, 224, 3],
    classes: 1000,
    has: |name| stages(name).is_some(),
    settings: || {
        vec![
            Setting::choice::<Norm>("norm", "none", "what follows a convolution beside its bias"),
            Setting::choice::<Head>("head", "auto", "three dense layers, or one; auto is one below 64 pixels"),
            Setting::share("dropout", "0.5", "share of features dropped in training between three dense layers"),
            Setting::size("width", "64", "channels of the first stage; 2, 4, 8, 8 times as many follow"),
            Setting::size("hidden", "4096", "features between three dense layers"),
        ]
    },
    make: |name, values| {
        Ok(Arc::new(Vgg {
            stages: stages(name).unwrap_or_default(),
            norm: values.choice("norm")?,
            head: values.choice("head")?,
            dropout: values.share("dropout")?,
            width: values.size("width")?,
            hidden: values.size("hidden")?,
        }))
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

/// What comes after the convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Auto,
    ImageNet,
    Cifar,
}

impl Choice for Head {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Head::Auto), ("imagenet", Head::ImageNet), ("cifar", Head::Cifar)];
}

/// VGG, with weights that begin as torchvision's.
#[derive(Debug)]
struct Vgg {
    stages: [usize; 5],
    norm: Norm,
    head: Head,
    dropout: f32,
    width: usize,
    hidden: usize,
}

impl Architecture for Vgg {
    fn build(&self, b: &mut Builder, x: Var, classes: usize) -> Result<Var> {
        b.begin_convolutions(Init::KaimingNormalOut);
        let large = b.g.shape(x)[1] >= 64;
        // torchvision counts every layer, those without parameters too.
        let (mut y, mut place) = (x, 0);
        for (convolutions, times) in self.stages.into_iter().zip([1, 2, 4, 8, 8]) {
            for _ in 0..convolutions {
                y = b.conv2d_bias(&format!("features.{place}"), y, times * self.width, 3, Conv::padded(1))?;
                if self.norm != Norm::None {
                    place += 1;
                    y = b.norm(&format!("features.{place}"), self.norm, y)?;
                }
                y = b.g.relu(y)?;
                place += 2;
            }
            y = b.max_pool(y, 2)?;
            place += 1;
        }
        y = b.flatten(y)?;
        let init = [Init::Normal { std: 0.01 }, Init::Zeros];
        if self.head == Head::Cifar || self.head == Head::Auto && !large {
            return b.dense_from("classifier", y, classes, init);
        }
        for name in ["classifier.0", "classifier.3"] {
            y = b.dense_from(name, y, self.hidden, init)?;
            y = b.g.relu(y)?;
            y = b.dropout(y, self.dropout)?;
        }
        b.dense_from("classifier.6", y, classes, init)
    }
}
