//! The fusions: a small table of handwritten patterns.
//!
//! | pattern | becomes |
//! |---|---|
//! | product + product, of one kind | one product of two terms |
//! | conv2d · one number for each channel | conv2d with weights times these |
//! | matmul or conv2d + one number for each column | the same with a bias |
//! | batch_norm + an array like it | batch_norm with a residual |
//! | relu of batch_norm | batch_norm with a ReLU |
//! | batch_norm_tangent + an array like it | batch_norm_tangent with a residual |
//! | relu_mask of batch_norm_tangent | batch_norm_tangent with a mask |
//! | conv2d or conv2d_input_grad + an array like it | the same with a residual |
//! | relu_mask of conv2d or conv2d_input_grad | the same with a mask |
//! | relu of conv2d | conv2d with a ReLU |
//! | updates by one rule at one rate | one update of all their arrays |
//!
//! A value that anything else needs is never fused away.

use std::{
    any::Any,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    graph::{Graph, Op, Source, Var},
    ops::{
        conv::{conv2d::Conv2d, conv2d_input_grad::Conv2dInputGrad, conv2d_weight_grad::Conv2dWeightGrad},
        matmul::matmul::Matmul,
        norm::{batch_norm::BatchNorm, batch_norm_tangent::BatchNormTangent},
        pointwise::{add::Add, map::Pointwise, mul::Mul, relu::Relu, relu_mask::ReluMask},
    },
    tensor::item,
};

/// An op that replaces several nodes: operands and results in the graph before.
#[derive(Debug, Clone)]
pub(crate) struct Fused {
    pub op: Arc<dyn Op>,
    pub x: Vec<Var>,
    pub y: Vec<Var>,
    /// What its weights, the second operand, are multiplied by.
    pub scale: Option<Var>,
}

/// Which nodes are replaced by what.
#[derive(Debug, Default)]
pub(crate) struct Fusions {
    fused: Vec<Fused>,
    /// For each fusion the nodes that it replaces.
    members: Vec<Vec<usize>>,
    /// For a replaced node its fusion.
    by_node: HashMap<usize, usize>,
    /// Replaced nodes that are not where their fusion takes its place.
    inside: HashSet<usize>,
}

impl Fusions {
    fn add(&mut self, fused: Fused, members: Vec<usize>) {
        self.by_node.extend(members.iter().map(|&n| (n, self.fused.len())));
        self.fused.push(fused);
        self.members.push(members);
    }

    /// The fusion that makes this node's results.
    pub(crate) fn at(&self, node: usize) -> Option<&Fused> {
        self.by_node.get(&node).map(|&f| &self.fused[f])
    }

    /// Whether the node only comes into being with its fusion, later.
    pub(crate) fn is_inside(&self, node: usize) -> bool {
        self.inside.contains(&node)
    }

    /// Matches the table against every node of a graph, for an adapter that binds so many storage buffers at once.
    pub(crate) fn find(g: &Graph, outputs: &[Var], buffers: usize) -> Self {
        let mut finder = Finder::new(g, outputs);
        for n in 0..g.nodes().len() {
            let Source::Op(op) = &g.node(n).source else { continue };
            let op = op.as_any();
            if op.is::<Pointwise<Add, 2>>() {
                let [a, b] = [g.node(n).x[0], g.node(n).x[1]];
                let _ = finder.two_terms(n, a, b)
                    || finder.bias(n, a, b)
                    || finder.bias(n, b, a)
                    || finder.residual(n, a, b)
                    || finder.residual(n, b, a);
            } else if op.is::<Pointwise<Mul, 2>>() {
                let [a, b] = [g.node(n).x[0], g.node(n).x[1]];
                let _ = finder.scale(n, a, b) || finder.scale(n, b, a);
            } else if op.is::<Pointwise<Relu, 1>>() {
                finder.relu(n);
            } else if op.is::<Pointwise<ReluMask, 2>>() {
                finder.mask(n);
            }
        }
        finder.updates(buffers);
        finder.found
    }
}

struct Finder<'a> {
    g: &'a Graph,
    uses: Vec<usize>,
    found: Fusions,
}

