//! What an operator's products keep in memory, and how many directions go at once.

use std::collections::BTreeMap;

use hillshade_engine::{Graph, Program, Scope, Session};

use crate::operator::{matrix::*, micro_batches::*, product::*, vectors::*};
use crate::{error::*, layout::*, problem::*};

/// How an operator is built.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Statistics of batch normalization.
    pub batch_norm: BatchNorm,
    /// Samples at once. In evaluation mode 128 by default; with the statistics of all samples all of them, if they fit,
    /// else 128, layer by layer. Batches of a size go as they are.
    pub micro_batch: Option<usize>,
    /// Parameters whose names begin with one of these; all where there are none.
    pub blocks: Vec<String>,
    /// `λ` of a term `λ/2 ‖w‖²` over the parameters on which decay acts; 0 leaves it out.
    pub weight_decay: f64,
    /// Whether to keep a linearization for warm products; by default where it fits. Layer by layer there is none, and what
    /// is kept instead is what one pass of a product needs of another, which is otherwise computed again.
    pub linearize: Option<bool>,
    /// The most directions at once; by default as many of 16 as fit.
    pub width: Option<usize>,
    /// Bytes that may be used; by default what the session says.
    pub memory: Option<u64>,
    /// Seed of the targets that a Fisher matrix draws.
    pub seed: u64,
}

/// The programs of an operator, and the samples that they pass.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub layout: Vec<Block>,
    pub batches: Vec<MicroBatch>,
    /// For each micro-batch what computes a linearization and the product from it, where those are kept.
    pub kept: Vec<(Program, Product)>,
    /// By the size of a micro-batch the graph of one product, where no linearization is kept.
    pub whole: BTreeMap<usize, Product>,
    /// The cross-batch means that are the same for all those products.
    pub reductions: BTreeMap<usize, Reduction>,
    /// By the number of directions a chain for each micro-batch, where those keep what they need from pass to pass.
    pub chains: BTreeMap<usize, Vec<Chain>>,
    chained: bool,
    /// The most directions at once.
    pub width: usize,
    pub scope: Scope,
}

/// For `size` samples one product `[n]`, and the cross-batch means that do not depend on the direction, in states `prefix/…`.
fn reduced(problem: &Problem, matrix: Matrix, options: &Options, size: usize, prefix: &str) -> Result<Reduction> {
    let g = &Graph::new();
    let (_, parts, params) = problem.graph(g, options.batch_norm, size, &options.blocks)?;
    let n = dimension(&layout(&params));
    let direction = g.state(&input(n, 1), &[1, n]);
    let v = unflatten(direction.reshape(&[n]), params.iter().map(|p| &p.shape[..]));
    let wrt: Vec<_> = params.iter().map(|p| p.value(g)).collect();
    let mut product = product(matrix, parts.losses.mean_all(), parts, problem.targets, [&wrt, &v])?;
    for ((p, &v), own) in params.iter().zip(&v).zip(&mut product) {
        if options.weight_decay != 0.0 && p.decayed {
            *own = *own + v * options.weight_decay;
        }
    }
    Reduction::new(g, &[flatten(g, &product)], Some(direction), problem.samples.count(), prefix)
}

