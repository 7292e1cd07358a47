//! Hillshade: a GPU training engine that can see the shape of its own loss.

pub use hillshade_engine as engine;
pub use hillshade_models as models;