/// The same op with two terms, if it is a product of one.
fn doubled(a: &dyn Any, b: &dyn Any) -> Option<Arc<dyn Op>> {
    if let (Some(a), Some(b)) = (a.downcast_ref::<Matmul>(), b.downcast_ref::<Matmul>()) {
        let alike = a.terms == 1 && b.terms == 1 && !a.bias && !b.bias && (a.ta, a.tb) == (b.ta, b.tb);
        return alike.then(|| Arc::new(Matmul { terms: 2, ..a.clone() }) as _);
    }
    if let (Some(a), Some(b)) = (a.downcast_ref::<Conv2d>(), b.downcast_ref::<Conv2d>()) {
        let plain = a.is_plain() && b.is_plain();
        return (plain && a.conv == b.conv).then(|| Arc::new(Conv2d { terms: 2, ..a.clone() }) as _);
    }
    if let (Some(a), Some(b)) = (a.downcast_ref::<Conv2dInputGrad>(), b.downcast_ref::<Conv2dInputGrad>()) {
        let plain = a.is_plain() && b.is_plain();
        return (plain && (a.conv, a.size) == (b.conv, b.size))
            .then(|| Arc::new(Conv2dInputGrad { terms: 2, ..a.clone() }) as _);
    }
    let (a, b) = (a.downcast_ref::<Conv2dWeightGrad>()?, b.downcast_ref::<Conv2dWeightGrad>()?);
    let alike = a.terms == 1 && b.terms == 1 && (a.conv, a.kernel) == (b.conv, b.kernel);
    alike.then(|| Arc::new(Conv2dWeightGrad { terms: 2, ..a.clone() }) as _)
}

/// The same op with a bias, if it is one that takes it.
fn biased(op: &dyn Any) -> Option<Arc<dyn Op>> {
    if let Some(op) = op.downcast_ref::<Matmul>() {
        return (!op.bias).then(|| Arc::new(Matmul { bias: true, ..op.clone() }) as _);
    }
    let op = op.downcast_ref::<Conv2d>()?;
    (!op.bias && !op.has_epilogue()).then(|| Arc::new(Conv2d { bias: true, ..op.clone() }) as _)
}

/// The same op with a residual, if it is one that takes it.
fn with_residual(op: &dyn Any) -> Option<Arc<dyn Op>> {
    if let Some(op) = op.downcast_ref::<BatchNorm>() {
        return (!op.residual && !op.relu).then(|| Arc::new(BatchNorm { residual: true, ..op.clone() }) as _);
    }
    if let Some(op) = op.downcast_ref::<Conv2d>() {
        return (!op.has_epilogue()).then(|| Arc::new(Conv2d { residual: true, ..op.clone() }) as _);
    }
    if let Some(op) = op.downcast_ref::<Conv2dInputGrad>() {
        return (!op.residual && !op.mask).then(|| Arc::new(Conv2dInputGrad { residual: true, ..op.clone() }) as _);
    }
    let op = op.downcast_ref::<BatchNormTangent>()?;
    (!op.residual && !op.mask).then(|| Arc::new(BatchNormTangent { residual: true, ..op.clone() }) as _)
}

/// The same op with a mask, if it is one that takes it.
fn masked(op: &dyn Any) -> Option<Arc<dyn Op>> {
    if let Some(op) = op.downcast_ref::<Conv2d>() {
        return (!op.mask && !op.relu).then(|| Arc::new(Conv2d { mask: true, ..op.clone() }) as _);
    }
    if let Some(op) = op.downcast_ref::<Conv2dInputGrad>() {
        return (!op.mask).then(|| Arc::new(Conv2dInputGrad { mask: true, ..op.clone() }) as _);
    }
    let op = op.downcast_ref::<BatchNormTangent>()?;
    (!op.mask).then(|| Arc::new(BatchNormTangent { mask: true, ..op.clone() }) as _)
}

