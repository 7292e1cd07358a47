//! Aligned buffers of the CPU executors, long ones in large pages.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use aligned_vec::AVec;
use bytemuck::Pod;

/// Bytes from which an array gets pages of its own.
#[cfg(target_os = "linux")]
const LONG: usize = 1 << 22;

/// Numbers that begin with a line of the cache: a vector of them that crosses lines is loaded in twice the time.
///
/// Long arrays lie in large pages where the system has such (Linux, unless it never gives them): loops that take a little
/// from each of many places, as tiles of images do, wait for a walk through the page tables at every page of 4 KiB.
pub(crate) struct AlignedBuf<T>(Memory<T>);

enum Memory<T> {
    Lines(AVec<T>),
    #[cfg(target_os = "linux")]
    Pages(memmap2::MmapMut),
}

/// Zeroed pages of their own for a long array, if the system gives them.
#[cfg(target_os = "linux")]
fn pages<T>(len: usize) -> Option<Memory<T>> {
    let bytes = len * size_of::<T>();
    let pages = (bytes >= LONG).then(|| memmap2::MmapMut::map_anon(bytes).ok()).flatten()?;
    // Refused where the kernel was built without them: small pages serve too.
    let _ = pages.advise(memmap2::Advice::HugePage);
    Some(Memory::Pages(pages))
}

#[cfg(not(target_os = "linux"))]
fn pages<T>(_: usize) -> Option<Memory<T>> {
    None
}

impl<T: Pod> AlignedBuf<T> {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        AlignedBuf(
            pages(len).unwrap_or_else(|| Memory::Lines(AVec::from_iter(0, std::iter::repeat_n(T::zeroed(), len)))),
        )
    }

    /// As many numbers as `len`, of an iterator.
    pub(crate) fn of(len: usize, numbers: impl Iterator<Item = T>) -> Self {
        let mut array = Self::zeros(len);
        array.iter_mut().zip(numbers).for_each(|(to, from)| *to = from);
        array
    }
}

impl<T: Pod> Deref for AlignedBuf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Memory::Lines(x) => x,
            #[cfg(target_os = "linux")]
            Memory::Pages(x) => bytemuck::cast_slice(x),
        }
    }
}

impl<T: Pod> DerefMut for AlignedBuf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Memory::Lines(x) => x,
            #[cfg(target_os = "linux")]
            Memory::Pages(x) => bytemuck::cast_slice_mut(x),
        }
    }
}

impl<T> fmt::Debug for AlignedBuf<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.0 {
            Memory::Lines(x) => write!(f, "{} numbers", x.len()),
            #[cfg(target_os = "linux")]
            Memory::Pages(x) => write!(f, "{} numbers in large pages", x.len() / size_of::<T>()),
        }
    }
}
