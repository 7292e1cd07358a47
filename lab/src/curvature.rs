//! Hessian, Gauss-Newton and Fisher matrices of a loss, as operators.

mod pieces;
mod plan;

use std::collections::{BTreeMap, btree_map::Entry};

use hillshade_engine::{Data, Profile, Program, Session, block_on};
use serde::{Deserialize, Serialize};

use pieces::{Piece, Product};
use plan::Prepared;

use crate::{
    BatchNorm, Block, Combination, Error, Gradient, Kind, Operator, Outer, Problem, Result, Setting, Vectors,
    error::argument,
    kind::slope_at_draw,
    passes::{Cut, Fed, each, settle},
    problem::MICRO_BATCH,
};

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

/// Where an operator was linearized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The mean loss, without weight decay.
    pub loss: f64,
    /// Norm of its gradient.
    pub gradient_norm: f64,
}

/// A curvature matrix of a problem at the session's parameters.
#[derive(Debug)]
pub struct Curvature {
    problem: Problem,
    kind: Kind,
    options: Options,
    prepared: Prepared,
    gradient: Gradient,
    point: Point,
    products: u64,
}

impl Curvature {
    /// Builds the operator and linearizes it at the session's parameters.
    ///
    /// # Errors
    ///
    /// [`Error::NotDeterministic`] for a loss that is not the same twice, [`Error::Memory`] for one that does not fit,
    /// [`Error::Argument`] for options that do not, and those of the problem's graph.
    pub fn new(session: &mut Session, problem: &Problem, kind: Kind, options: &Options) -> Result<Self> {
        if let (Kind::Fisher { .. }, None) = (kind, problem.likelihood) {
            return Err(argument("fisher", "a problem with a likelihood to draw targets from", "none"));
        }
        let mut options = options.clone();
        let may_part = options.batch_norm == BatchNorm::Full
            && options.micro_batch.is_none()
            && problem.samples.count() > MICRO_BATCH;
        let prepared = match Prepared::new(session, problem, kind, &options) {
            Err(Error::Memory { .. }) if may_part => {
                options.micro_batch = Some(MICRO_BATCH);
                Prepared::new(session, problem, kind, &options)?
            }
            prepared => prepared?,
        };
        let gradient = Gradient::new(session, problem, options.batch_norm, options.micro_batch, &options.blocks)?;
        let point = Point { loss: 0.0, gradient_norm: 0.0 };
        let mut c = Curvature { problem: problem.clone(), kind, options, prepared, gradient, point, products: 0 };
        let loss = c.gradient.probe(session)?;
        c.stand(session, loss)?;
        Ok(c)
    }

