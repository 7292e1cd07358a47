//! From a compiled graph to steps and buffers: which value lives where, and when its place is free again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use crate::{
    compile::simplify::{Compiled, compile},
    error::{Error, Result},
    graph::{Graph, Op, Source, Tensor, Var, vars},
    launch::{Bind, Class, Launches, Target},
    tensor::{DType, Type},
};

/// Where a value lives during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A planned buffer, used by several values one after the other.
    Slot(usize),
    /// An input's buffer.
    Input(usize),
    /// A state's buffer, kept from run to run.
    State(usize),
    /// A constant's buffer.
    Literal(usize),
}

/// What happens in a run, in order.
#[derive(Debug, Clone)]
pub enum Step {
    /// An op is computed.
    Apply {
        /// The op.
        op: Arc<dyn Op>,
        /// Operands, by place and type; one that a result overwrites is listed too.
        x: Vec<(Place, Type)>,
        /// Results, by place and type.
        y: Vec<(Place, Type)>,
        /// Scratch buffers' places, in the order of the op's launches.
        scratch: Vec<Place>,
        /// The dispatches, on a device.
        launches: Launches,
    },
    /// A value is copied to another place.
    Copy {
        /// From where.
        from: Place,
        /// To where.
        to: Place,
        /// What.
        ty: Type,
    },
}

/// A named buffer that a program reads: an input or a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// A program before it is given to an executor.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Element type and number of elements of every slot.
    pub slots: Vec<(DType, usize)>,
    /// The inputs.
    pub inputs: Vec<Named>,
    /// The states.
    pub states: Vec<Named>,
    /// The constants.
    pub literals: Vec<Arc<[f32]>>,
    /// For each wanted value its place and type.
    pub outputs: Vec<(Place, Type)>,
}

impl Plan {
    /// Compiles and plans a graph whose wanted values are `outputs` for an executor.
    ///
    /// # Errors
    ///
    /// The graph's first broken rule, and [`Error::Limit`] for a value of 2 GiB or more.
    pub fn new(target: Target, g: &Graph, outputs: &[Tensor]) -> Result<Self> {
        g.expect_own(&[outputs])?;
        Planner::new(target.class(), compile(g, &vars(outputs), target.fuses())?).run()
    }

    /// Bytes of all slots: what a run needs beside inputs, states and constants.
    pub fn slot_bytes(&self) -> u64 {
        self.slots.iter().map(|&(_, len)| 4 * len as u64).sum()
    }

    /// Bytes of everything that is allocated for the program.
    pub fn bytes(&self) -> u64 {
        let named = |n: &[Named]| n.iter().map(|n| n.ty.bytes() as u64).sum::<u64>();
        let literals = self.literals.iter().map(|l| 4 * l.len() as u64).sum::<u64>();
        self.slot_bytes() + named(&self.inputs) + named(&self.states) + literals
    }

    /// Floating-point operations of a run.
    pub fn flops(&self) -> u64 {
        self.steps.iter().map(Step::flops).sum()
    }

    /// Number of dispatches of a run.
    pub fn dispatches(&self) -> usize {
        self.steps.iter().map(|s| if let Step::Apply { launches, .. } = s { launches.list.len() } else { 0 }).sum()
    }
}

impl Step {
    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        match self {
            Step::Apply { op, x, y, .. } => op.flops(&types(x), &types(y)),
            Step::Copy { .. } => 0,
        }
    }

    /// Bytes of operands and results.
    pub fn bytes(&self) -> u64 {
        match self {
            Step::Apply { x, y, .. } => x.iter().chain(y).map(|(_, t)| t.bytes() as u64).sum(),
            Step::Copy { ty, .. } => 2 * ty.bytes() as u64,
        }
    }
}

pub(crate) fn types(list: &[(Place, Type)]) -> Vec<&Type> {
    list.iter().map(|(_, t)| t).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Slot(i) => write!(f, "slot{i}"),
            Place::Input(i) => write!(f, "input{i}"),
            Place::State(i) => write!(f, "state{i}"),
            Place::Literal(i) => write!(f, "literal{i}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, n) in self.inputs.iter().enumerate() {
            writeln!(f, "input{i} {} {}", n.ty, n.name)?;
        }
        for (i, n) in self.states.iter().enumerate() {
            writeln!(f, "state{i} {} {}", n.ty, n.name)?;
        }
        let list = |x: &[(Place, Type)]| x.iter().map(|(p, t)| format!("{p} {t}")).collect::<Vec<_>>().join(", ");
        for step in &self.steps {
            match step {
                Step::Copy { from, to, ty } => writeln!(f, "{to} = copy {from} {ty}")?,
                Step::Apply { op, x, y, launches, .. } => {
                    let (bytes, flops) = (step.bytes(), step.flops());
                    writeln!(f, "{} = {} {}: {bytes} bytes, {flops} FLOPs, {op:?}", list(y), op.name(), list(x))?;
                    for l in &launches.list {
                        writeln!(f, "    {} {:?} grid {:?}", l.kernel, l.constants, l.groups)?;
                    }
                }
            }
        }
        let (kernels, bytes) = (self.dispatches(), self.bytes());
        let slots = format!("{} slots of {} bytes", self.slots.len(), self.slot_bytes());
        writeln!(f, "{kernels} dispatches, {} FLOPs, {slots}, {bytes} bytes at the peak", self.flops())
    }
}

