//! Reparametrizations of weights: weight normalization, weight standardization.

/// How the weights of dense layers and convolutions come from parameters; a *filter* is what leads to one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reparametrization {
    /// They are the parameters.
    #[default]
    None,
    /// `w = g v/‖v‖` by filters: length and direction apart (Salimans and Kingma 2016). The lengths `g` begin as the
    /// mean length of `v`, as far as the initializer tells.
    Norm,
    /// `w = (v − mean)/√(variance + 1e-5)` by filters of convolutions: weight standardization (Qiao et al. 2019).
    Standardized,
}
