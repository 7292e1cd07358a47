//! The backward of max pooling.

use crate::ops::conv::max_pool::{Pool, launches, pools, timed_pools};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::max_pool_grad`].
#[derive(Debug, PartialEq)]
pub struct MaxPoolGrad {
    pool: Pool,
    size: [usize; 2],
}

impl MaxPoolGrad {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let y = y[0].floats_mut();
        y.fill(F::zero());
        for (&ct, &at) in x[0].floats().iter().zip(x[1].indices()) {
            y[at as usize] += ct;
        }
    }

    fn x(&self, ct: &[usize]) -> Option<[usize; 4]> {
        let [n, _, _, c] = <[usize; 4]>::try_from(ct).ok()?;
        let x = [n, self.size[0], self.size[1], c];
        (self.pool.geometry(&x)?.y() == ct).then_some(x)
    }
}

impl Op for MaxPoolGrad {
    cpu!();

    fn name(&self) -> &'static str {
        "max_pool_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("max_pool_grad", x, &[DType::F32, DType::U32])?;
        match self.x(&x[0].shape) {
            Some(shape) if x[0].shape == x[1].shape => Ok(vec![Type::f32(shape)]),
            _ => {
                let rule = format!("ct and argmax are results of max_pool on {:?} ({:?})", self.size, self.pool);
                Err(shape_error("max_pool_grad", rule, x))
            }
        }
    }

    fn launch(&self, _: Class, _: &[&Type], y: &[&Type]) -> Launches {
        let g = self.pool.geometry(&y[0].shape).expect("the shape rule held");
        launches("max_pool_grad", y[0].count(), &g, &[Bind::In(0), Bind::In(1), Bind::Out(0)])
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![ct[0].map(|u| u.max_pool_take(at.x[1])).transpose()?, None]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dct| dct.max_pool_grad(at.x[1], self.pool, self.size))]))
    }
}

impl<'g> Tensor<'g> {
    /// Of the cotangent ct of `y` in [`Tensor::max_pool`] that of `x`: each `ct` added where its maximum was found. Linear in
    /// `ct`.
    ///
    /// Broken by a ct and an `argmax` that are not results of that pooling on images of `size`
    /// ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn max_pool_grad(self, argmax: Tensor<'g>, pool: Pool, size: [usize; 2]) -> Tensor<'g> {
        self.apply2(MaxPoolGrad { pool, size }, argmax)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let case = |(shape, pool): ([usize; 4], Pool)| {
        let ct = pool.geometry(&shape).expect("a list of fitting windows").y();
        TestCase::one(format!("max_pool_grad {shape:?} {pool:?}"), vec![unit(&shape), unit(&ct)], move |x| {
            let [_, argmax] = x[0].max_pool(pool);
            x[1].max_pool_grad(argmax, pool, [shape[1], shape[2]])
        })
    };
    pools().map(case).into()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |(x, pool): ([usize; 4], Pool)| {
        let y = pool.geometry(&x).expect("a list of fitting windows").y();
        // Each maximum in the middle of its window.
        let place = |i: usize| {
            let [n, a, b, c] = [i / (y[1] * y[2] * y[3]), i / (y[2] * y[3]) % y[1], i / y[3] % y[2], i % y[3]];
            let middle = |axis: usize, at: usize| at * pool.stride[axis] + pool.kernel[axis] / 2 - pool.padding[axis];
            let [a, b] = [middle(0, a), middle(1, b)];
            (((n * x[1] + a.min(x[1] - 1)) * x[2] + b.min(x[2] - 1)) * x[3] + c) as u32
        };
        let argmax = Generator::Words((0..y.iter().product()).map(place).collect());
        TestCase::one(format!("{x:?} by {:?}", pool.kernel), vec![unit(&y), argmax], move |v| {
            v[0].max_pool_grad(v[1].reshape(&y), pool, [x[1], x[2]])
        })
    };
    timed_pools().map(case).into()
}