/// The same op with a ReLU, if it is one that takes it.
fn rectified(op: &dyn Any) -> Option<Arc<dyn Op>> {
    if let Some(op) = op.downcast_ref::<Conv2d>() {
        return (!op.mask && !op.relu).then(|| Arc::new(Conv2d { relu: true, ..op.clone() }) as _);
    }
    let op = op.downcast_ref::<BatchNorm>()?;
    (!op.relu).then(|| Arc::new(BatchNorm { relu: true, ..op.clone() }) as _)
}

impl<'a> Finder<'a> {
    fn new(g: &'a Graph, outputs: &[Var]) -> Self {
        let (mut uses, assigns) = (vec![0; g.value_count()], g.assigned_vars());
        let wanted = outputs.iter().chain(assigns.iter().map(|(_, v)| v));
        for &v in g.nodes().flat_map(|n| &n.x).chain(wanted) {
            uses[v.index()] += 1;
        }
        Finder { g, uses, found: Fusions::default() }
    }

    /// The op that makes `v`, its operands and results, if nothing but one node needs `v`; a fusion found before included.
    fn maker(&self, v: Var) -> Option<(usize, Fused)> {
        if self.uses[v.index()] != 1 {
            return None;
        }
        let n = self.g.node_index(v);
        if let Some(fused) = self.found.at(n) {
            return (fused.y[0] == v).then(|| (n, fused.clone()));
        }
        let node = &self.g.node(n);
        match &node.source {
            Source::Op(op) => Some((n, Fused { op: op.clone(), x: node.x.clone(), y: node.y.clone(), scale: None })),
            _ => None,
        }
    }

    /// Replaces the makers `inside` and node `n`, whose result takes the place of the first of `made`, by `op`, which has an
    /// operand more if there is one.
    fn replace(&mut self, n: usize, inside: &[usize], op: Arc<dyn Op>, mut made: Fused, more: Option<Var>) -> bool {
        made.x.extend(more);
        made.y[0] = self.g.node(n).y[0];
        // A fusion inside a fusion: its nodes belong to the new one.
        let mut members = vec![n];
        for &i in inside {
            match self.found.by_node.get(&i) {
                Some(&old) => members.append(&mut self.found.members[old]),
                None => members.push(i),
            }
        }
        self.found.inside.extend(inside);
        self.found.add(Fused { op, ..made }, members);
        true
    }

    fn two_terms(&mut self, n: usize, a: Var, b: Var) -> bool {
        let (Some((i, left)), Some((j, right))) = (self.maker(a), self.maker(b)) else { return false };
        // Stacks, which have an axis before four others, may be other factors of the one than of the other.
        let alike = |(&p, &q): (&Var, &Var)| item(self.g.shape(p), 4) == item(self.g.shape(q), 4);
        let same_shapes = self.g.shape(a) == self.g.shape(b)
            && left.x.len() == right.x.len()
            && left.x.iter().zip(&right.x).all(alike);
        match doubled(left.op.as_any(), right.op.as_any()) {
            Some(op) if same_shapes && i != j && left.scale.is_none() && right.scale.is_none() => {
                self.replace(n, &[i, j], op, Fused { x: [left.x, right.x].concat(), ..left }, None)
            }
            _ => false,
        }
    }

    fn bias(&mut self, n: usize, a: Var, bias: Var) -> bool {
        let Some((i, made)) = self.maker(a) else { return false };
        let columns = self.g.shape(a).last().copied();
        if self.g.shape(bias).len() != 1 || self.g.shape(bias).first().copied() != columns {
            return false;
        }
        if self.g.shape(self.g.node(n).y[0]) != self.g.shape(a) {
            return false;
        }
        match biased(made.op.as_any()) {
            Some(op) if !self.depends(bias, i) => self.replace(n, &[i], op, made, Some(bias)),
            _ => false,
        }
    }

    fn scale(&mut self, n: usize, a: Var, scale: Var) -> bool {
        let Some((i, made)) = self.maker(a) else { return false };
        let takes = made.op.as_any().downcast_ref().is_some_and(Conv2d::is_plain) && made.scale.is_none();
        let channels = self.g.shape(a).last().copied();
        let fits = self.g.shape(scale).len() == 1 && self.g.shape(scale).first().copied() == channels;
        if !takes || !fits || self.g.shape(self.g.node(n).y[0]) != self.g.shape(a) || self.depends(scale, i) {
            return false;
        }
        self.replace(n, &[i], made.op.clone(), Fused { scale: Some(scale), ..made }, None)
    }

