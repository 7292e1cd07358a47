//! Buffers of the CPU executors, and ops' operands and results as slices of them.

use crate::{
    cpu::{aligned::AlignedBuf, float::Real},
    tensor::{DType, Type},
};

/// A CPU buffer: floats or indices.
#[derive(Debug)]
pub(crate) enum Buf<F> {
    /// Values of type f32 on the device.
    Float(AlignedBuf<F>),
    /// Values of type u32.
    Index(Vec<u32>),
}

impl<F: Real> Buf<F> {
    /// `len` zeros.
    pub fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F32 => Buf::Float(AlignedBuf::zeros(len)),
            DType::U32 | DType::F16x2 => Buf::Index(vec![0; len]),
        }
    }

    /// The first `len` elements.
    pub fn read(&self, len: usize) -> In<'_, F> {
        match self {
            Buf::Float(x) => In::Float(&x[..len]),
            Buf::Index(x) => In::Index(&x[..len]),
        }
    }

    /// The first `len` elements, to write.
    pub fn write(&mut self, len: usize) -> OutMut<'_, F> {
        match self {
            Buf::Float(x) => OutMut::Float(&mut x[..len]),
            Buf::Index(x) => OutMut::Index(&mut x[..len]),
        }
    }
}

impl<F: Real> Default for Buf<F> {
    fn default() -> Self {
        Buf::Float(AlignedBuf::zeros(0))
    }
}

/// Elements of an operand on the CPU.
#[derive(Debug, Clone, Copy)]
pub enum In<'a, F> {
    /// Floats.
    Float(&'a [F]),
    /// Indices.
    Index(&'a [u32]),
}

/// Elements of a result on the CPU.
#[derive(Debug)]
pub enum OutMut<'a, F> {
    /// Floats.
    Float(&'a mut [F]),
    /// Indices.
    Index(&'a mut [u32]),
}

impl<F: Copy> OutMut<'_, F> {
    /// The floats.
    ///
    /// # Panics
    ///
    /// On indices: the op's shape rule has excluded them.
    pub fn floats_mut(&mut self) -> &mut [F] {
        match self {
            OutMut::Float(x) => x,
            OutMut::Index(_) => unreachable!("the shape rule gives floats"),
        }
    }

    /// The indices.
    ///
    /// # Panics
    ///
    /// On floats: the op's shape rule has excluded them.
    pub fn indices_mut(&mut self) -> &mut [u32] {
        match self {
            OutMut::Index(x) => x,
            OutMut::Float(_) => unreachable!("the shape rule gives indices"),
        }
    }

    /// Copies elements of the same type and number.
    pub fn copy_from(&mut self, x: In<F>) {
        match (self, x) {
            (OutMut::Float(y), In::Float(x)) => y.copy_from_slice(x),
            (OutMut::Index(y), In::Index(x)) => y.copy_from_slice(x),
            _ => unreachable!("a copy keeps the type"),
        }
    }
}

/// An operand on the CPU.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a, F> {
    /// Its type.
    pub ty: &'a Type,
    /// Its elements; empty for an operand that is updated in place, which comes as the output instead.
    pub data: In<'a, F>,
}

impl<'a, F: crate::cpu::float::Real> Operand<'a, F> {
    /// The floats.
    pub fn floats(&self) -> &'a [F] {
        match self.data {
            In::Float(x) => x,
            In::Index(_) => unreachable!("the shape rule admits floats only"),
        }
    }

    /// The indices.
    pub fn indices(&self) -> &'a [u32] {
        match self.data {
            In::Index(x) => x,
            In::Float(_) => unreachable!("the shape rule admits indices only"),
        }
    }

    /// The extents.
    pub fn shape(&self) -> &'a [usize] {
        &self.ty.shape
    }
}