impl Bind {
    /// Where it lives.
    pub(crate) fn place(self, x: &[(Place, Type)], y: &[(Place, Type)], scratch: &[Place]) -> Place {
        match self {
            Bind::In(i) => x[i].0,
            Bind::Out(i) => y[i].0,
            Bind::Scratch(i) => scratch[i],
        }
    }
}

struct Planner {
    /// Of the device that is planned for, if it is one.
    class: Option<Class>,
    g: Graph,
    outputs: Vec<Var>,
    plan: Plan,
    /// What states are to hold, and the states that hold a value.
    assigns: Vec<(Var, Var)>,
    assigned: HashMap<Var, Var>,
    /// Place of every value's root: views share that of the value they look at.
    places: HashMap<Var, Place>,
    /// Where views come from.
    root: Vec<Var>,
    /// For each root the last node that reads it.
    last: Vec<usize>,
    /// Free slots by type and length.
    free: BTreeSet<(DType, usize, usize)>,
}

impl Planner {
    fn new(class: Option<Class>, c: Compiled) -> Self {
        let count = c.graph.value_count();
        let assigns = c.graph.assigned_vars();
        Planner {
            class,
            outputs: c.outputs,
            plan: Plan::default(),
            assigned: assigns.iter().copied().collect(),
            assigns,
            places: HashMap::new(),
            root: (0..count).map(|i| Var(i as u32)).collect(),
            last: vec![0; count],
            free: BTreeSet::new(),
            g: c.graph,
        }
    }

    fn run(mut self) -> Result<Plan> {
        let never = self.g.nodes().len();
        for (n, node) in self.g.nodes().enumerate() {
            for x in &node.x {
                let root = self.root[x.index()];
                self.last[root.index()] = self.last[root.index()].max(n);
            }
            if let Source::Op(op) = &node.source
                && op.is_view()
            {
                self.root[node.y[0].index()] = self.root[node.x[0].index()];
            }
        }
        for v in self.outputs.iter().chain(self.assigns.iter().map(|(_, v)| v)) {
            self.last[self.root[v.index()].index()] = never;
        }
        for n in 0..never {
            let node = self.g.node(n);
            if !matches!(node.source, Source::Op(_)) {
                let (v, source, ty) = (node.y[0], node.source.clone(), self.g.ty(node.y[0]).clone());
                let place = self.leaf(&source, &ty);
                self.places.insert(v, place);
            }
        }
        let kept = self.kept();
        for n in 0..never {
            if let Source::Op(op) = self.g.node(n).source.clone()
                && !op.is_view()
            {
                self.apply(n, &op, &kept)?;
            }
        }
        self.plan.outputs = self.wanted();
        self.assign();
        Ok(self.plan)
    }

    /// The values that are computed right into the state that is to hold them, since nothing asks what it held before.
    fn kept(&self) -> HashMap<Var, Place> {
        let read: HashSet<Var> = self.g.nodes().flat_map(|n| &n.x).chain(&self.outputs).copied().collect();
        let idle =
            self.assigns.iter().filter(|(state, value)| !read.contains(state) && *value == self.root[value.index()]);
        idle.map(|&(state, value)| (value, self.places[&state])).collect()
    }

    fn leaf(&mut self, source: &Source, ty: &Type) -> Place {
        let named = |list: &mut Vec<Named>, name: &str| {
            list.push(Named { name: name.into(), ty: ty.clone() });
            list.len() - 1
        };
        match source {
            Source::Input(name) => Place::Input(named(&mut self.plan.inputs, name)),
            Source::State(name) => Place::State(named(&mut self.plan.states, name)),
            Source::Literal(data) => {
                self.plan.literals.push(data.clone());
                Place::Literal(self.plan.literals.len() - 1)
            }
            Source::Op(_) => unreachable!("ops are no leaves"),
        }
    }

    fn place(&self, v: Var) -> Place {
        self.places[&self.root[v.index()]]
    }

    /// A free slot of this type that fits best, or the largest free one grown, or a new one. A slot that is much too large
    /// stays free: a small value that lives long would keep it from others.
    fn take(&mut self, dtype: DType, len: usize) -> usize {
        let fits = self.free.range((dtype, len, 0)..=(dtype, 4 * len, usize::MAX)).next().copied();
        let best = fits.or_else(|| self.free.range((dtype, 0, 0)..(dtype, len, 0)).next_back().copied());
        match best {
            Some(free @ (_, had, slot)) => {
                self.free.remove(&free);
                self.plan.slots[slot].1 = had.max(len);
                slot
            }
            None => {
                self.plan.slots.push((dtype, len));
                self.plan.slots.len() - 1
            }
        }
    }

