//! The loss and its gradient over all samples, at the session's parameters.

use std::{collections::HashMap, ops::Range};

use hillshade_engine::{Graph, Program, Session, Type, Var, block_on};
use hillshade_models::Param;

use crate::{
    BatchNorm, Error, Problem, Result, Vectors,
    error::argument,
    operator::state_named,
    passes::{Cut, Fed, each, settle},
    slot::Slot,
};

/// Where in a vector the entries of a parameter are.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The parameter's name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its entries.
    pub range: Range<usize>,
}

/// The entries of a vector that belong to each parameter, in the order of the layers.
pub(crate) fn layout<'a>(params: impl Iterator<Item = &'a Param>) -> Vec<Block> {
    let mut end = 0;
    params
        .map(|p| {
            let start = end;
            end += p.shape.iter().product::<usize>();
            Block { name: p.name.clone(), shape: p.shape.clone(), range: start..end }
        })
        .collect()
}

/// The trained parameters whose names begin with one of `blocks`; all where there are none.
///
/// # Errors
///
/// [`Error::Argument`] for a block that no parameter's name begins with.
pub(crate) fn chosen<'a>(params: impl Iterator<Item = &'a Param>, blocks: &[String]) -> Result<Vec<Param>> {
    let all: Vec<Param> = params.cloned().collect();
    for block in blocks {
        if !all.iter().any(|p| p.name.starts_with(block.as_str())) {
            let known = all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(argument("block", format!("the beginning of a parameter's name: {known}"), block));
        }
    }
    Ok(all.into_iter().filter(|p| blocks.is_empty() || blocks.iter().any(|b| p.name.starts_with(b.as_str()))).collect())
}

/// Parameters side by side, as one vector `[n]`.
pub(crate) fn flatten(g: &mut Graph, parts: &[Var]) -> Result<Var> {
    let flat = parts.iter().map(|&p| g.reshape(p, &[g.ty(p).count()])).collect::<Result<Vec<_>, _>>()?;
    Ok(if flat.len() == 1 { flat[0] } else { g.concat(&flat, 0)? })
}

/// The pieces of a vector `[n]`, in the parameters' shapes.
pub(crate) fn unflatten(g: &mut Graph, v: Var, layout: &[Block]) -> Result<Vec<Var>> {
    layout
        .iter()
        .map(|b| {
            let piece = g.slice(v, 0, b.range.start, b.range.len())?;
            Ok(g.reshape(piece, &b.shape)?)
        })
        .collect()
}

/// `state ← samples/count · value`, added to what it holds where the input `keep` is 1; `samples` is an input too.
pub(crate) fn accumulate(g: &mut Graph, name: &str, value: Var, count: usize) -> Result<()> {
    let shape = g.shape(value).to_vec();
    let old = match state_named(g, name) {
        Some(old) => old,
        None => g.state(name, &shape)?,
    };
    let (keep, samples) = (g.input("lab/keep", &[1])?, g.input("lab/samples", &[1])?);
    let none = g.fill_like(old, 0.0)?;
    let kept = g.select(keep, old, none)?;
    let weight = g.affine(samples, 1.0 / count as f64, 0.0)?;
    let own = g.mul(value, weight)?;
    let new = g.add(kept, own)?;
    Ok(g.assign(old, new)?)
}

/// A loss's value and gradient over all samples.
#[derive(Debug)]
pub struct Gradient {
    problem: Problem,
    pieces: Vec<Range<usize>>,
    layout: Vec<Block>,
    programs: HashMap<usize, (Program, Var, Cut)>,
    state: String,
    _slot: Slot,
}

