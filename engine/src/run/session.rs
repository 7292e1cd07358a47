//! Where programs run: a session holds an executor and the states, a program what was compiled for it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use crate::{
    compile::Plan,
    device::Gpu,
    error::{Error, Result},
    graph::{Graph, Node, Source, Tensor, Var, vars},
    launch::Target,
    run::{
        cpu::{CpuProgram, CpuSession},
        device::{DeviceProgram, DeviceSession},
        inputs::{Inputs, Key, missing_state, other_session},
        profile::Profile,
        scope::{Scope, Scopes},
    },
    tensor::{DType, Type, shape},
};

/// An executor, and the states that its programs share by name.
#[derive(Debug)]
pub struct Session {
    on: On,
    memory: Option<u64>,
    scopes: Scopes,
}

/// Does the same on whatever executor there is.
macro_rules! on {
    ($on:expr, $s:ident => $do:expr) => {
        match $on {
            On::Device($s) => $do,
            On::Host($s) => $do,
            On::Reference($s) => $do,
        }
    };
}

#[derive(Debug)]
enum On {
    Device(DeviceSession),
    Host(CpuSession<f32>),
    Reference(CpuSession<f64>),
}

/// A graph compiled for a session's executor.
#[derive(Debug)]
pub struct Program {
    plan: Arc<Plan>,
    /// Names of the graph's inputs.
    inputs: HashMap<Var, String>,
    outputs: Vec<Var>,
    on: Compiled,
}

#[derive(Debug)]
enum Compiled {
    Device(Box<DeviceProgram>),
    Host(CpuProgram<f32>),
    Reference(CpuProgram<f64>),
}

impl Session {
    /// On a device whose cooperative matrices are taken as they are.
    pub(crate) fn untested(gpu: Gpu) -> Self {
        Session { on: On::Device(DeviceSession::new(gpu)), memory: None, scopes: Scopes::default() }
    }

    /// On the CPU in f32, on all cores.
    pub fn host() -> Self {
        Session { on: On::Host(CpuSession::default()), memory: available_memory(), scopes: Scopes::default() }
    }

    /// On the CPU in f64: the truth that the others are held to. Graphs are not fused for it.
    pub fn reference() -> Self {
        Session { on: On::Reference(CpuSession::default()), memory: available_memory(), scopes: Scopes::default() }
    }

