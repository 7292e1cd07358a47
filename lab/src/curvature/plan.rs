//! How an operator's products are computed: what is kept for them, and how many go at once.

use std::collections::{BTreeMap, BTreeSet};

use hillshade_engine::{Graph, Plan, Session, Var};

use super::{
    Options,
    pieces::{Linear, Piece, Product},
};
use crate::{
    BatchNorm, Block, Error, Kind, Problem, Result,
    error::argument,
    gradient::{chosen, flatten, layout, unflatten},
    kind::product,
    passes::{Chain, Cut, own_bytes},
    slot::Slot,
    vectors::input,
};

/// The programs of an operator, and the samples that they pass.
#[derive(Debug)]
pub struct Prepared {
    pub layout: Vec<Block>,
    pub pieces: Vec<Piece>,
    /// For each piece its linearization, where those are kept.
    pub kept: Vec<Linear>,
    /// For each number of samples the graph of one product, where no linearization is kept, and the means over all
    /// micro-batches that are the same for all products.
    pub whole: BTreeMap<usize, (Cut, Product)>,
    /// By the number of directions a chain for each piece, where those keep what they need from pass to pass.
    pub chains: BTreeMap<usize, Vec<Chain>>,
    pub chained: bool,
    /// The most directions at once.
    pub width: usize,
    pub slot: Slot,
}

/// The graph of one product, its direction and the product `[n]`.
struct One {
    graph: Graph,
    direction: Var,
    product: Var,
}

/// The graph of one product for `size` samples.
fn one(problem: &Problem, kind: Kind, options: &Options, size: usize) -> Result<One> {
    let (b, parts) = problem.graph(options.batch_norm, size)?;
    let params = chosen(b.trained(), &options.blocks)?;
    let layout = layout(params.iter());
    let n = layout.last().map_or(0, |b| b.range.end);
    let mut g = b.g;
    let direction = g.state(&input(n, 1), &[1, n])?;
    let flat = g.reshape(direction, &[n])?;
    let v = unflatten(&mut g, flat, &layout)?;
    let loss = g.mean(parts.losses, &[0])?;
    let wrt: Vec<Var> = params.iter().map(|p| p.var).collect();
    let mut product = product(&mut g, kind, loss, parts, problem.targets, [&wrt, &v])?;
    for ((p, v), own) in params.iter().zip(&v).zip(&mut product) {
        if options.weight_decay != 0.0 && p.decayed {
            let decay = g.affine(*v, options.weight_decay, 0.0)?;
            *own = g.add(*own, decay)?;
        }
    }
    let product = flatten(&mut g, &product)?;
    Ok(One { graph: g, direction, product })
}

