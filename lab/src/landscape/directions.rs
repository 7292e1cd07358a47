//! Directions in parameter space along which a loss is looked at.

use hillshade_engine::{Scope, Session, block_on};
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

use crate::operator::{box_muller, narrow, uniform};
use crate::{error::*, layout::*};

/// How long a random direction is, and in which parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// Each filter as long as the weights' own: `d_f ← d_f ‖w_f‖/(‖d_f‖ + 1e-10)`. A filter is what leads to one output: a
    /// column of the last axis of weights `[kh, kw, ci, co]` or `[in, out]`. Biases and the parameters of normalization,
    /// which have one axis, are zero (Li et al. 2018).
    #[default]
    Filter,
    /// The same with each whole array of weights in a filter's place.
    Layer,
    /// Standard normal in every parameter, biases too.
    Raw,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// What it is: `filter`, `gradient`, `eigenvector 1`, …
    pub kind: String,
    /// Seed, for one that is drawn.
    pub seed: Option<u64>,
    /// Its Euclidean norm: the distance in parameters of one unit along it.
    pub norm: f64,
    /// Its entries, in the order of the layout; not part of results.
    #[serde(skip)]
    pub vector: Vec<f64>,
}

/// Which share of a trajectory its plane holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Principal {
    /// For each direction its share of the sum of squared distances from the center.
    pub explained: Vec<f64>,
    /// The trajectory's points, as multiples of the directions.
    pub path: Vec<Vec<f64>>,
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Whether a number is positive and finite.
pub(crate) fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// The session's values of the parameters, as one vector.
pub fn parameters(session: &Session, layout: &[Block]) -> Result<Vec<f64>> {
    let mut all = Vec::with_capacity(dimension(layout));
    for block in layout {
        all.extend(block_on(session.get_wide(&block.name))?);
    }
    Ok(all)
}

/// Standard normal numbers of a seed, the same everywhere.
pub(crate) fn normal(n: usize, seed: u64, draw: u32) -> Vec<f64> {
    (0..n).map(|i| box_muller(uniform([i as u32, (i >> 32) as u32, draw], b"land", seed))).collect()
}

impl Direction {
    /// From entries, which are rounded to f32.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for entries that are not finite or are all zero.
    pub fn new(kind: &str, vector: &[f64]) -> Result<Self> {
        let vector: Vec<f64> = vector.iter().map(|&v| f64::from(v as f32)).collect();
        let norm = norm(&vector);
        refuse!(!positive(norm), &format!("direction {kind}"), "a finite vector that is not zero", norm);
        Ok(Direction { kind: kind.into(), seed: None, norm, vector })
    }

    /// The same at length 1.
    pub fn unit(kind: &str, vector: &[f64]) -> Result<Self> {
        let length = norm(vector);
        Direction::new(kind, &vector.iter().map(|v| v / length).collect::<Vec<_>>())
    }

    /// Random, scaled by the session's parameters; draw `draw` of a seed.
    ///
    /// # Errors
    ///
    /// Those of [`Direction::new`], as where all parameters to be scaled by are zero.
    pub fn random(session: &Session, layout: &[Block], scaling: Scaling, seed: u64, draw: u32) -> Result<Self> {
        let mut d = normal(dimension(layout), seed, draw);
        if scaling != Scaling::Raw {
            let weights = parameters(session, layout)?;
            for block in layout {
                let (own, w) = (&mut d[block.range.clone()], &weights[block.range.clone()]);
                let columns = match (&block.shape[..], scaling) {
                    ([] | [_], _) => {
                        own.fill(0.0);
                        0
                    }
                    ([.., columns], Scaling::Filter) => *columns,
                    _ => 1,
                };
                for c in 0..columns {
                    let length = |x: &[f64]| x.iter().skip(c).step_by(columns).map(|v| v * v).sum::<f64>().sqrt();
                    let factor = length(w) / (length(own) + 1e-10);
                    own.iter_mut().skip(c).step_by(columns).for_each(|d| *d *= factor);
                }
            }
        }
        let kind = ["filter", "layer", "raw"][scaling as usize];
        Direction::new(kind, &d).map(|d| Direction { seed: Some(seed), ..d })
    }

    /// A row of a block of the session at length 1: the gradient, an eigenvector in [`found`](crate::found).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] where the block has no such row, and those of [`Direction::new`].
    pub fn of_block(session: &Session, kind: &str, block: &str, row: usize) -> Result<Self> {
        let shape = session.shape_of(block);
        match shape.as_deref() {
            Some(&[rows, n]) if row < rows => {
                Direction::unit(kind, &block_on(session.get_wide(block))?[row * n..(row + 1) * n])
            }
            _ => {
                let found = shape.map_or("no such block".into(), |shape| format!("a block {shape:?}"));
                Err(argument(&format!("direction {kind}"), format!("row {row} of \"{block}\""), found))
            }
        }
    }

