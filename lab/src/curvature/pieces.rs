//! What an operator keeps for its samples: graphs and programs of products, and the names of states.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use hillshade_engine::{Graph, Plan, Program, Session, Var};

use crate::{
    Result,
    gradient::accumulate,
    operator::state_named,
    vectors::{input, output},
};

/// A number that no other operator has as long as this one lives: what operators keep on a session goes by it, so that one
/// does not write over what another reads. The next operator takes the place, and the memory, of one that is gone.
#[derive(Debug)]
pub struct Slot(pub usize);

static SLOTS: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

impl Slot {
    pub fn take() -> Self {
        let mut taken = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (0..).find(|slot| !taken.contains(slot)).unwrap_or_default();
        taken.insert(free);
        Slot(free)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Samples that pass through the network together.
#[derive(Debug)]
pub struct Piece {
    pub range: Range<usize>,
    /// Computes what products reuse.
    pub before: Option<Program>,
    /// The product from it.
    pub after: Option<Product>,
    /// For a Fisher matrix the gradients in the outputs at drawn targets, `[draws, n, c]`.
    pub drawn: Option<Vec<f32>>,
}

/// The graph of one product `[n]`, from the direction in the input block, and its programs by the number of directions.
#[derive(Debug)]
pub struct Product {
    pub graph: Graph,
    pub product: Var,
    pub programs: HashMap<usize, Program>,
}

/// Bytes of a plan that are its own.
pub fn own_bytes(plan: &Plan) -> u64 {
    let inputs: u64 = plan.inputs.iter().map(|n| n.ty.bytes() as u64).sum();
    plan.slot_bytes() + inputs + plan.literals.iter().map(|l| 4 * l.len() as u64).sum::<u64>()
}

impl Product {
    pub fn new(graph: Graph, product: Var) -> Self {
        Product { graph, product, programs: HashMap::new() }
    }

    /// The graph for `k` directions, which adds its products to the output block, as the share of `count` samples.
    pub fn graph_for(&self, n: usize, k: usize, count: usize) -> Result<Graph> {
        stacked(&self.graph, self.product, n, k, count)
    }

    /// The program of that graph.
    pub fn program(&mut self, session: &Session, n: usize, k: usize, count: usize) -> Result<&mut Program> {
        match self.programs.entry(k) {
            Entry::Occupied(e) => Ok(e.into_mut()),
            Entry::Vacant(e) => {
                let g = stacked(&self.graph, self.product, n, k, count)?;
                Ok(e.insert(session.compile(&g, &[])?))
            }
        }
    }
}

fn stacked(graph: &Graph, product: Var, n: usize, k: usize, count: usize) -> Result<Graph> {
    let mut g = graph.clone();
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
    accumulate(&mut g, &output(n, k), rows, count)?;
    Ok(g)
}
