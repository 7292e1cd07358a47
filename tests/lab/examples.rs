//! The example of the lab, which asserts what it finds.

#[path = "../../examples/spectrum.rs"]
mod spectrum;

#[test]
fn the_largest_eigenvalues_of_a_trained_network_are_found() {
    spectrum::main().expect("it converges");
}
