//! What an operator keeps for its samples: graphs and programs of products, and the names of states.

use std::{collections::HashMap, ops::Range};

use hillshade_engine::{Graph, Plan, Program, Session, Var};

use crate::{
    Result,
    error::argument,
    gradient::accumulate,
    operator::state_named,
    passes::{Chain, Cut, Fed, own_bytes},
    vectors::{input, output},
};

/// Samples that pass through the network together.
#[derive(Debug)]
pub struct Piece {
    pub range: Range<usize>,
    /// For a Fisher matrix the gradients in the outputs at drawn targets, `[draws, n, c]`.
    pub drawn: Option<Vec<f32>>,
}

impl Piece {
    pub fn fed(&self) -> Fed<'_> {
        (self.range.clone(), self.drawn.as_deref())
    }
}

/// A product's linearization on a piece of the samples.
#[derive(Debug)]
pub struct Linear {
    /// Computes what products reuse.
    pub before: Program,
    /// The product from it.
    pub after: Product,
}

/// The graph of one product `[n]`, from the direction in the input block, and its programs by the number of directions.
#[derive(Debug)]
pub struct Product {
    pub graph: Graph,
    pub product: Var,
    /// The beginning of the names of what it waits for.
    prefix: String,
    programs: HashMap<usize, (Program, Cut)>,
}

impl Product {
    pub fn new(graph: Graph, product: Var, prefix: String) -> Self {
        Product { graph, product, prefix, programs: HashMap::new() }
    }

    /// Bytes that it takes for `k` directions.
    pub fn bytes(&self, n: usize, k: usize, count: usize) -> Result<u64> {
        let (g, cut) = stacked(self, n, k, count)?;
        Ok(own_bytes(&Plan::new(&g, &[], true)?) + cut.bytes()?)
    }

    /// The same for a micro-batch that keeps what it needs from pass to pass, in states named `name/…`.
    pub fn chain(&self, n: usize, k: usize, count: usize, name: &str) -> Result<Chain> {
        let mut chain = stacked(self, n, k, count)?.1.chain(name)?;
        if let (Some(last), Some(&rows)) = (chain.graphs.last_mut(), chain.values.first()) {
            accumulate(last, &output(n, k), rows, count)?;
        }
        Ok(chain)
    }

    /// The program of that graph.
    pub fn program(&mut self, session: &mut Session, n: usize, k: usize, count: usize) -> Result<&mut Program> {
        if !self.programs.contains_key(&k) {
            let (g, cut) = stacked(self, n, k, count)?;
            cut.reserve(session)?;
            self.programs.insert(k, (session.compile(&g, &[])?, cut));
        }
        let made = self.programs.get_mut(&k).map(|(program, _)| program);
        made.ok_or_else(|| argument("directions", "a number that was compiled for", k))
    }

    /// What the program for `k` directions waits for.
    pub fn cut(&self, k: usize) -> Option<&Cut> {
        self.programs.get(&k).map(|(_, cut)| cut)
    }

    /// The programs so far.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.values().map(|(program, _)| program)
    }
}

/// The graph for `k` directions, which adds its products to the output block, as the share of `count` samples; and the means
/// over all micro-batches that it waits for.
fn stacked(product: &Product, n: usize, k: usize, count: usize) -> Result<(Graph, Cut)> {
    let Product { graph, product, prefix, .. } = product;
    let (mut g, product) = (graph.clone(), *product);
    let product = match state_named(&g, &input(n, 1)) {
        Some(_) if k == 1 => product,
        Some(one) => {
            let all = g.state(&input(n, k), &[k, n])?;
            let rows = g.reshape(all, &[k, 1, n])?;
            g.batch(&[product], &[one], &[rows])?[0]
        }
        None => g.broadcast(product, &[k, n])?,
    };
    let rows = g.reshape(product, &[k, n])?;
    let cut = Cut::new(&g, &[rows], None, count, &format!("{prefix}/{k}"))?;
    let mut g = cut.graph.clone();
    accumulate(&mut g, &output(n, k), cut.values[0], count)?;
    Ok((g, cut))
}
