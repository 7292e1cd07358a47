//! Hessian, Gauss-Newton and Fisher matrices of a loss, as operators.

mod pieces;

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use hillshade_engine::{Data, Graph, Plan, Profile, Program, Session, Var, block_on};
use serde::{Deserialize, Serialize};

use pieces::{Piece, Product, Slot, own_bytes};

use crate::{
    BatchNorm, Combination, Error, Gradient, Kind, Operator, Outer, Problem, Result, Setting, Vectors,
    error::argument,
    gradient::{Block, chosen, flatten, layout, unflatten},
    kind::{DRAWN, product, slope_at_draw},
    operator::state_named,
    vectors::input,
};

/// How an operator is built.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Statistics of batch normalization.
    pub batch_norm: BatchNorm,
    /// Samples at once in evaluation mode; 128 by default.
    pub micro_batch: Option<usize>,
    /// Parameters whose names begin with one of these; all where there are none.
    pub blocks: Vec<String>,
    /// `λ` of a term `λ/2 ‖w‖²` over the parameters on which decay acts; 0 leaves it out.
    pub weight_decay: f64,
    /// Whether to keep a linearization for warm products; by default where it fits.
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
    layout: Vec<Block>,
    pieces: Vec<Piece>,
    /// For each number of samples the graph of one product, where no linearization is kept.
    whole: HashMap<usize, Product>,
    gradient: Gradient,
    slot: Slot,
    point: Point,
    width: usize,
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
        let micro_batch = options.micro_batch.unwrap_or(128);
        let ranges = problem.pieces(options.batch_norm, micro_batch)?;
        let gradient = Gradient::new(session, problem, options.batch_norm, micro_batch, &options.blocks)?;
        let pieces = ranges.into_iter().map(|range| Piece { range, before: None, after: None, drawn: None }).collect();
        let mut c = Curvature {
            problem: problem.clone(),
            kind,
            options: options.clone(),
            layout: gradient.layout().to_vec(),
            pieces,
            whole: HashMap::new(),
            gradient,
            slot: Slot::take(),
            point: Point { loss: 0.0, gradient_norm: 0.0 },
            width: 1,
            products: 0,
        };
        c.plan(session)?;
        let loss = c.gradient.probe(session)?;
        c.stand(session, loss)?;
        Ok(c)
    }

    /// `E − g gᵀ`: the covariance of the samples' gradients, from the empirical Fisher matrix.
    ///
    /// # Errors
    ///
    /// Those of [`Curvature::new`].
    pub fn covariance(session: &mut Session, problem: &Problem, options: &Options) -> Result<Combination<'static>> {
        let e = Curvature::new(session, problem, Kind::Empirical, options)?;
        // A copy: the gradient's own block is written by the next operator.
        let (n, mean) = (e.dimension(), format!("lab/{}/mean/{}", e.dimension(), e.slot.0));
        let mut vectors = Vectors::new(n);
        vectors.reserve(session, &mean, 1)?;
        vectors.scale(session, &mean, false, 1.0, e.gradient.state())?;
        let outer = Outer::new(&mean, n);
        Combination::new(1.0, e).plus(-1.0, outer)
    }

    /// The parameters' places in the vectors.
    pub fn layout(&self) -> &[Block] {
        &self.layout
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
        self.pieces.iter().all(|p| p.after.is_some())
    }

    /// Bytes that the largest program run so far needs at its peak: of the linearizations, and of the products.
    pub fn peak_bytes(&self) -> u64 {
        let products = self.pieces.iter().filter_map(|p| p.after.as_ref()).chain(self.whole.values());
        let compiled =
            products.flat_map(|p| p.programs.values()).chain(self.pieces.iter().filter_map(|p| p.before.as_ref()));
        compiled.map(|p| p.plan().bytes()).max().unwrap_or(0)
    }

    /// The graph of one product for `size` samples, its direction and the product `[n]`.
    fn product_graph(&self, size: usize) -> Result<(Graph, Var, Var)> {
        let (b, parts) = self.problem.graph(self.options.batch_norm, size)?;
        let params = chosen(b.trained(), &self.options.blocks)?;
        let layout = layout(params.iter());
        let n = layout.last().map_or(0, |b| b.range.end);
        let mut g = b.g;
        let direction = g.state(&input(n, 1), &[1, n])?;
        let flat = g.reshape(direction, &[n])?;
        let v = unflatten(&mut g, flat, &layout)?;
        let loss = g.mean(parts.losses, &[0])?;
        let wrt: Vec<Var> = params.iter().map(|p| p.var).collect();
        let mut product = product(&mut g, self.kind, loss, parts, &wrt, &v)?;
        for ((p, v), own) in params.iter().zip(&v).zip(&mut product) {
            if self.options.weight_decay != 0.0 && p.decayed {
                let decay = g.affine(*v, self.options.weight_decay, 0.0)?;
                *own = g.add(*own, decay)?;
            }
        }
        let product = flatten(&mut g, &product)?;
        Ok((g, direction, product))
    }

    /// Decides what is kept and how many directions go at once, and compiles.
    fn plan(&mut self, session: &mut Session) -> Result<()> {
        let n = self.dimension();
        let (memory, count) = (self.options.memory.or(session.memory()), self.problem.samples.count());
        let sizes: BTreeSet<usize> = self.pieces.iter().map(|p| p.range.len()).collect();
        let (mut cold, mut warm) = (0, 0);
        for &size in &sizes {
            let (g, direction, product) = self.product_graph(size)?;
            let split = g.split(&[], &[product], &[direction], "lab/kept")?;
            let whole = Product::new(g, product);
            let bytes =
                |p: &Product, k: usize| Ok::<_, Error>(own_bytes(&Plan::new(&p.graph_for(n, k, count)?, &[], true)?));
            cold = cold.max(bytes(&whole, 1)?);
            let after = Product::new(split.after, split.varying[0]);
            let kept: u64 = split.kept.iter().map(|k| k.ty.bytes() as u64).sum();
            let each = kept + own_bytes(&Plan::new(&split.before, &[], true)?) + bytes(&after, 1)?;
            warm += each * self.pieces.iter().filter(|p| p.range.len() == size).count() as u64;
            self.whole.insert(size, whole);
        }
        let available = memory.unwrap_or(u64::MAX);
        if cold.min(warm) > available {
            let fits = match self.options.batch_norm {
                BatchNorm::Eval => {
                    let each = cold / sizes.last().copied().unwrap_or(1) as u64;
                    match available / each.max(1) {
                        0 => "not even one sample at a time would fit".into(),
                        most => format!("a micro-batch of {most} would fit"),
                    }
                }
                mode => format!("{mode} needs all its samples at once: take fewer, or eval mode"),
            };
            return Err(Error::Memory { what: self.kind.to_string(), needed: cold, available, fits });
        }
        let keep = self.options.linearize.unwrap_or(warm <= available / 2 || cold > available);
        if keep && warm > available {
            let fits = format!("without a linearization it needs {cold}");
            return Err(Error::Memory { what: format!("{} linearized", self.kind), needed: warm, available, fits });
        }
        if keep {
            for (i, piece) in self.pieces.iter_mut().enumerate() {
                let Some(whole) = self.whole.get(&piece.range.len()) else { continue };
                let direction = state_named(&whole.graph, &input(n, 1)).unwrap_or(whole.product);
                let prefix = format!("lab/{n}/{}/{}/{i}", self.kind, self.slot.0);
                let split = whole.graph.split(&[], &[whole.product], &[direction], &prefix)?;
                for kept in &split.kept {
                    session.reserve(&kept.name, &kept.ty)?;
                }
                piece.before = Some(session.compile(&split.before, &[])?);
                piece.after = Some(Product::new(split.after, split.varying[0]));
            }
        }
        self.width = match self.options.width {
            Some(0) => return Err(argument("width", "1 or more directions at once", 0)),
            Some(width) => width,
            None => self.widest(memory)?,
        };
        if keep {
            self.whole.clear();
        }
        Ok(())
    }

    /// The most directions at once that a quarter of the memory holds, up to 16; 8 where the memory is not known.
    fn widest(&self, memory: Option<u64>) -> Result<usize> {
        let n = self.dimension();
        let Some(memory) = memory else { return Ok(8) };
        let largest = self.pieces.iter().max_by_key(|p| p.range.len());
        let product = largest.and_then(|p| p.after.as_ref().or_else(|| self.whole.get(&p.range.len())));
        let Some(product) = product else { return Ok(1) };
        let one = own_bytes(&Plan::new(&product.graph_for(n, 2, self.problem.samples.count())?, &[], true)?) / 2;
        let fits = |k: &&usize| **k as u64 * one <= memory / 4 / self.pieces.len() as u64;
        Ok([16, 8, 4, 2].iter().find(fits).copied().unwrap_or(1))
    }

    /// Takes the session's parameters as the point at which products are computed. Without a linearization products
    /// follow the parameters by themselves; a Fisher matrix keeps the targets drawn here.
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
        for piece in &mut self.pieces {
            if let Some(before) = &mut piece.before {
                let mut feeds = self.problem.samples.feeds(piece.range.clone());
                feeds.extend(piece.drawn.iter().map(|d| (DRAWN, Data::F32(d))));
                before.run(session, &feeds)?;
            }
        }
        self.point = Point { loss, gradient_norm };
        Ok(self.point)
    }

    /// A product with `k` directions, with the time of every dispatch: for each piece of the samples its
    /// [`Program::profile`].
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
        let n = self.dimension();
        Vectors::new(n).ports(session, k)?;
        let count = self.problem.samples.count();
        let mut first = true;
        for piece in &mut self.pieces {
            let size = piece.range.len();
            let (samples, keep) = ([size as f32], [f32::from(u8::from(!first))]);
            first = false;
            let mut feeds = self.problem.samples.feeds(piece.range.clone());
            feeds.extend([("lab/keep", Data::F32(&keep)), ("lab/samples", Data::F32(&samples))]);
            feeds.extend(piece.drawn.iter().map(|d| (DRAWN, Data::F32(d))));
            let product = match &mut piece.after {
                Some(after) => after,
                None => self.whole.get_mut(&size).ok_or_else(|| argument("micro-batch", "a known size", size))?,
            };
            run(product.program(session, n, k, count)?, session, &feeds)?;
        }
        self.products += k as u64;
        Ok(())
    }

    /// Draws targets from the model: for each sample the loss's gradient in the outputs at those targets.
    fn draw(&mut self, session: &mut Session, draws: u32) -> Result<()> {
        let Some(likelihood) = self.problem.likelihood else { return Ok(()) };
        let mut programs: HashMap<usize, (Program, Var)> = HashMap::new();
        for piece in &mut self.pieces {
            let size = piece.range.len();
            let (program, outputs) = match programs.entry(size) {
                Entry::Occupied(e) => e.into_mut(),
                Entry::Vacant(e) => {
                    let (b, parts) = self.problem.graph(self.options.batch_norm, size)?;
                    e.insert((session.compile(&b.g, &[parts.outputs])?, parts.outputs))
                }
            };
            program.run(session, &self.problem.samples.feeds(piece.range.clone()))?;
            let z = block_on(program.read_wide(session, *outputs))?;
            let rows = z.chunks(z.len() / size).zip(piece.range.clone());
            let seed = self.options.seed;
            let of_draw = |d: u32| rows.clone().flat_map(move |(row, i)| slope_at_draw(likelihood, row, seed, i, d));
            piece.drawn = Some((0..draws).flat_map(of_draw).collect());
        }
        Ok(())
    }
}

impl Operator for Curvature {
    fn dimension(&self) -> usize {
        self.layout.last().map_or(0, |b| b.range.end)
    }

    fn width(&self) -> usize {
        self.width
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
            micro_batch: self.pieces.iter().map(|p| p.range.len()).max().unwrap_or(0),
            batch_norm: self.options.batch_norm.to_string(),
            reduction: "mean".into(),
            weight_decay: self.options.weight_decay,
            seed: self.options.seed,
            linearized: self.is_linearized(),
            adapter: String::new(),
        }
    }
}