impl Prepared {
    /// Decides what is kept and how many directions go at once, and compiles.
    pub fn new(session: &mut Session, problem: &Problem, kind: Kind, options: &Options) -> Result<Self> {
        let layout = problem.layout(&options.blocks)?;
        let n = layout.last().map_or(0, |b| b.range.end);
        let ranges = problem.pieces(options.batch_norm, options.micro_batch)?;
        let (memory, count, slot) = (options.memory.or(session.memory()), problem.samples.count(), Slot::on(session));
        let sizes: BTreeSet<usize> = ranges.iter().map(|r| r.len()).collect();
        let (mut cold, mut warm, mut waits) = (0, 0, false);
        let (mut whole, mut directions) = (BTreeMap::new(), BTreeMap::new());
        for &size in &sizes {
            let One { graph, direction, product } = one(problem, kind, options, size)?;
            let fixed = Cut::new(&graph, &[product], Some(direction), count, &slot.name("means"))?;
            let one = Product::new(fixed.graph.clone(), fixed.values[0], slot.name("means"));
            cold = cold.max(one.bytes(n, 1, count)?);
            let pieces = ranges.iter().filter(|r| r.len() == size).count() as u64;
            waits |= fixed.waits();
            if fixed.waits() {
                warm += one.chain(n, 1, count, "lab/kept")?.bytes() * pieces;
            } else {
                let split = one.graph.split(&[], &[one.product], &[direction], "lab/kept")?;
                let after = Product::new(split.after, split.varying[0], String::new());
                let kept: u64 = split.kept.iter().map(|k| k.ty.bytes() as u64).sum();
                let each = kept + own_bytes(&Plan::new(&split.before, &[], true)?) + after.bytes(n, 1, count)?;
                warm += each * pieces;
            }
            directions.insert(size, direction);
            whole.insert(size, (fixed, one));
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
                (mode @ BatchNorm::Batch(_), _) => {
                    format!("{mode} needs all its samples at once: take fewer, or eval mode")
                }
                (_, 0) => "not even one sample at a time would fit".into(),
                (_, most) => format!("a micro-batch of {most} would fit"),
            };
            return Err(Error::Memory { what: kind.to_string(), needed: cold, available, fits });
        }
        let keep = options.linearize.unwrap_or(warm <= available / 2 || cold > available);
        if keep && warm > available {
            let fits = format!("without a linearization, or what is kept from pass to pass, it needs {cold}");
            return Err(Error::Memory { what: format!("{kind} linearized"), needed: warm, available, fits });
        }
        let pieces: Vec<Piece> = ranges.into_iter().map(|range| Piece { range, drawn: None }).collect();
        let mut p = Prepared {
            layout,
            pieces,
            kept: Vec::new(),
            whole,
            chains: BTreeMap::new(),
            chained: keep && waits,
            width: 1,
            slot,
        };
        if keep && !waits {
            p.linearize(session, &directions)?;
        }
        p.width = match options.width {
            Some(0) => return Err(argument("width", "1 or more directions at once", 0)),
            Some(width) => width,
            None => p.widest(memory, n, count)?,
        };
        if keep && !waits {
            p.whole.clear();
        }
        Ok(p)
    }

    /// Makes the linearization of each piece.
    fn linearize(&mut self, session: &mut Session, directions: &BTreeMap<usize, Var>) -> Result<()> {
        for (i, piece) in self.pieces.iter().enumerate() {
            let size = piece.range.len();
            let (Some((_, whole)), Some(&direction)) = (self.whole.get(&size), directions.get(&size)) else {
                continue;
            };
            let split = whole.graph.split(&[], &[whole.product], &[direction], &self.slot.name(&i.to_string()))?;
            for kept in &split.kept {
                session.reserve(&kept.name, &kept.ty)?;
            }
            let before = session.compile(&split.before, &[])?;
            self.kept.push(Linear { before, after: Product::new(split.after, split.varying[0], String::new()) });
        }
        Ok(())
    }

    /// The chains for `k` directions, one for each piece.
    pub fn chain(&mut self, n: usize, k: usize, count: usize) -> Result<()> {
        if self.chained && !self.chains.contains_key(&k) {
            let made = self.pieces.iter().enumerate().map(|(i, piece)| {
                let (size, name) = (piece.range.len(), self.slot.name(&format!("pieces/{i}")));
                let whole = self.whole.get(&size).ok_or_else(|| argument("micro-batch", "a known size", size))?;
                whole.1.chain(n, k, count, &name)
            });
            self.chains.insert(k, made.collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// The most directions at once that a quarter of the memory holds, up to 16; 8 where the memory is not known.
    fn widest(&self, memory: Option<u64>, n: usize, count: usize) -> Result<usize> {
        let Some(memory) = memory else { return Ok(8) };
        let largest = self.pieces.iter().zip(0..).max_by_key(|(p, _)| p.range.len());
        let product = largest.and_then(|(piece, i): (_, usize)| match self.kept.get(i) {
            Some(linear) => Some(&linear.after),
            None => self.whole.get(&piece.range.len()).map(|(_, product)| product),
        });
        let Some(product) = product else { return Ok(1) };
        let mut one = product.bytes(n, 2, count)? / 2;
        if self.chained {
            one += product.chain(n, 2, count, "lab/kept")?.bytes() / 2;
        }
        let fits = |k: &&usize| **k as u64 * one <= memory / 4 / self.pieces.len() as u64;
        Ok([16, 8, 4, 2].iter().find(fits).copied().unwrap_or(1))
    }
}
