//! Products of a curvature matrix on one micro-batch: a graph, and programs for one direction and for several.

use std::collections::HashMap;

use hillshade_engine::{Graph, Named, Program, Session, Var};

use crate::error::*;
use crate::operator::{micro_batches::*, vectors::*};

/// The graph of one product `[n]`, from the direction in the input block, and its programs by the number of directions.
#[derive(Debug)]
pub(crate) struct Product {
    graph: Graph,
    product: Var,
    n: usize,
    /// Samples of all micro-batches.
    count: usize,
    /// The beginning of the names of what it waits for.
    prefix: String,
    /// By the number of directions, with what they wait for.
    pub programs: HashMap<usize, (Program, Reduction)>,
}

impl Product {
    pub fn new(graph: Graph, product: Var, [n, count]: [usize; 2], prefix: String) -> Self {
        Product { graph, product, n, count, prefix, programs: HashMap::new() }
    }

    /// The products with `k` directions, `[k, n]`, and the cross-batch means that they wait for.
    fn stacked(&self, k: usize) -> Result<Reduction> {
        let (g, n) = (&self.graph.clone(), self.n);
        let one = g.tensor(self.product);
        let all = match state_named(g, &input(n, 1)) {
            Some(_) if k == 1 => one,
            Some(direction) => {
                let rows = g.state(&input(n, k), &[k, n]).reshape(&[k, 1, n]);
                g.vmap(&[one], &[direction], &[rows])?[0]
            }
            None => one.broadcast(&[k, n]),
        };
        Reduction::new(g, &[all.reshape(&[k, n])], None, self.count, &format!("{}/{k}", self.prefix))
    }

    /// Bytes that it takes for `k` directions.
    pub fn bytes(&self, session: &Session, k: usize) -> Result<u64> {
        let reduction = self.stacked(k)?;
        Ok(own_bytes(session, &reduction.last(0, &output(self.n, k)))? + reduction.bytes(session)?)
    }

    /// For a micro-batch that keeps what it needs from pass to pass, in states named `prefix/…`.
    pub fn chain(&self, k: usize, prefix: &str) -> Result<Chain> {
        self.stacked(k)?.chain(prefix, &output(self.n, k))
    }

    /// The program that adds the products with `k` directions to the output block, as the share of all samples.
    pub fn program(&mut self, session: &mut Session, k: usize) -> Result<&mut Program> {
        if !self.programs.contains_key(&k) {
            let reduction = self.stacked(k)?;
            reserve(session, &reduction.means)?;
            let program = session.compile(&reduction.last(0, &output(self.n, k)), &[])?;
            self.programs.insert(k, (program, reduction));
        }
        Ok(&mut self.programs.get_mut(&k).expect("it was made if it was not there").0)
    }

    /// Linearized, by states named `prefix/…`: what computes them, they themselves, and the product from them.
    pub fn split(&self, prefix: &str) -> Result<(Graph, Vec<Named>, Product)> {
        let g = &self.graph;
        let direction: Vec<_> = state_named(g, &input(self.n, 1)).into_iter().collect();
        let split = g.partial_eval(&[], &[g.tensor(self.product)], &direction, prefix)?;
        let after = Product::new(split.after, split.varying[0], [self.n, self.count], String::new());
        Ok((split.before, split.kept, after))
    }
}