    /// Programs that need more bytes than this are refused.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.memory = Some(bytes);
    }

    /// What programs run on.
    pub fn executor(&self) -> String {
        match &self.on {
            On::Device(d) => d.gpu.to_string(),
            On::Host(_) => "host (f32 on the CPU)".into(),
            On::Reference(_) => "reference (f64 on the CPU)".into(),
        }
    }

    /// A place for states of its own, which goes with what it returns.
    pub fn scope(&mut self) -> Scope {
        self.release();
        self.scopes.open()
    }

    /// Removes the states of scopes that are gone.
    fn release(&mut self) {
        for prefix in self.scopes.gone() {
            self.names().iter().filter(|name| name.starts_with(&prefix)).for_each(|name| self.remove(name));
        }
    }

    /// Sets a state, which need not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] when the data does not have the shape's number of elements, or the device's errors.
    pub fn set(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<()> {
        if shape::count(shape) != data.len() {
            return Err(Error::Data {
                what: format!("state \"{name}\""),
                expected: format!("{} values for {shape:?}", shape::count(shape)),
                found: data.len().to_string(),
            });
        }
        self.release();
        let ty = Type::f32(shape);
        on!(&mut self.on, s => s.set(name, ty, data))
    }

    /// Makes a state of this type, holding zeros; one that is there already is left as it is, if its type is the same.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn reserve(&mut self, name: &str, ty: &Type) -> Result<()> {
        self.release();
        on!(&mut self.on, s => s.reserve(name, ty))
    }

    /// Drops a state; programs that use it can no longer run.
    pub fn remove(&mut self, name: &str) {
        on!(&mut self.on, s => s.remove(name));
    }

    /// Shape of a state, if there is one of this name.
    pub fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        self.type_of(name).map(|ty| ty.shape.clone())
    }

    fn type_of(&self, name: &str) -> Option<&Type> {
        on!(&self.on, s => s.ty(name))
    }

    /// Names of the states, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = on!(&self.on, s => s.names());
        names.sort_unstable();
        names
    }

    /// Reads an f32 state back; rounds in the reference.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when there is none of this name, [`Error::Data`] for one of indices, or the device's errors.
    pub async fn get(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.get_wide(name).await?.into_iter().map(|v| v as f32).collect())
    }

    /// Reads an f32 state back in f64.
    ///
    /// # Errors
    ///
    /// Those of [`Session::get`].
    pub async fn get_wide(&self, name: &str) -> Result<Vec<f64>> {
        if let Some(ty) = self.type_of(name).filter(|ty| ty.dtype != DType::F32) {
            let (what, expected, found) = (format!("state \"{name}\""), "f32".into(), ty.to_string());
            return Err(Error::Data { what, expected, found });
        }
        let found = match &self.on {
            On::Device(s) => {
                s.get(name).await?.map(|words| words.into_iter().map(|w| f32::from_bits(w).into()).collect())
            }
            On::Host(s) => s.get(name).map(|x| x.iter().map(|&v| v.into()).collect()),
            On::Reference(s) => s.get(name).map(<[f64]>::to_vec),
        };
        found.ok_or_else(|| Error::Name { what: "state", name: name.into(), problem: "not there".into() })
    }

    /// Bytes that programs may use, where that is known.
    pub fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// What its programs are compiled for.
    pub fn target(&self) -> Target {
        match &self.on {
            On::Device(s) => Target::Device { class: s.gpu.class(), storage_buffers: s.gpu.storage_buffers() },
            On::Host(_) => Target::Host,
            On::Reference(_) => Target::Reference,
        }
    }

    /// The plan of a graph here, of which nothing is allocated.
    ///
    /// # Errors
    ///
    /// Those of [`Plan::new`].
    pub fn plan(&self, g: &Graph, outputs: &[Tensor]) -> Result<Plan> {
        Plan::new(self.target(), g, outputs)
    }

    /// Compiles a graph whose wanted values are `outputs`; its assignments are always carried out. Every state that it
    /// reads must have been [set](Session::set).
    ///
    /// # Errors
    ///
    /// The graph's first broken rule, [`Error::Memory`] or [`Error::Limit`] when the plan does not fit, [`Error::Name`] for a
    /// state that is not there.
    pub fn compile(&self, g: &Graph, outputs: &[Tensor]) -> Result<Program> {
        let plan = Arc::new(self.plan(g, outputs)?);
        let wide = if matches!(self.on, On::Reference(_)) { 2 } else { 1 };
        if let Some(available) = self.memory
            && plan.bytes() * wide > available
        {
            return Err(Error::Memory { needed: plan.bytes() * wide, available });
        }
        for named in &plan.states {
            if self.type_of(&named.name) != Some(&named.ty) {
                return Err(missing_state(named, self.type_of(&named.name)));
            }
        }
        let on = match &self.on {
            On::Device(s) => Compiled::Device(Box::new(DeviceProgram::new(s, plan.clone())?)),
            On::Host(_) => Compiled::Host(CpuProgram::new(plan.clone())),
            On::Reference(_) => Compiled::Reference(CpuProgram::new(plan.clone())),
        };
        let name = |node: &Node| match &node.source {
            Source::Input(name) => Some((node.y[0], name.clone())),
            _ => None,
        };
        Ok(Program { plan, inputs: g.nodes().filter_map(name).collect(), outputs: vars(outputs), on })
    }
}