impl Gradient {
    /// Of these parameters, those whose names begin with one of `blocks`, all where there are none. Micro-batches are as
    /// the batch-norm mode has them, or of so many samples: [`Options::micro_batch`](crate::Options::micro_batch).
    ///
    /// # Errors
    ///
    /// Those of the problem's graph, and [`Error::Argument`] for a block that is not there.
    pub fn new(
        session: &mut Session,
        problem: &Problem,
        batch_norm: BatchNorm,
        micro_batch: Option<usize>,
        blocks: &[String],
    ) -> Result<Self> {
        let pieces = problem.pieces(batch_norm, micro_batch)?;
        let (mut programs, mut blocks_of) = (HashMap::new(), Vec::new());
        let (mut state, slot) = (String::new(), Slot::on(session));
        for size in pieces.iter().map(Range::len).collect::<std::collections::BTreeSet<_>>() {
            let (b, parts) = problem.graph(batch_norm, size)?;
            let params = chosen(b.trained(), blocks)?;
            blocks_of = layout(params.iter());
            let n = blocks_of.last().map_or(0, |b| b.range.end);
            state = format!("lab/{n}/gradient");
            session.reserve(&state, &Type::f32([1, n]))?;
            let mut g = b.g;
            let loss = g.mean(parts.losses, &[0])?;
            let slopes = g.grad(loss, &params.iter().map(|p| p.var).collect::<Vec<_>>())?;
            let flat = flatten(&mut g, &slopes)?;
            let row = g.reshape(flat, &[1, n])?;
            let count = problem.samples.count();
            let cut = Cut::new(&g, &[loss, row], None, count, &slot.name("means"))?;
            cut.reserve(session)?;
            let (mut g, loss) = (cut.graph.clone(), cut.values[0]);
            accumulate(&mut g, &state, cut.values[1], count)?;
            programs.insert(size, (session.compile(&g, &[loss])?, loss, cut));
        }
        Ok(Gradient { problem: problem.clone(), pieces, layout: blocks_of, programs, state, _slot: slot })
    }

    /// The parameters' places in the vector.
    pub fn layout(&self) -> &[Block] {
        &self.layout
    }

    /// Length of the vector.
    pub fn dimension(&self) -> usize {
        self.layout.last().map_or(0, |b| b.range.end)
    }

    /// The block `[1, n]` that holds the gradient after [`Gradient::run`].
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Bytes that its largest program needs at its peak.
    pub fn peak_bytes(&self) -> u64 {
        self.programs.values().map(|(p, _, _)| p.plan().bytes()).max().unwrap_or(0)
    }

    /// Computes both; returns the loss.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] when the loss is not, and the engine's.
    pub fn run(&mut self, session: &mut Session) -> Result<f64> {
        let pieces: Vec<Fed> = self.pieces.iter().map(|range| (range.clone(), None)).collect();
        let cuts: Vec<(usize, &Cut)> = self.programs.iter().map(|(&size, (_, _, cut))| (size, cut)).collect();
        settle(session, &self.problem, &cuts, &pieces)?;
        self.finish(session)
    }

    /// The last pass.
    fn finish(&mut self, session: &mut Session) -> Result<f64> {
        let (mut total, count) = (0.0, self.problem.samples.count() as f64);
        let pieces: Vec<Fed> = self.pieces.iter().map(|range| (range.clone(), None)).collect();
        each(&self.problem, &pieces, |i, feeds| {
            let size = pieces[i].0.len();
            if let Some((program, loss, _)) = self.programs.get_mut(&size) {
                program.run(session, feeds)?;
                total += size as f64 / count * block_on(program.read_wide(session, *loss))?[0];
            }
            Ok(())
        })?;
        match total.is_finite() {
            true => Ok(total),
            false => Err(Error::NotFinite { what: "the loss".into(), found: total }),
        }
    }

    /// Computes twice, layer by layer the last pass alone, and refuses a problem whose gradient is not the same, bit for bit.
    ///
    /// # Errors
    ///
    /// [`Error::NotDeterministic`], and those of [`Gradient::run`].
    pub fn probe(&mut self, session: &mut Session) -> Result<f64> {
        let loss = self.run(session)?;
        let first = block_on(session.get(&self.state))?;
        let again = self.finish(session)?;
        let second = block_on(session.get(&self.state))?;
        let differing = first.iter().zip(&second).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        if differing > 0 || loss.to_bits() != again.to_bits() {
            let most = first.iter().zip(&second).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            return Err(Error::NotDeterministic { differing, count: first.len(), most });
        }
        Ok(loss)
    }

    /// The Euclidean norm of the gradient that was computed last.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn norm(&self, session: &mut Session) -> Result<f64> {
        let mut vectors = Vectors::new(self.dimension());
        Ok(vectors.inner(session, &self.state, &self.state)?[(0, 0)].sqrt())
    }
}
