//! What a family of networks is: a row of the table, and how one of its networks is built.

use std::{fmt, sync::Arc};

use hillshade_engine::Tensor;

use crate::{error::*, networks::options::*, nn::Builder};

/// What a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Images `[n, h, w, c]`, f32; it gives `[n, classes]`.
    Images,
    /// Tokens `[n, t]`, u32; it gives `[n, t, vocabulary]`.
    Tokens,
}

/// What a network's outputs are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Logits, of which the label's is to be the largest.
    Labels,
    /// The network's own input, `[n, h·w·c]`.
    Input,
}

/// Networks that differ in size and options: a row of the table.
#[derive(Debug)]
pub struct Family {
    /// Its names, as they are listed.
    pub names: &'static [&'static str],
    /// What it is, in one line.
    pub about: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// What its networks take.
    pub takes: Takes,
    /// Height, width and channels of the images that it is from, or for a network of tokens how many it takes first.
    pub size: [usize; 3],
    /// Their classes, or the tokens that there are.
    pub classes: usize,
    /// Whether a name is one of its that is not listed.
    pub(crate) has: fn(&str) -> bool,
    /// Its options.
    pub settings: fn() -> Vec<Setting>,
    /// The network of a name with these options.
    pub(crate) make: fn(&str, &Values) -> Result<Arc<dyn Architecture>>,
}

impl Family {
    /// The row of a network by options alone, for images of handwritten digits where nothing else is said.
    pub(crate) const fn of<T: Options + Architecture + 'static>() -> Self {
        Family {
            names: &[],
            about: "",
            source: "",
            takes: Takes::Images,
            size: [28, 28, 1],
            classes: 10,
            has: |_| false,
            settings: T::settings,
            make: |_, values| Ok(Arc::new(T::read(values)?)),
        }
    }
}

/// A network whose options are set.
pub(crate) trait Architecture: fmt::Debug + Send + Sync {
    /// Adds it to a graph.
    fn build<'g>(&self, b: &mut Builder<'g>, x: Tensor<'g>, classes: usize) -> Result<Tensor<'g>>;

    /// For one that takes tokens: of how many the sequences are that it is trained on, and at most continues.
    fn context(&self) -> Option<usize> {
        None
    }

    /// What its outputs are to be.
    fn goal(&self) -> Goal {
        Goal::Labels
    }
}

/// The tokens of a table: those of the data, or more where that is asked for.
pub(crate) fn vocabulary(asked: Option<usize>, needed: usize) -> Result<usize> {
    match asked {
        Some(count) if count < needed => {
            Err(Error::argument("vocab", format!("{needed} or more, the tokens of the data"), count))
        }
        asked => Ok(asked.unwrap_or(needed)),
    }
}
