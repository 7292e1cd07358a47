//! Hessian, Gauss-Newton and Fisher matrices of a loss, as operators.

use hillshade_engine::{Data, Profile, Program, Session, block_on};
use serde::{Deserialize, Serialize};

use crate::operator::{gradient::*, matrix::*, memory::*, micro_batches::*, operator::*, programs::*, vectors::*};
use crate::{error::*, layout::*, problem::*};

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
    matrix: Matrix,
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
    /// [`Error::Argument`] for options that do not.
    pub fn new(session: &mut Session, problem: &Problem, matrix: Matrix, options: &Options) -> Result<Self> {
        let blind = matches!((matrix, problem.likelihood), (Matrix::Fisher { .. }, None));
        refuse!(blind, "fisher", "a problem with a likelihood to draw targets from", "none");
        let mut options = options.clone();
        let may_part = options.batch_norm == BatchNorm::Full
            && options.micro_batch.is_none()
            && problem.samples.count() > MICRO_BATCH;
        let prepared = match Prepared::new(session, problem, matrix, &options) {
            Err(Error::Memory { .. }) if may_part => {
                options.micro_batch = Some(MICRO_BATCH);
                Prepared::new(session, problem, matrix, &options)?
            }
            prepared => prepared?,
        };
        let gradient = Gradient::new(session, problem, options.batch_norm, options.micro_batch, &options.blocks)?;
        let (problem, point) = (problem.clone(), Point { loss: 0.0, gradient_norm: 0.0 });
        let mut c = Curvature { problem, matrix, options, prepared, gradient, point, products: 0 };
        let loss = c.gradient.probe(session)?;
        c.stand(session, loss)?;
        Ok(c)
    }

    /// `M − g gᵀ`: the covariance of the samples' gradients, from their second moment; a sequence is a sample.
    pub fn covariance(session: &mut Session, problem: &Problem, options: &Options) -> Result<Combination<'static>> {
        let moment = Curvature::new(session, problem, Matrix::Moment, options)?;
        let outer = Outer::new(moment.gradient(), moment.dimension());
        Combination::new(1.0, moment).plus(-1.0, outer)
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
        let products = kept.iter().map(|(_, after)| after).chain(whole.values());
        let compiled = products.flat_map(|product| product.programs.values().map(|(program, _)| program));
        let compiled = compiled.chain(kept.iter().map(|(before, _)| before));
        compiled.map(|p| p.plan().bytes()).max().unwrap_or(0)
    }

    /// Takes the session's parameters as the point at which products are computed. Without a linearization products
    /// follow the parameters by themselves, but layer by layer; a Fisher matrix keeps the targets drawn here.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] when the loss is not finite there.
    pub fn linearize(&mut self, session: &mut Session) -> Result<Point> {
        let loss = self.gradient.run(session)?;
        self.stand(session, loss)
    }

    /// The same, once loss and gradient are known.
    fn stand(&mut self, session: &mut Session, loss: f64) -> Result<Point> {
        let gradient_norm = self.gradient.norm(session)?;
        if let Matrix::Fisher { draws } = self.matrix {
            self.draw(session, draws)?;
        }
        let Prepared { batches, kept, reductions, .. } = &mut self.prepared;
        reduce(session, &self.problem, reductions.iter(), batches)?;
        if !kept.is_empty() {
            each(&self.problem, batches, &[], |i, _, inputs| run(&mut kept[i].0, session, inputs))?;
        }
        self.point = Point { loss, gradient_norm };
        Ok(self.point)
    }

    /// A product with `k` directions, with the time of every dispatch: for each micro-batch its [`Program::profile`],
    /// of the last pass where there are several.
    pub fn profile(&mut self, session: &mut Session, k: usize) -> Result<Vec<Profile>> {
        let mut profiles = Vec::new();
        self.each_batch(session, k, |program, session, inputs| {
            profiles.push(block_on(program.profile(session, inputs))?);
            Ok(())
        })
        .map(|()| profiles)
    }

    /// Runs the product with `k` directions on each micro-batch.
    fn each_batch(
        &mut self, session: &mut Session, k: usize,
        mut last: impl FnMut(&mut Program, &mut Session, &[(&str, Data)]) -> Result<()>,
    ) -> Result<()> {
        Vectors::new(self.dimension()).ports(session, k)?;
        self.prepared.chain(k)?;
        let Prepared { batches, kept, whole, chains, .. } = &mut self.prepared;
        if let Some(chains) = chains.get(&k) {
            chains.iter().try_for_each(|(_, states)| reserve(session, states))?;
            let passes = chains[0].0.len();
            for pass in 1..=passes {
                each(&self.problem, batches, &[], |i, _, inputs| {
                    let mut program = session.compile(&chains[i].0[pass - 1], &[])?;
                    if pass == passes {
                        last(&mut program, session, inputs)
                    } else {
                        run(&mut program, session, inputs)
                    }
                })?;
            }
        } else {
            for product in whole.values_mut() {
                product.program(session, k)?;
            }
            let reductions = whole.iter().filter_map(|(size, product)| Some((size, &product.programs.get(&k)?.1)));
            reduce(session, &self.problem, reductions, batches)?;
            each(&self.problem, batches, &[], |i, batch, inputs| {
                let product = kept.get_mut(i).map_or_else(|| of_size(whole, batch), |(_, after)| after);
                last(product.program(session, k)?, session, inputs)
            })?;
        }
        self.products += k as u64;
        Ok(())
    }

    /// Draws targets from the model: for each the loss's gradient in its outputs there.
    fn draw(&mut self, session: &mut Session, draws: u32) -> Result<()> {
        let Some(likelihood) = self.problem.likelihood else { return Ok(()) };
        let (seed, targets) = (self.options.seed, self.problem.targets);
        let (mode, batches) = (self.options.batch_norm, &mut self.prepared.batches);
        let mut programs = Programs::new(session, &self.problem, batches, |_, g, size| {
            Ok((vec![self.problem.graph(g, mode, size, &[])?.1.outputs], None))
        })?;
        let mut drawn = Vec::new();
        programs.run(session, &[], |batch, z| {
            let places = batch.range.start * targets..batch.range.end * targets;
            let rows = z.chunks(z.len() / places.len()).zip(places);
            let of_draw = |d: u32| rows.clone().flat_map(move |(row, i)| slope_at_draw(likelihood, row, seed, i, d));
            drawn.push((0..draws).flat_map(of_draw).collect());
        })?;
        batches.iter_mut().zip(drawn).for_each(|(batch, drawn)| batch.drawn = Some(drawn));
        Ok(())
    }
}

impl Operator for Curvature {
    fn dimension(&self) -> usize {
        dimension(&self.prepared.layout)
    }

    fn width(&self) -> usize {
        self.prepared.width
    }

    fn apply(&mut self, session: &mut Session, k: usize) -> Result<()> {
        self.each_batch(session, k, run)
    }

    fn setting(&self) -> Setting {
        Setting {
            operator: self.matrix.to_string(),
            parameters: self.dimension(),
            blocks: self.options.blocks.clone(),
            samples: self.problem.samples.count(),
            micro_batch: self.prepared.batches.iter().map(MicroBatch::size).max().unwrap_or(0),
            batch_norm: self.options.batch_norm.to_string(),
            reduction: "mean".into(),
            weight_decay: self.options.weight_decay,
            seed: self.options.seed,
            linearized: self.is_linearized(),
            adapter: String::new(),
        }
    }
}
