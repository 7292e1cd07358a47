//! Programs on the CPU: the host in f32 on all cores, the reference in f64.

use std::{collections::HashMap, mem, sync::Arc, time::Instant};

use crate::{
    compile::{Place, Plan, Step},
    cpu::{AlignedBuf, Buf, In, Operand, OutMut, Real},
    error::Result,
    graph::Op,
    run::inputs::{Data, missing_state},
    tensor::{DType, Type},
};

/// A float that ops have an evaluation for.
pub(crate) trait Executable: Real {
    fn execute(op: &dyn Op, x: &[Operand<Self>], y: &mut [OutMut<Self>]);
}

impl Executable for f32 {
    fn execute(op: &dyn Op, x: &[Operand<f32>], y: &mut [OutMut<f32>]) {
        op.host(x, y)
    }
}

impl Executable for f64 {
    fn execute(op: &dyn Op, x: &[Operand<f64>], y: &mut [OutMut<f64>]) {
        op.reference(x, y)
    }
}

/// The states of a session on the CPU.
#[derive(Debug, Default)]
pub(crate) struct CpuSession<F> {
    states: HashMap<String, (Type, Buf<F>)>,
}

/// A program's buffers on the CPU.
#[derive(Debug)]
pub(crate) struct CpuProgram<F> {
    plan: Arc<Plan>,
    slots: Vec<Buf<F>>,
    inputs: Vec<Buf<F>>,
    literals: Vec<Buf<F>>,
    /// The session's buffers, during a run.
    states: Vec<Buf<F>>,
}

impl<F: Executable> CpuSession<F> {
    pub(crate) fn set(&mut self, name: &str, ty: Type, data: &[f32]) -> Result<()> {
        let data = AlignedBuf::of(ty.count(), data.iter().map(|&v| F::of(v.into())));
        self.states.insert(name.into(), (ty, Buf::Float(data)));
        Ok(())
    }

    pub(crate) fn reserve(&mut self, name: &str, ty: &Type) -> Result<()> {
        if self.ty(name) != Some(ty) {
            self.states.insert(name.into(), (ty.clone(), Buf::zeros(ty.dtype, ty.count())));
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.states.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[F]> {
        match self.states.get(name) {
            Some((_, Buf::Float(x))) => Some(x),
            _ => None,
        }
    }

    pub(crate) fn ty(&self, name: &str) -> Option<&Type> {
        self.states.get(name).map(|(ty, _)| ty)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.states.keys().cloned().collect()
    }
}

impl<F: Executable> CpuProgram<F> {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let slots = plan.slots.iter().map(|&(dtype, len)| Buf::zeros(dtype, len)).collect();
        let inputs = plan.inputs.iter().map(|n| Buf::zeros(n.ty.dtype, n.ty.count())).collect();
        let wide = |l: &Arc<[f32]>| Buf::Float(AlignedBuf::of(l.len(), l.iter().map(|&v| F::of(v.into()))));
        let literals = plan.literals.iter().map(wide).collect();
        CpuProgram { slots, inputs, literals, states: Vec::new(), plan }
    }

    pub(crate) fn write(&mut self, input: usize, data: Data) {
        match (&mut self.inputs[input], data) {
            (Buf::Float(to), Data::F32(from)) => {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = F::of(from.into()));
            }
            (Buf::Index(to), Data::U32(from)) => to.copy_from_slice(from),
            _ => unreachable!("the session has compared the types"),
        }
    }

    /// `watch` hears when each step began and ended.
    pub(crate) fn run(
        &mut self, session: &mut CpuSession<F>, mut watch: impl FnMut(usize, [Instant; 2]) + Send,
    ) -> Result<()> {
        let plan = self.plan.clone();
        // The states move here for the run; all of them are known to be there before the first one moves.
        for named in &plan.states {
            if session.ty(&named.name) != Some(&named.ty) {
                return Err(missing_state(named, session.ty(&named.name)));
            }
        }
        for named in &plan.states {
            let state = session.states.get_mut(&named.name);
            self.states.push(state.map(|(_, buf)| mem::take(buf)).unwrap_or_default());
        }
        // On a thread of the pool, where a parallel loop begins without waking anyone first.
        rayon::scope(|_| {
            for (i, step) in plan.steps.iter().enumerate() {
                let begin = Instant::now();
                self.step(step);
                watch(i, [begin, Instant::now()]);
            }
        });
        for (named, buf) in plan.states.iter().zip(mem::take(&mut self.states)) {
            if let Some((_, state)) = session.states.get_mut(&named.name) {
                *state = buf;
            }
        }
        Ok(())
    }

    fn buf(&self, place: Place) -> &Buf<F> {
        match place {
            Place::Slot(i) => &self.slots[i],
            Place::Input(i) => &self.inputs[i],
            Place::State(i) => &self.states[i],
            Place::Literal(i) => &self.literals[i],
        }
    }

    fn buf_mut(&mut self, place: Place) -> &mut Buf<F> {
        match place {
            Place::Slot(i) => &mut self.slots[i],
            Place::State(i) => &mut self.states[i],
            Place::Input(_) | Place::Literal(_) => unreachable!("the plan writes to slots and states only"),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Copy { from, to, ty } => {
                let mut out = mem::take(self.buf_mut(*to));
                out.write(ty.count()).copy_from(self.buf(*from).read(ty.count()));
                *self.buf_mut(*to) = out;
            }
            Step::Apply { op, x, y, .. } => {
                let mut out: Vec<Buf<F>> = y.iter().map(|(place, _)| mem::take(self.buf_mut(*place))).collect();
                let operand = |(place, ty): &(Place, Type)| {
                    // What the op overwrites comes as its result.
                    let taken = y.iter().any(|(p, _)| p == place);
                    let data = if taken { nothing(ty.dtype) } else { self.buf_ref(*place, ty) };
                    (data, ty.clone())
                };
                let x: Vec<_> = x.iter().map(operand).collect();
                let x: Vec<Operand<F>> = x.iter().map(|(data, ty)| Operand { ty, data: *data }).collect();
                let mut results: Vec<OutMut<F>> =
                    out.iter_mut().zip(y).map(|(buf, (_, ty))| buf.write(ty.count())).collect();
                F::execute(op.as_ref(), &x, &mut results);
                drop(results);
                drop(x);
                for (buf, (place, _)) in out.into_iter().zip(y) {
                    *self.buf_mut(*place) = buf;
                }
            }
        }
    }

    fn buf_ref(&self, place: Place, ty: &Type) -> In<'_, F> {
        self.buf(place).read(ty.count())
    }

    /// An output of the last run, in f64, in which floats and indices are exact.
    pub(crate) fn output(&self, i: usize, session: &CpuSession<F>) -> Result<Vec<f64>> {
        let (place, ty) = &self.plan.outputs[i];
        let data = match place {
            Place::State(s) => {
                let named = &self.plan.states[*s];
                let Some((_, buf)) = session.states.get(&named.name) else {
                    return Err(missing_state(named, None));
                };
                buf.read(ty.count())
            }
            place => self.buf(*place).read(ty.count()),
        };
        Ok(match data {
            In::Float(x) => x.iter().map(|v| v.wide()).collect(),
            In::Index(x) => x.iter().map(|&v| v.into()).collect(),
        })
    }
}

fn nothing<'a, F>(dtype: DType) -> In<'a, F> {
    match dtype {
        DType::F32 => In::Float(&[]),
        DType::U32 | DType::F16x2 => In::Index(&[]),
    }
}
