//! Element types, and the types of values.

use std::fmt;

use crate::{
    error::{Error, Result},
    tensor::shape::{self, Shape},
};

/// Element type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// 32-bit float; f64 in the reference.
    F32,
    /// 32-bit index.
    U32,
    /// A word of two 16-bit floats, which stand for floats until they are unpacked; see [`Tensor::pack_f16`](crate::Tensor::pack_f16).
    F16x2,
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::F16x2 => "f16x2",
        })
    }
}

/// Element type and extents of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Extents, outermost first.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl Type {
    /// An f32 array.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Type { shape: shape.into(), dtype: DType::F32 }
    }

    /// A u32 array.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Type { shape: shape.into(), dtype: DType::U32 }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        shape::count(&self.shape)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        4 * self.count()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Refuses operands that are not of these types.
pub(crate) fn expect_dtypes(op: &'static str, x: &[&Type], dtypes: &[DType]) -> Result<()> {
    if x.len() != dtypes.len() {
        let rule = format!("takes {} operands", dtypes.len());
        return Err(Error::Shape { op, rule, got: x.len().to_string() });
    }
    for (operand, (x, &expected)) in x.iter().zip(dtypes).enumerate() {
        if x.dtype != expected {
            return Err(Error::DType { op, operand, expected, found: x.dtype });
        }
    }
    Ok(())
}

/// The error of an op whose shape rule the operands break.
pub(crate) fn shape_error(op: &'static str, rule: impl Into<String>, x: &[&Type]) -> Error {
    let got = x.iter().map(|x| format!("{:?}", x.shape)).collect::<Vec<_>>().join(" ");
    Error::Shape { op, rule: rule.into(), got }
}