impl Prepared {
    /// Decides what is kept and how many directions go at once, and compiles.
    pub fn new(session: &mut Session, problem: &Problem, matrix: Matrix, options: &Options) -> Result<Self> {
        let layout = problem.layout(&options.blocks)?;
        let batches = problem.micro_batches(options.batch_norm, options.micro_batch)?;
        let (memory, scope, sizes) = (options.memory.or(session.memory()), session.scope(), sizes(&batches));
        let (shape, prefix) = ([dimension(&layout), problem.samples.count()], scope.name("means"));
        let (mut cold, mut warm, mut waits) = (0, 0, false);
        let (mut whole, mut reductions) = (BTreeMap::new(), BTreeMap::new());
        for &size in &sizes {
            let reduction = reduced(problem, matrix, options, size, &prefix)?;
            let one = Product::new(reduction.graph.clone(), reduction.values[0], shape, prefix.clone());
            cold = cold.max(one.bytes(session, 1)?);
            let of_one = if reduction.waits() {
                bytes(&one.chain(1, "lab/kept")?.1)
            } else {
                let (before, kept, after) = one.split("lab/kept")?;
                bytes(&kept) + own_bytes(session, &before)? + after.bytes(session, 1)?
            };
            warm += of_one * batches.iter().filter(|b| b.size() == size).count() as u64;
            waits |= reduction.waits();
            whole.insert(size, one);
            reductions.insert(size, reduction);
        }
        let available = memory.unwrap_or(u64::MAX);
        if waits {
            // A pass takes memory beside what is kept.
            warm += cold;
        }
        let least = if waits { cold } else { cold.min(warm) };
        if least > available {
            let each = cold / sizes.last().copied().unwrap_or(1) as u64;
            let fits = match (options.batch_norm, available / each.max(1)) {
                (BatchNorm::Batch(n), _) => {
                    format!("batch({n}) needs all its samples at once: take fewer, or eval mode")
                }
                (_, 0) => "not even one sample at a time would fit".into(),
                (_, most) => format!("a micro-batch of {most} would fit"),
            };
            return Err(Error::Memory { what: matrix.to_string(), needed: cold, available, fits });
        }
        let keep = options.linearize.unwrap_or(warm <= available / 2 || cold > available);
        if keep && warm > available {
            let fits = format!("without linearization it needs {cold}");
            return Err(Error::Memory { what: format!("{matrix} linearized"), needed: warm, available, fits });
        }
        let (chained, chains) = (keep && waits, BTreeMap::new());
        let mut p = Prepared { layout, batches, kept: Vec::new(), whole, reductions, chains, chained, width: 1, scope };
        if keep && !waits {
            for (i, batch) in p.batches.iter().enumerate() {
                let (before, kept, after) = p.whole[&batch.size()].split(&p.scope.name(&i.to_string()))?;
                reserve(session, &kept)?;
                p.kept.push((session.compile(&before, &[])?, after));
            }
        }
        p.width = match options.width {
            Some(0) => return Err(argument("width", "1 or more directions at once", 0)),
            Some(width) => width,
            None => p.widest(session, memory)?,
        };
        if keep && !waits {
            p.whole.clear();
            p.reductions.clear();
        }
        Ok(p)
    }

    /// The chains for `k` directions, one for each micro-batch, where those keep what they need from pass to pass.
    pub fn chain(&mut self, k: usize) -> Result<()> {
        if self.chained && !self.chains.contains_key(&k) {
            let chain = |(i, batch): (usize, &MicroBatch)| {
                self.whole[&batch.size()].chain(k, &self.scope.name(&format!("kept/{i}")))
            };
            let made = self.batches.iter().enumerate().map(chain).collect::<Result<_>>()?;
            self.chains.insert(k, made);
        }
        Ok(())
    }

    /// The most directions at once that a quarter of the memory holds, up to 16; 8 where the memory is not known.
    fn widest(&self, session: &Session, memory: Option<u64>) -> Result<usize> {
        let Some(memory) = memory else { return Ok(8) };
        let largest = self.batches.iter().enumerate().max_by_key(|(_, batch)| batch.size());
        let Some((i, batch)) = largest else { return Ok(1) };
        let product = self.kept.get(i).map_or(&self.whole[&batch.size()], |(_, after)| after);
        let mut one = product.bytes(session, 2)? / 2;
        if self.chained {
            one += bytes(&product.chain(2, "lab/kept")?.1) / 2;
        }
        let fits = |k: &&usize| **k as u64 * one <= memory / 4 / self.batches.len() as u64;
        Ok([16, 8, 4, 2].iter().find(fits).copied().unwrap_or(1))
    }
}