    /// `M − g gᵀ`: the covariance of the samples' gradients, from their second moment; a sequence is a sample.
    ///
    /// # Errors
    ///
    /// Those of [`Curvature::new`].
    pub fn covariance(session: &mut Session, problem: &Problem, options: &Options) -> Result<Combination<'static>> {
        let e = Curvature::new(session, problem, Kind::Moment, options)?;
        // A copy: the gradient's own block is written by the next operator.
        let (n, mean) = (e.dimension(), e.prepared.slot.name("mean"));
        let mut vectors = Vectors::new(n);
        vectors.reserve(session, &mean, 1)?;
        vectors.scale(session, &mean, false, 1.0, e.gradient.state())?;
        let outer = Outer::new(&mean, n);
        Combination::new(1.0, e).plus(-1.0, outer)
    }

    /// The parameters' places in the vectors.
    pub fn layout(&self) -> &[Block] {
        &self.prepared.layout
    }

    /// The block `[1, n]` that holds the gradient at the point of the linearization.
    pub fn gradient(&self) -> &str {
        self.gradient.state()
    }

    /// Where it was linearized last.
    pub fn point(&self) -> Point {
        self.point
    }

    /// Products with one direction that were computed so far.
    pub fn products(&self) -> u64 {
        self.products
    }

    /// Whether products reuse a linearization.
    pub fn is_linearized(&self) -> bool {
        !self.prepared.kept.is_empty()
    }

    /// Bytes that the largest program run so far needs at its peak: of the linearizations, and of the products.
    pub fn peak_bytes(&self) -> u64 {
        let Prepared { kept, whole, .. } = &self.prepared;
        let products = kept.iter().map(|linear| &linear.after).chain(whole.values().map(|(_, product)| product));
        let compiled = products.flat_map(Product::programs).chain(kept.iter().map(|linear| &linear.before));
        compiled.map(|p| p.plan().bytes()).max().unwrap_or(0)
    }

    /// Takes the session's parameters as the point at which products are computed. Without a linearization products
    /// follow the parameters by themselves, but layer by layer; a Fisher matrix keeps the targets drawn here.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] when the loss is not finite there, and the engine's.
    pub fn linearize(&mut self, session: &mut Session) -> Result<Point> {
        let loss = self.gradient.run(session)?;
        self.stand(session, loss)
    }

    /// The same, once loss and gradient are known.
    fn stand(&mut self, session: &mut Session, loss: f64) -> Result<Point> {
        let gradient_norm = self.gradient.norm(session)?;
        if let Kind::Fisher { draws } = self.kind {
            self.draw(session, draws)?;
        }
        let Prepared { pieces, kept, whole, .. } = &mut self.prepared;
        let pieces: Vec<Fed> = pieces.iter().map(Piece::fed).collect();
        let cuts: Vec<(usize, &Cut)> = whole.iter().map(|(&size, (cut, _))| (size, cut)).collect();
        settle(session, &self.problem, &cuts, &pieces)?;
        each(&self.problem, &pieces, |i, feeds| match kept.get_mut(i) {
            Some(linear) => Ok(linear.before.run(session, feeds)?),
            None => Ok(()),
        })?;
        self.point = Point { loss, gradient_norm };
        Ok(self.point)
    }

    /// A product with `k` directions, with the time of every dispatch: for each piece of the samples its
    /// [`Program::profile`], of the last pass where there are several.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub fn profile(&mut self, session: &mut Session, k: usize) -> Result<Vec<Profile>> {
        let mut profiles = Vec::new();
        self.each_piece(session, k, |program, session, feeds| {
            profiles.push(block_on(program.profile(session, feeds))?);
            Ok(())
        })?;
        Ok(profiles)
    }

    /// Runs the product with `k` directions on each piece of the samples.
    fn each_piece(
        &mut self,
        session: &mut Session,
        k: usize,
        mut run: impl FnMut(&mut Program, &mut Session, &[(&str, Data)]) -> Result<()>,
    ) -> Result<()> {
        let (n, count) = (self.dimension(), self.problem.samples.count());
        Vectors::new(n).ports(session, k)?;
        self.prepared.chain(n, k, count)?;
        let Prepared { pieces, kept, whole, chains, .. } = &mut self.prepared;
        let pieces: Vec<Fed> = pieces.iter().map(Piece::fed).collect();
        if let Some(chains) = chains.get(&k) {
            for state in chains.iter().flat_map(|chain| &chain.states) {
                session.reserve(&state.name, &state.ty)?;
            }
            let passes = chains.first().map_or(0, |chain| chain.graphs.len());
            for pass in 0..passes {
                each(&self.problem, &pieces, |i, feeds| {
                    let mut program = session.compile(&chains[i].graphs[pass], &[])?;
                    match pass + 1 == passes {
                        true => run(&mut program, session, feeds),
                        false => Ok(program.run(session, feeds)?),
                    }
                })?;
            }
            self.products += k as u64;
            return Ok(());
        }
        for (_, product) in whole.values_mut() {
            product.program(session, n, k, count)?;
        }
        let cuts: Vec<(usize, &Cut)> = whole.iter().filter_map(|(&size, (_, p))| Some((size, p.cut(k)?))).collect();
        settle(session, &self.problem, &cuts, &pieces)?;
        each(&self.problem, &pieces, |i, feeds| {
            let size = pieces[i].0.len();
            let product = match kept.get_mut(i) {
                Some(linear) => &mut linear.after,
                None => &mut whole.get_mut(&size).ok_or_else(|| argument("micro-batch", "a known size", size))?.1,
            };
            run(product.program(session, n, k, count)?, session, feeds)
        })?;
        self.products += k as u64;
        Ok(())
    }

    /// Draws targets from the model: for each the loss's gradient in its outputs there.
    fn draw(&mut self, session: &mut Session, draws: u32) -> Result<()> {
        let Some(likelihood) = self.problem.likelihood else {
            return Ok(());
        };
        let (seed, count, targets) = (self.options.seed, self.problem.samples.count(), self.problem.targets);
        let prefix = self.prepared.slot.name("outputs");
        let pieces = &mut self.prepared.pieces;
        let mut programs: BTreeMap<usize, (Program, Cut)> = BTreeMap::new();
        for size in pieces.iter().map(|p| p.range.len()) {
            if let Entry::Vacant(e) = programs.entry(size) {
                let (b, parts) = self.problem.graph(self.options.batch_norm, size)?;
                let cut = Cut::new(&b.g, &[parts.outputs], None, count, &prefix)?;
                cut.reserve(session)?;
                e.insert((session.compile(&cut.graph, &cut.values)?, cut));
            }
        }
        let ranges: Vec<Fed> = pieces.iter().map(|p| (p.range.clone(), None)).collect();
        let cuts: Vec<(usize, &Cut)> = programs.iter().map(|(&size, (_, cut))| (size, cut)).collect();
        settle(session, &self.problem, &cuts, &ranges)?;
        let mut drawn = Vec::new();
        each(&self.problem, &ranges, |i, feeds| {
            let range = ranges[i].0.clone();
            let Some((program, cut)) = programs.get_mut(&range.len()) else {
                return Ok(());
            };
            program.run(session, feeds)?;
            let z = block_on(program.read_wide(session, cut.values[0]))?;
            let places = range.start * targets..range.end * targets;
            let rows = z.chunks(z.len() / places.len()).zip(places);
            let of_draw = |d: u32| rows.clone().flat_map(move |(row, i)| slope_at_draw(likelihood, row, seed, i, d));
            drawn.push((0..draws).flat_map(of_draw).collect());
            Ok(())
        })?;
        for (piece, drawn) in self.prepared.pieces.iter_mut().zip(drawn) {
            piece.drawn = Some(drawn);
        }
        Ok(())
    }
}

impl Operator for Curvature {
    fn dimension(&self) -> usize {
        self.prepared.layout.last().map_or(0, |b| b.range.end)
    }

    fn width(&self) -> usize {
        self.prepared.width
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        self.each_piece(session, k, |program, session, feeds| Ok(program.run(session, feeds)?))
    }

    fn setting(&self) -> Setting {
        Setting {
            operator: self.kind.to_string(),
            parameters: self.dimension(),
            blocks: self.options.blocks.clone(),
            samples: self.problem.samples.count(),
            micro_batch: self.prepared.pieces.iter().map(|p| p.range.len()).max().unwrap_or(0),
            batch_norm: self.options.batch_norm.to_string(),
            reduction: "mean".into(),
            weight_decay: self.options.weight_decay,
            seed: self.options.seed,
            linearized: self.is_linearized(),
            adapter: String::new(),
        }
    }
}