    fn residual(&mut self, n: usize, a: Var, residual: Var) -> bool {
        let Some((i, made)) = self.maker(a) else { return false };
        let Some(op) = with_residual(made.op.as_any()) else { return false };
        if made.y[0] != a || self.g.shape(residual) != self.g.shape(a) || self.depends(residual, i) {
            return false;
        }
        self.replace(n, &[i], op, made, Some(residual))
    }

    fn relu(&mut self, n: usize) -> bool {
        let x = self.g.node(n).x[0];
        let Some((i, made)) = self.maker(x) else { return false };
        match rectified(made.op.as_any()) {
            Some(op) if made.y[0] == x => self.replace(n, &[i], op, made, None),
            _ => false,
        }
    }

    fn mask(&mut self, n: usize) -> bool {
        let [mask, x] = [self.g.node(n).x[0], self.g.node(n).x[1]];
        let Some((i, made)) = self.maker(x) else { return false };
        let Some(op) = masked(made.op.as_any()) else { return false };
        // Results may be stacks, of members that come in vec4s; the mask is one for all.
        let all = self.g.shape(x);
        let one = match made.op.as_any().is::<Conv2dInputGrad>() || made.op.as_any().is::<Conv2d>() {
            true => item(all, 4),
            false => self.g.shape(made.x[0]),
        };
        let fits = one == all || one.iter().product::<usize>().is_multiple_of(4);
        if self.g.shape(mask) != one || !fits || made.y[0] != x || self.depends(mask, i) {
            return false;
        }
        self.replace(n, &[i], op, made, Some(mask))
    }

    /// Joins the updates that differ in their arrays alone, and come after as many others, so that none waits for another.
    fn updates(&mut self, buffers: usize) {
        let mut groups: HashMap<(&str, Var, usize), Vec<Group>> = HashMap::new();
        let mut order = Vec::new();
        let mut depth = vec![0; self.g.nodes().len()];
        for (n, node) in self.g.nodes().enumerate() {
            depth[n] = node.x.iter().map(|&x| depth[self.g.node_index(x)]).max().unwrap_or(0);
            let Source::Op(op) = &node.source else { continue };
            let Some(many) = op.together(buffers) else { continue };
            let key = (op.name(), node.x[node.x.len() - 1], depth[n]);
            depth[n] += 1;
            let alike = groups.entry(key).or_default();
            match alike.iter_mut().find(|group| group.many.same(many.as_any())) {
                Some(group) => group.members.push(n),
                None => {
                    order.push((key, alike.len()));
                    alike.push(Group { many, members: vec![n] });
                }
            }
        }
        for (key, place) in order {
            let Group { many, members } = &groups[&key][place];
            if members.len() < 2 {
                continue;
            }
            let (mut x, mut y) = (Vec::new(), Vec::new());
            for node in members.iter().map(|&n| self.g.node(n)) {
                x.extend(&node.x[..node.x.len() - 1]);
                y.extend(&node.y);
            }
            x.push(key.1);
            self.found.inside.extend(&members[..members.len() - 1]);
            self.found.add(Fused { op: many.clone(), x, y, scale: None }, members.clone());
        }
    }

    /// Whether `v` comes from node `n`, so that the node cannot wait for it. Operands come before results.
    fn depends(&self, v: Var, n: usize) -> bool {
        let (mut seen, mut stack) = (HashSet::new(), vec![self.g.node_index(v)]);
        while let Some(m) = stack.pop() {
            if m == n {
                return true;
            }
            if m > n && seen.insert(m) {
                stack.extend(self.g.node(m).x.iter().map(|&x| self.g.node_index(x)));
            }
        }
        false
    }
}

/// Updates that are joined: the op that moves them all, and their nodes.
struct Group {
    many: Arc<dyn Op>,
    members: Vec<usize>,
}