    fn give_back(&mut self, slot: usize) {
        let (dtype, len) = self.plan.slots[slot];
        self.free.insert((dtype, len, slot));
    }

    /// Whether node `n` may overwrite operand `x` with its result `y`: a state that is to hold `y`, which nothing reads
    /// later, or a value that dies here; and no other operand of the node is the same value.
    fn overwrites(&self, n: usize, x: Var, y: Var) -> bool {
        let root = self.root[x.index()];
        let alike = self.g.node(n).x.iter().filter(|v| self.root[v.index()] == root).count();
        let dies = self.last[root.index()] == n && alike == 1;
        match self.place(x) {
            Place::State(_) => dies && self.assigned.get(&root) == Some(&y),
            Place::Slot(_) => dies,
            _ => false,
        }
    }

    fn apply(&mut self, n: usize, op: &Arc<dyn Op>, kept: &HashMap<Var, Place>) -> Result<()> {
        let node = self.g.node(n).clone();
        let typed = |s: &Self, v: &Var| (s.place(*v), s.g.ty(*v).clone());
        let x: Vec<_> = node.x.iter().map(|v| typed(self, v)).collect();
        let y_types: Vec<_> = node.y.iter().map(|&v| self.g.ty(v).clone()).collect();
        for ty in types(&x).into_iter().chain(&y_types) {
            if ty.bytes() >= 1 << 31 {
                let (needed, limit) = (ty.bytes() as u64, (1 << 31) - 1);
                return Err(Error::Limit { what: format!("{}: bytes of a value {ty}", op.name()), needed, limit });
            }
        }
        let y_refs: Vec<&Type> = y_types.iter().collect();
        let launches = self.class.map_or_else(Launches::default, |class| op.launch(class, &types(&x), &y_refs));
        let (mut y, in_place) = (Vec::new(), op.in_place(node.x.len()));
        for (i, (&v, ty)) in node.y.iter().zip(y_types).enumerate() {
            let place = match in_place.get(i).map(|&operand| node.x[operand]) {
                Some(operand) if self.overwrites(n, operand, v) => self.place(operand),
                Some(operand) => self.copied(self.place(operand), &ty),
                None => match kept.get(&v) {
                    Some(&state) => state,
                    None => Place::Slot(self.take(ty.dtype, ty.count())),
                },
            };
            self.places.insert(v, place);
            y.push((place, ty));
        }
        let scratch: Vec<usize> = launches.scratch.iter().map(|&len| self.take(DType::F32, len)).collect();
        scratch.iter().for_each(|&slot| self.give_back(slot));
        let mut dead: Vec<Var> = node.x.iter().map(|v| self.root[v.index()]).collect();
        dead.extend(node.y.iter().filter(|v| self.last[v.index()] == 0));
        dead.retain(|v| self.last[v.index()] <= n);
        for v in dead {
            if let Place::Slot(slot) = self.place(v)
                && (node.y.contains(&v) || !y.iter().any(|(p, _)| *p == Place::Slot(slot)))
            {
                self.give_back(slot);
            }
        }
        let scratch = scratch.into_iter().map(Place::Slot).collect();
        self.plan.steps.push(Step::Apply { op: op.clone(), x, y, scratch, launches });
        Ok(())
    }

    /// Copies what is at a place to a slot.
    fn copied(&mut self, from: Place, ty: &Type) -> Place {
        let to = Place::Slot(self.take(ty.dtype, ty.count()));
        self.plan.steps.push(Step::Copy { from, to, ty: ty.clone() });
        to
    }

    /// Where the wanted values are after a run. What a state held before it is copied if the state is assigned.
    fn wanted(&mut self) -> Vec<(Place, Type)> {
        let mut kept: HashMap<Var, Place> = HashMap::new();
        let mut wanted = Vec::new();
        for v in self.outputs.clone() {
            let (root, mut place, ty) = (self.root[v.index()], self.place(v), self.g.ty(v).clone());
            if self.assigned.get(&root).is_some_and(|&value| self.place(value) != place) {
                place = match kept.get(&root) {
                    Some(&kept) => kept,
                    None => self.copied(place, &ty),
                };
                kept.insert(root, place);
            }
            wanted.push((place, ty));
        }
        wanted
    }

    /// Copies assigned values to their states, unless an update in place has put them there.
    fn assign(&mut self) {
        let assigns: Vec<(Place, Place, Type)> =
            self.assigns.iter().map(|&(s, v)| (self.place(v), self.place(s), self.g.ty(s).clone())).collect();
        let mut late = Vec::new();
        for (from, to, ty) in assigns.into_iter().filter(|(from, to, _)| from != to) {
            match from {
                // Another state, which may be overwritten itself: by way of a slot.
                Place::State(_) => {
                    let slot = self.copied(from, &ty);
                    late.push(Step::Copy { from: slot, to, ty });
                }
                _ => late.push(Step::Copy { from, to, ty }),
            }
        }
        self.plan.steps.extend(late);
    }
}
