//! An op of one's own, `y = x³`: its shape rule, its kernel, its evaluation on the CPU and its derivatives.

use hillshade::engine::{
    At, Bind, Class, Derivatives, Gpu, Graph, Launch, Launches, Op, Operand, OutMut, Result, Session, Tensor, Type,
    block_on,
};

const KERNEL: &str = "
struct Params { len: u32 } @group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = at.y * groups.x * 64 + at.x;
    if i < params.len { y[i] = x[i] * x[i] * x[i]; }
}";

#[derive(Debug, PartialEq)]
struct Cube;

impl Op for Cube {
    fn name(&self) -> &'static str {
        "cube"
    }
    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        Ok(vec![Type::f32(&x[0].shape[..])])
    }
    fn launch(&self, _class: Class, x: &[&Type], _y: &[&Type]) -> Launches {
        let (len, bind) = (x[0].count(), [Bind::In(0), Bind::Out(0)]);
        Launch::new("cube", len.div_ceil(64)).text(KERNEL).params([len as u32]).bind(bind).into()
    }
    fn host(&self, x: &[Operand<f32>], y: &mut [OutMut<f32>]) {
        y[0].floats_mut().iter_mut().zip(x[0].floats()).for_each(|(y, x)| *y = x * x * x);
    }
    fn reference(&self, x: &[Operand<f64>], y: &mut [OutMut<f64>]) {
        y[0].floats_mut().iter_mut().zip(x[0].floats()).for_each(|(y, x)| *y = x * x * x);
    }
    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(|ct| 3.0 * at.x[0] * at.x[0] * ct)]))
    }
    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| 3.0 * at.x[0] * at.x[0] * dx)]))
    }
}

pub(crate) fn main() -> Result<()> {
    let g = Graph::new();
    let x = g.input("x", &[3]);
    let sum = x.apply(Cube).sum_all();
    let (slope, bend) = (sum.grad(&[x])?[0], sum.hvp(&[x], &[x.fill_like(1.0)])?[0]);
    let device = block_on(Gpu::open()).map(Session::device);
    for mut session in [Session::host(), Session::reference()].into_iter().chain(device) {
        let mut program = session.compile(&g, &[sum, slope, bend])?;
        program.run(&mut session, [(x, &vec![-2.0, 0.5, 3.0])])?;
        let found = [sum, slope, bend].map(|output| program.read_now(&session, output).expect("an output"));
        println!("{found:?} on {}", session.executor());
        assert_eq!(found, [vec![19.125], vec![12.0, 0.75, 27.0], vec![-12.0, 3.0, 18.0]]);
    }
    Ok(())
}