impl Program {
    /// Steps, buffers and costs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the program once on these inputs. On a device this returns when the work is submitted. Inputs that the program has no
    /// use for are left aside, so that one list may serve several programs.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for an input that is missing, [`Error::Data`] for data that does not fit or a session that the
    /// program was not compiled for, and the device's errors.
    pub fn run<'a>(&mut self, session: &mut Session, inputs: impl Into<Inputs<'a>>) -> Result<()> {
        self.take(inputs.into())?;
        match (&mut self.on, &mut session.on) {
            (Compiled::Device(p), On::Device(s)) => p.run(s, None),
            (Compiled::Host(p), On::Host(s)) => p.run(s, |_, _| ()),
            (Compiled::Reference(p), On::Reference(s)) => p.run(s, |_, _| ()),
            _ => Err(other_session()),
        }
    }

    /// [`Program::run`], with the time that every dispatch takes on a device, or every step on the CPU. Dispatches are
    /// stamped where they are, between their neighbours; waits for the run.
    ///
    /// # Errors
    ///
    /// Those of [`Program::run`], and [`Error::Device`] for an adapter that does not stamp within passes.
    pub async fn profile<'a>(&mut self, session: &mut Session, inputs: impl Into<Inputs<'a>>) -> Result<Profile> {
        self.take(inputs.into())?;
        let mut steps = Vec::new();
        let began = Instant::now();
        let mut watch = |step, times: [Instant; 2]| {
            steps.push((step, times.map(|t| t.duration_since(began).as_nanos() as u64)));
        };
        match (&mut self.on, &mut session.on) {
            (Compiled::Device(p), On::Device(s)) => {
                let stamps = p.time(s).await?;
                return Ok(Profile::of_dispatches(&self.plan, &stamps));
            }
            (Compiled::Host(p), On::Host(s)) => p.run(s, &mut watch)?,
            (Compiled::Reference(p), On::Reference(s)) => p.run(s, &mut watch)?,
            _ => return Err(other_session()),
        }
        Ok(Profile::of_steps(&self.plan, &steps))
    }

    fn take(&mut self, inputs: Inputs) -> Result<()> {
        let plan = self.plan.clone();
        for (i, named) in plan.inputs.iter().enumerate() {
            let found = inputs.0.iter().find(|(key, _)| match key {
                Key::Name(name) => *name == named.name,
                Key::Value(var) => self.inputs.get(var) == Some(&named.name),
            });
            let Some((_, data)) = found else {
                let name = named.name.clone();
                return Err(Error::Name { what: "input", name, problem: "not given".into() });
            };
            if !data.fits(&named.ty) {
                return Err(Error::Data {
                    what: format!("input \"{}\"", named.name),
                    expected: named.ty.to_string(),
                    found: data.describe(),
                });
            }
            match &mut self.on {
                Compiled::Device(p) => p.write(i, *data),
                Compiled::Host(p) => p.write(i, *data),
                Compiled::Reference(p) => p.write(i, *data),
            }
        }
        Ok(())
    }

    fn index(&self, output: Var) -> Result<usize> {
        self.outputs.iter().position(|&o| o == output).ok_or_else(|| Error::Name {
            what: "value",
            name: output.to_string(),
            problem: "it is no output of this program".into(),
        })
    }

    /// Reads an output of the last run; rounds in the reference.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for a value that is no output, and the device's errors.
    pub async fn read(&self, session: &Session, output: impl Into<Var>) -> Result<Vec<f32>> {
        Ok(self.read_wide(session, output).await?.into_iter().map(|v| v as f32).collect())
    }

    /// Reads an output of the last run in f64, in which both floats and indices are exact.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for a value that is no output, and the device's errors.
    pub async fn read_wide(&self, session: &Session, output: impl Into<Var>) -> Result<Vec<f64>> {
        let i = self.index(output.into())?;
        match (&self.on, &session.on) {
            (Compiled::Device(p), On::Device(_)) => {
                let words = p.output(i).await?;
                Ok(match self.plan.outputs[i].1.dtype {
                    DType::F32 => words.into_iter().map(|w| f32::from_bits(w).into()).collect(),
                    DType::U32 | DType::F16x2 => words.into_iter().map(f64::from).collect(),
                })
            }
            (Compiled::Host(p), On::Host(s)) => p.output(i, s),
            (Compiled::Reference(p), On::Reference(s)) => p.output(i, s),
            _ => Err(other_session()),
        }
    }

    /// [`Program::read`], waiting for it.
    ///
    /// # Errors
    ///
    /// Those of [`Program::read`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_now(&self, session: &Session, output: impl Into<Var>) -> Result<Vec<f32>> {
        pollster::block_on(self.read(session, output))
    }
}

/// Memory that the system says is available, where it says so.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