    /// `θ_B − θ`, from the session's parameters to others: 0 is here and 1 is there (Goodfellow et al. 2015). Running
    /// statistics of batch normalization stay the session's: what is measured there with frozen ones is not the loss of the
    /// other network; with other [`Statistics`](crate::Statistics) it is.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for parameters of another number or for the same ones.
    pub fn towards(session: &Session, layout: &[Block], other: &[f64]) -> Result<Self> {
        let own = parameters(session, layout)?;
        refuse!(other.len() != own.len(), "other parameters", format!("{} of them", own.len()), other.len());
        Direction::new("interpolation", &other.iter().zip(&own).map(|(b, a)| b - a).collect::<Vec<_>>())
    }

    /// The `k` principal directions of a trajectory around the session's parameters `θ`: the right singular vectors of
    /// `M = [θ₁ − θ; …; θₘ − θ]`, from those of the small matrix `M Mᵀ`, at length 1 (Li et al. 2018). Nothing is
    /// centered but at `θ`, so that the plane goes through it.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for vectors of another length, or that span less than `k` directions.
    pub fn principal(
        session: &Session, layout: &[Block], trajectory: &[Vec<f64>], k: usize,
    ) -> Result<(Vec<Self>, Principal)> {
        let own = parameters(session, layout)?;
        if let Some(other) = trajectory.iter().find(|v| v.len() != own.len()) {
            return Err(argument("trajectory", format!("vectors of {}", own.len()), other.len()));
        }
        let rows: Vec<Vec<f64>> = trajectory.iter().map(|v| v.iter().zip(&own).map(|(v, o)| v - o).collect()).collect();
        let m = rows.len();
        let gram = DMatrix::from_fn(m, m, |i, j| dot(&rows[i], &rows[j]));
        let fits = m >= k && k > 0 && gram.iter().all(|v| v.is_finite());
        refuse!(!fits, "trajectory", format!("{} or more finite points", k.max(1)), m);
        let total = gram.trace();
        let svd = gram.svd(true, false);
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|&a, &b| svd.singular_values[b].total_cmp(&svd.singular_values[a]));
        let rank = order.iter().filter(|&&i| svd.singular_values[i] > 1e-12 * total).count();
        let (Some(u), true) = (&svd.u, rank >= k) else {
            return Err(argument("trajectory", format!("one that spans {k} directions"), rank));
        };
        let mut directions = Vec::new();
        for (number, &i) in order[..k].iter().enumerate() {
            let mut v = vec![0.0; own.len()];
            for (row, c) in rows.iter().zip(u.column(i).iter()) {
                v.iter_mut().zip(row).for_each(|(v, r)| *v += c * r);
            }
            directions.push(Direction::unit(&format!("principal {}", number + 1), &v)?);
        }
        let explained = order[..k].iter().map(|&i| svd.singular_values[i] / total).collect();
        let along = |row: &Vec<f64>| directions.iter().map(|d| dot(&d.vector, row)).collect();
        let path = rows.iter().map(along).collect();
        Ok((directions, Principal { explained, path }))
    }
}

/// Directions on a session, in a block `[k, n]` that goes with them.
#[derive(Debug)]
pub struct Directions {
    _scope: Scope,
    block: String,
    list: Vec<Direction>,
    cosine: Option<f64>,
}

impl Directions {
    /// Puts directions into a block of the session. Of two, the second is made orthogonal to the first.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for none, for vectors of another length than the layout's, and for two that are parallel.
    pub fn new(session: &mut Session, layout: &[Block], mut list: Vec<Direction>) -> Result<Self> {
        let (k, n) = (list.len(), dimension(layout));
        refuse!(k == 0, "directions", "one or more", 0);
        if let Some(d) = list.iter().find(|d| d.vector.len() != n) {
            return Err(argument(&format!("direction {}", d.kind), format!("{n} entries"), d.vector.len()));
        }
        let mut cosine = None;
        if let [first, second] = &mut list[..] {
            let along = dot(&first.vector, &second.vector) / (first.norm * first.norm);
            let found = along * first.norm / second.norm;
            let parallel = 1.0 - found.abs() < 1e-9;
            refuse!(parallel, "directions", "two that are not parallel", format!("a cosine of {found:.3}"));
            let rest: Vec<f64> = second.vector.iter().zip(&first.vector).map(|(b, a)| b - along * a).collect();
            *second = Direction { seed: second.seed, ..Direction::new(&second.kind, &rest)? };
            cosine = Some(found);
        }
        let scope = session.scope();
        let block = scope.name("directions");
        session.set(&block, &[k, n], &list.iter().flat_map(|d| narrow(&d.vector)).collect::<Vec<_>>())?;
        Ok(Directions { _scope: scope, block, list, cosine })
    }

    /// The name of the block.
    pub fn block(&self) -> &str {
        &self.block
    }

    /// The directions as they are in the block.
    pub fn list(&self) -> &[Direction] {
        &self.list
    }

    /// Of two directions the cosine between them, before the second was made orthogonal to the first.
    pub fn cosine(&self) -> Option<f64> {
        self.cosine
    }
}
